"""What the demo found out, backend by backend: the table's cells and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from juham_core.cli.house import Outcome

HEADER: Final = ("backend", "plugin", "library", "broker", "messages", "lost", "p50 ms", "p99 ms")
NUMBERS: Final = HEADER[4:]
WIDTH: Final = 80
"""Columns of a terminal that nobody has widened."""
TITLE: Final = "Juham runs one small house on every MQTT client library in turn."
EXPLANATION: Final = "Round trip: sensor to thermostat to heater and back, three messages of QoS 1."


@dataclass
class Result:
    """One backend's row. Exactly one of ``outcome``, ``error`` and ``skipped`` is set once it has run."""

    name: str
    plugin: str = ""
    """Distribution and version of the backend."""
    library: str = ""
    """Distribution and version of the client library underneath."""
    broker: str = ""
    outcome: Outcome | None = None
    error: str = ""
    """Why it did not run, where it should have."""
    skipped: str = ""
    """Why it did not run, where that is no fault: the backend does not claim to support this broker."""

    @property
    def ok(self) -> bool:
        """True unless something is wrong."""
        return not self.error and (self.outcome is None or self.outcome.ok)

    def cells(self) -> list[str]:
        """The row, in the order of ``HEADER``."""
        outcome = self.outcome
        if outcome is None:
            numbers = ["failed" if self.error else "skipped", "-", "-", "-"]
        else:
            numbers = [
                f"{outcome.messages:,}",
                f"{outcome.lost:,}",
                f"{outcome.p50 * 1000:.2f}",
                f"{outcome.p99 * 1000:.2f}",
            ]
        return [self.name, self.plugin or "-", self.library or "-", self.broker or "-", *numbers]

    def remarks(self) -> Iterator[tuple[bool, str]]:
        """What the row cannot say, each with whether it is bad."""
        if self.error:
            yield True, self.error
        if self.skipped:
            yield False, f"skipped: {self.skipped}"
        if self.outcome is not None:
            if self.outcome.lost:
                yield True, f"{self.outcome.lost:,} of {self.outcome.messages:,} messages were lost"
            for problem in self.outcome.problems:
                yield True, problem
            if self.outcome.duplicates:
                yield False, f"{self.outcome.duplicates:,} messages came twice, as QoS 1 allows"


def verdict(results: Sequence[Result]) -> tuple[bool, str]:
    """Whether all is well, and one sentence about it."""
    ran = [result.outcome for result in results if result.outcome is not None]
    messages = sum(outcome.messages for outcome in ran)
    if not ran:
        return False, "No backend has run."
    bad = [result.name for result in results if not result.ok]
    if bad:
        return False, f"Something is wrong with {', '.join(bad)}: see above."
    houses = "1 backend" if len(ran) == 1 else f"{len(ran)} backends"
    return True, (
        f"The same house on {houses}: {messages:,} messages, none lost. In each a sensor crashed "
        "and its will was seen, and a late joiner found everything retained."
    )
