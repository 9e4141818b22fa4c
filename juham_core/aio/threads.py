"""Between threads and an event loop: blocking calls out there, and calls back that share a wake-up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from juham_core.errors import NotSupportedError

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop of this thread. Raises NotSupportedError where none runs, or not one of asyncio's."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError as exc:
        raise NotSupportedError(
            "juham.aio needs a running event loop of asyncio, and there is none in this thread: begin with "
            "asyncio.run(); under trio, or without coroutines, use juham.connect() and threads"
        ) from exc


def in_thread(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call a function that blocks, in a thread of its own; the future has what it returns or raises.

    Cancelling the future does not stop the function. Not the loop's executor: that may be full of other
    people's calls, and closing must not wait for those.
    """
    loop = running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(_retrieve)

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as exc:  # noqa: BLE001 - raised again where it is awaited
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Whoever awaited may have been cancelled; then nobody is left to be told."""
    if not future.cancelled():
        future.exception()


class Post:
    """Brings calls from any thread to the loop; however many come meanwhile, the loop is woken once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._due = False

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Have the call made in the loop, at once if this is the loop's thread."""
        if threading.get_ident() == self._thread and not self._calls:
            function(*args)
            return
        self._calls.append((function, args))
        if not self._due:
            self._due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._due = False  # before looking: what comes from now on wakes the loop again
        calls = self._calls
        while calls:
            function, args = calls.popleft()
            function(*args)
