"""Receipts, awaited: what the library's thread resolves comes to the loop, many with one wake-up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Final

from juham_core.errors import JuhamError, ReceiptTimeoutError
from juham_core.message import Receipt

MOST_PATIENCES: Final = 16
"""Different timeouts that have a timer of their own; more than a program has in its text."""


class Answers:
    """Those that are awaited in one client's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._awaited: dict[Receipt, asyncio.Future[None]] = {}
        self._resolved: deque[Receipt] = deque()
        self._due = False
        self._patiences: dict[float, Patience] = {}

    async def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Return once the receipt is done; raise what it failed with.

        Raises ReceiptTimeoutError after ``timeout`` seconds, and what :meth:`fail_all` is called with.
        """
        if not receipt._done:
            future = self._awaited[receipt] = self._loop.create_future()
            patience = None
            if timeout is not None:
                patience = self._patiences.get(timeout) or self._patience(timeout)
                patience.add(future)
            receipt.add_done_callback(self._on_resolved)
            try:
                await future
            finally:
                self._awaited.pop(receipt, None)
                if patience is not None:
                    patience.waiting.pop(future, None)
        if receipt._error is not None:
            raise receipt._error

    def fail_all(self, error: JuhamError) -> None:
        """End all waiting: no answer will come."""
        for future in list(self._awaited.values()):
            if not future.done():
                future.set_exception(error)
        for patience in self._patiences.values():
            patience.end()
        self._patiences.clear()

    def _on_resolved(self, receipt: Receipt) -> None:
        """A receipt is done; on whichever thread brings the answer."""
        if threading.get_ident() == self._thread and not self._resolved:
            future = self._awaited.get(receipt)
            if future is not None and not future.done():
                future.set_result(None)
            return
        self._resolved.append(receipt)
        if not self._due:
            self._due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._due = False  # before looking: what comes from now on wakes the loop again
        resolved, awaited = self._resolved, self._awaited
        while resolved:
            future = awaited.get(resolved.popleft())
            if future is not None and not future.done():
                future.set_result(None)

    def _patience(self, timeout: float) -> Patience:
        if len(self._patiences) >= MOST_PATIENCES:
            for seconds in [seconds for seconds, one in self._patiences.items() if not one.waiting]:
                self._patiences.pop(seconds).end()
        if len(self._patiences) >= MOST_PATIENCES:
            return Patience(self._loop, timeout)
        patience = self._patiences[timeout] = Patience(self._loop, timeout)
        return patience


class Patience:
    """Futures that wait equally long, under one timer: they expire in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.waiting: dict[asyncio.Future[None], float] = {}
        """And when each expires, by the loop's clock."""
        self._loop = loop
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None

    def add(self, future: asyncio.Future[None]) -> None:
        """Have a future raise ReceiptTimeoutError when the time is over."""
        due = self.waiting[future] = self._loop.time() + max(0.0, self._timeout)
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def end(self) -> None:
        """Take the timer back; nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now, expired = self._loop.time(), []
        for future, due in self.waiting.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                break
            expired.append(future)
        for future in expired:
            del self.waiting[future]
            if not future.done():
                text = f"no answer from the broker within {self._timeout} s"
                future.set_exception(ReceiptTimeoutError(text))
