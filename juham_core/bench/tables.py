"""The bench's results as tables: for each case a row per contender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from juham_core.bench import figures
from juham_core.bench.figures import Figure

Row = tuple[str, ...]


def title(case: dict[str, Any]) -> str:
    """What was done, in a line."""
    more = f", {case['subscriptions']:,} subscriptions" if case["scenario"] == "fanout" else ""
    window = f", {case['window']} in flight" if case["qos"] and case["scenario"] == "publish" else ""
    faces = {one["face"] for one in case["contenders"]}
    face = " (the asyncio face)" if "aio" in faces and not faces & {"thread", "inline"} else ""
    what = f"{case['messages']:,} messages of {case['size']:,} bytes at QoS {case['qos']}"
    return f"{case['scenario']}: {what}{more}{window}, {case['broker']}{face}"


def work(case: dict[str, Any]) -> str:
    """What sets a case apart from others of the same scenario and QoS."""
    return f"{case['size']:,} bytes, {case['broker']}"


def header(case: dict[str, Any]) -> Row:
    """The columns."""
    if case["scenario"] == "roundtrip":
        return ("", "p50 us", "range", "p99 us", "CPU s/100k", "lost", "p50/raw", "p99/raw", "CPU/raw")
    return ("", "k msg/s", "range", "CPU s/100k", "range", "lost", "+MB", "speed/raw", "CPU/raw")


def rows(case: dict[str, Any]) -> list[Row]:
    """The cells."""
    return [_row(case, one, raw_of(case, one)) for one in case["contenders"] if "unsuitable" not in one]


def raw_of(case: dict[str, Any], contender: dict[str, Any]) -> dict[str, Any] | None:
    """The contender that is the library under this one, used directly; None if it did not run, or is this."""
    if contender["face"] == "raw":
        return None
    for one in case["contenders"]:
        if (
            one["face"] == "raw"
            and one["rounds"]
            and one["uvloop"] == contender["uvloop"]
            and contender["backend"] in one["names"]
        ):
            return dict(one)
    return None


def _row(case: dict[str, Any], contender: dict[str, Any], raw: dict[str, Any] | None) -> Row:
    label, messages = contender["label"], case["messages"]
    if not contender["rounds"]:
        return (label, "failed", *[""] * (len(header(case)) - 2))

    def against_raw(values: Callable[[dict[str, Any]], list[float]]) -> str:
        found = figures.ratio(values(contender), values(raw)) if raw else None
        return f"{found.median:.2f}" if found else ""

    cpu = figures.figure(figures.cpu(contender, messages))
    lost = f"{figures.lost(contender):,}"
    cpu_ratio = against_raw(lambda one: figures.cpu(one, messages))
    if case["scenario"] == "roundtrip":
        p50 = figures.figure(figures.trips(contender, "p50"))
        return (
            label,
            f"{p50.median:.0f}",
            f"{p50.least:.0f}-{p50.most:.0f}",
            f"{figures.figure(figures.trips(contender, 'p99')).median:.0f}",
            f"{cpu.median:.2f}",
            lost,
            against_raw(lambda one: figures.trips(one, "p50")),
            against_raw(lambda one: figures.trips(one, "p99")),
            cpu_ratio,
        )
    speed = figures.figure(figures.rates(contender, messages))
    return (
        label,
        f"{speed.median / 1e3:.1f}",
        _range(speed, 1e-3, 1),
        f"{cpu.median:.2f}",
        _range(cpu, 1, 2),
        lost,
        f"{figures.memory(contender).median / 2**20:.1f}",
        against_raw(lambda one: figures.rates(one, messages)),
        cpu_ratio,
    )


def _range(shown: Figure, scale: float, digits: int) -> str:
    return f"{shown.least * scale:.{digits}f}-{shown.most * scale:.{digits}f}"
