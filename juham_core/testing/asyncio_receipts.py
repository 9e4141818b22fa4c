"""What a case that runs through asyncio holds in the place of a receipt: it waits in its own thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from juham_core.errors import ReceiptTimeoutError
from juham_core.message import RC_NO_CONN, Receipt
from juham_core.testing.asyncio_home import Home


class TaskOutcome:
    """A task of the loop, to other threads; with a future for each, thousands would take much memory."""

    __slots__ = ("_home", "_task")

    def __init__(self, home: Home, task: asyncio.Task[Any]) -> None:
        self._home = home
        self._task = task

    def done(self) -> bool:
        """True once the task has ended."""
        return self._task.done()

    def exception(self) -> BaseException | None:
        """What the task has raised."""
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task, and raise what it has raised."""
        if not self._task.done():
            self._home.once_done(self._task).result(timeout)
        return self._task.result()


class FaceReceipt:
    """What a receipt is to a case: the client's own, with the coroutine that awaits it."""

    def __init__(self, receipt: Receipt, task: Future[Any] | TaskOutcome) -> None:
        self.receipt = receipt
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.receipt, name)

    def __iter__(self) -> Any:
        return iter((self.rc, self.receipt.mid))

    def __getitem__(self, index: int) -> int:
        return (self.rc, self.receipt.mid)[index]

    def __len__(self) -> int:
        return 2

    @property
    def rc(self) -> int:
        """4 for what failed at once for want of a connection."""
        return RC_NO_CONN if self.receipt.mid == 0 and self.task.done() else self.receipt.rc

    def done(self) -> bool:
        """True once the coroutine has ended."""
        return self.task.done()

    def exception(self) -> BaseException | None:
        """What the coroutine raised; None while it runs."""
        return self.task.exception() if self.task.done() else None

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the coroutine, and raise what it raised."""
        try:
            self.task.result(timeout)
        except (TimeoutError, FutureTimeoutError) as exc:  # one and the same from Python 3.11 on
            if self.task.done():
                raise
            raise ReceiptTimeoutError(f"no answer within {timeout} s") from exc
        return self

    def is_published(self) -> bool:
        """Paho's name."""
        error = self.exception()
        if error is not None:
            raise error
        return self.done()

    def wait_for_publish(self, timeout: float | None = None) -> None:
        """Paho's name; returns quietly when the time is over."""
        try:
            self.wait(timeout)
        except ReceiptTimeoutError:
            return
