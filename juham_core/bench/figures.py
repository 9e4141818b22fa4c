"""From the rounds of a measurement to figures: medians with their ranges, and ratios within a session."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A median, and the least and the most that it was taken from."""

    median: float
    least: float
    most: float


def figure(values: Sequence[float]) -> Figure:
    """The median of the values, with their range. Raises ValueError if there are none."""
    if not values:
        raise ValueError("a figure is taken from one value at least")
    return Figure(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many per cent of them do not exceed (nearest rank)."""
    if not values:
        raise ValueError("a percentile is taken from one value at least")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratio(values: Sequence[float], to: Sequence[float]) -> Figure | None:
    """The ratio of two contenders round by round, as a figure; None where nothing can be compared.

    Rounds of one number ran one after the other: what slows the machine for a while slows both.
    """
    pairs = [one / other for one, other in zip(values, to, strict=False) if other > 0]
    return figure(pairs) if pairs else None


def rates(contender: dict[str, Any], messages: int) -> list[float]:
    """Messages a second, for each round that lost none of them."""
    return [
        (messages - one["lost"]) / one["seconds"] for one in contender["rounds"] if one["seconds"] > 0
    ]


def cpu(contender: dict[str, Any], messages: int) -> list[float]:
    """CPU seconds for 100,000 messages, for each round."""
    return [(one["cpu_user"] + one["cpu_system"]) / messages * 100_000 for one in contender["rounds"]]


def lost(contender: dict[str, Any]) -> int:
    """Messages lost in all rounds."""
    return sum(one["lost"] for one in contender["rounds"])


def memory(contender: dict[str, Any]) -> Figure:
    """By how many bytes the peak of the memory grew, in the rounds."""
    return figure([one["memory_growth"] for one in contender["rounds"]])


def trips(contender: dict[str, Any], percent: str) -> list[float]:
    """The percentile of the round trips (``p50``, ``p99``) of each round, in microseconds."""
    return [one[percent] * 1e6 for one in contender["rounds"] if percent in one]
