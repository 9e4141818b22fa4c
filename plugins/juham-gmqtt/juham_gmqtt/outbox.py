"""What other threads want written, gathered so that the event loop is woken once and writes once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from typing import Final

from juham_core.errors import NotConnectedError, QueueFullError

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for the network before QoS 0 is refused; QoS 1 and 2 have their window."""
_OVERHEAD: Final = 64
"""What a waiting packet costs beside its bytes, roughly."""


class Outbox:
    """Packets in the order they were handed over, by any number of threads."""

    def __init__(self, most_owed: int) -> None:
        """``most_owed``: bytes of acknowledgements that may wait."""
        self._most_owed = most_owed
        self._lock = threading.Lock()
        self._packages: deque[bytes | bytearray] = deque()
        self._unsent = 0
        self._owed = 0  # of these, bytes of answers
        self._emptied_later = False
        self._closed = False

    @property
    def owes_too_much(self) -> bool:
        """True if more answers wait than any broker can want that keeps to MQTT, and reads."""
        return self._owed > self._most_owed

    @property
    def waiting(self) -> bool:
        """True if :meth:`take` has left something, or more has come."""
        return bool(self._packages)

    def put(self, package: bytes | bytearray, bounded: bool = False, answer: bool = False) -> bool:
        """Add a packet; True if somebody has to be told to :meth:`take`.

        ``answer``: the broker is owed it. Raises NotConnectedError once closed, and QueueFullError if too
        much waits and ``bounded`` is set.
        """
        with self._lock:
            if self._closed:
                raise NotConnectedError("the connection to the broker has ended")
            if bounded and self._unsent >= MAX_UNSENT:
                raise QueueFullError(
                    f"{self._unsent:,} bytes wait for the network: "
                    "the message was not accepted; publish slower"
                )
            self._packages.append(package)
            self._unsent += len(package) + _OVERHEAD
            if answer:
                self._owed += len(package)
            tell = not self._emptied_later
            self._emptied_later = True
            return tell

    def promise(self) -> None:
        """Nobody needs to be told: :meth:`take` is about to be called."""
        with self._lock:
            self._emptied_later = True

    def take(self, most: int = MAX_UNSENT) -> bytes | bytearray:
        """All that waits, in one piece, or the first of it, of about that many bytes at most.

        Then it is to be called again: whoever hands more over will not ask for it.
        """
        with self._lock:
            packages: Collection[bytes | bytearray] = self._packages
            self._owed = 0  # the few in what is left do not count: they grow no more
            if self._unsent <= most:
                self._packages = deque()
                self._unsent = 0
                self._emptied_later = False
            else:
                packages = self._first(most)
        return next(iter(packages)) if len(packages) == 1 else b"".join(packages)

    def _first(self, most: int) -> list[bytes | bytearray]:
        """With the lock held: take out at least one packet."""
        taken: list[bytes | bytearray] = []
        size = 0
        while self._packages and (not taken or size + len(self._packages[0]) <= most):
            package = self._packages.popleft()
            taken.append(package)
            size += len(package)
        self._unsent -= size + _OVERHEAD * len(taken)
        return taken

    def close(self) -> None:
        """Take nothing more in."""
        with self._lock:
            self._closed = True
