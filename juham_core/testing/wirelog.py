"""What went over the wire: every packet the fault broker received or sent, decoded, in order."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from juham_core.testing.patience import patience
from juham_core.wire import Packet


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    ``kind`` is the packet's, or ``accept``, ``lost`` (the connection's end, whichever side began it),
    ``malformed`` (received) or ``bytes`` (sent by a script). ``at`` is in seconds of time.monotonic.
    """

    connection: int
    kind: str
    sent: bool
    packet: Any = None
    at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        if self.kind in ("accept", "lost"):
            return f"#{self.connection} -- {self.kind} {self.packet or ''}".rstrip()
        shown = repr(self.packet)
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        return f"#{self.connection} {'->' if self.sent else '<-'} {shown}"


class WireLog:
    """Entries in the order in which they happened; written by the broker's thread, read by any."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._changed = threading.Condition()
        self.enabled = True
        """False only counts, for cases that send more than memory should hold."""

    def add(self, entry: Entry) -> None:
        """Enter one thing and wake whoever waits for it."""
        with self._changed:
            self._counts[entry.kind, entry.sent] += 1
            if self.enabled:
                self._entries.append(entry)
            self._changed.notify_all()

    def count(self, kind: str, *, sent: bool = False) -> int:
        """How many of a kind there have been, kept or not; quicker than looking through them."""
        return self._counts[kind, sent]

    def entries(
        self,
        kind: str | None = None,
        *,
        sent: bool | None = None,
        connection: int | None = None,
        where: Callable[[Any], bool] | None = None,
    ) -> list[Entry]:
        """Those that match all that is given; ``sent`` is the broker's view."""
        with self._changed:
            return [
                entry
                for entry in self._entries
                if (kind is None or entry.kind == kind)
                and (sent is None or entry.sent == sent)
                and (connection is None or entry.connection == connection)
                and (where is None or where(entry.packet))
            ]

    def wait_until(self, condition: Callable[[], Any], timeout: float | None, what: str) -> Any:
        """Block until the condition is true, looking whenever something happens; return its value.

        Raises AssertionError, with the log, after ``timeout`` seconds (None: the kit's patience).
        """
        timeout = patience() if timeout is None else timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what}: not within {timeout} s. On the wire:\n{self}")
                self._changed.wait(left)
            return value

    def __str__(self) -> str:
        with self._changed:
            shown = self._entries[-60:]
            left_out = len(self._entries) - len(shown)
        lines = [f"  ({left_out:,} earlier)"] if left_out else []
        lines += [f"  {entry.at - shown[0].at:7.3f} {entry}" for entry in shown]
        return "\n".join(lines) or "  (nothing)"


def kind_of(what: Packet | bytes) -> str:
    """The kind under which something sent is logged."""
    return "bytes" if isinstance(what, bytes) else what.kind
