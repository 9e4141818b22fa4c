"""The run that fills the report: what is measured, where, and by whom, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from juham_core.bench.session import Case

ROUNDS: Final = 7
MINUTES: Final = 20
"""After so many no further case is begun."""
BOTH: Final = tuple((scenario, qos) for qos in (0, 1) for scenario in ("publish", "receive"))
MESSAGES: Final = {"publish": 10_000, "receive": 10_000, "roundtrip": 2_000, "fanout": 5_000}
MANY_IN_FLIGHT: Final = 100
"""Publishes that may be unacknowledged where the broker's answers are to count for less than with 20."""
STORED: Final = 1_500
"""Messages that go by way of the disk, which takes longer."""


@dataclass(frozen=True)
class Part:
    """One case of the run: all installed backends, in these faces, over one kind of broker."""

    broker: str
    case: Case
    faces: tuple[str, ...]
    uvloop: bool = False
    comparators: bool = False
    """With those libraries too over which there is no backend."""


def plan(messages: int | None = None) -> Iterator[Part]:
    """What is measured, in order; ``messages`` for every case, if it is given."""

    def case(scenario: str, qos: int, size: int = 100, subscriptions: int = 1, most: int = 0) -> Case:
        return Case(scenario, messages or most or MESSAGES[scenario], qos, size, subscriptions)

    many_in_flight = replace(case("publish", 1), window=MANY_IN_FLIGHT)

    ours = ("thread", "inline", "raw")
    for scenario, qos in BOTH:
        yield Part("free", case(scenario, qos), ours)
    for scenario, qos in BOTH:
        yield Part("mosquitto", case(scenario, qos), ("aio", "raw"), comparators=True)
    yield Part("mosquitto", many_in_flight, ("aio", "raw"), comparators=True)
    for qos in (0, 1):
        yield Part("mosquitto", case("roundtrip", qos), ours, uvloop=qos == 0)
    yield Part("mosquitto", case("publish", 1), ("thread", "hooks"))
    yield Part("mosquitto", case("publish", 1, most=STORED), ("thread", "outbox", "outbox-full"))
    for count in (1, 1_000):
        yield Part("free", case("fanout", 0, subscriptions=count), ("thread",))
    yield Part("free", case("publish", 0, size=10_000), ("inline", "raw"))
