"""The run that fills the report: what is measured, where, and by whom, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from juham_core.bench.session import Case

ROUNDS: Final = 2
MINUTES: Final = 8
"""After so many no further case is begun."""
CASES: Final = tuple((scenario, qos) for qos in (0, 1) for scenario in ("publish", "receive", "roundtrip"))
MESSAGES: Final = {"publish": 8_000, "receive": 8_000, "roundtrip": 400, "fanout": 5_000}


def plan(messages: int | None) -> Iterator[tuple[str, Case, tuple[str, ...], tuple[str, ...], bool]]:
    """The broker, the case, the backends (none: all), the faces, and whether loops run on uvloop, too."""

    def case(scenario: str, qos: int, size: int = 100, subscriptions: int = 1) -> Case:
        return Case(scenario, messages or MESSAGES[scenario], qos, size, subscriptions)

    for broker in ("free", "mosquitto"):
        for scenario, qos in CASES:
            loops = scenario == "roundtrip" or broker == "free"
            yield broker, case(scenario, qos), (), ("thread", "inline", "raw", "aio"), loops
    for qos in (0, 1):
        yield "free", case("publish", qos, 10), (), ("thread", "raw"), False
        yield "free", case("publish", qos, 10_000), (), ("thread", "raw"), False
    for count in (1, 100, 1000):
        yield "free", case("fanout", 0, 50, count), (), ("thread", "inline", "raw"), False
    yield "mosquitto", case("publish", 1, 101), (), ("thread", "outbox", "hooks"), False
