"""Where a connection lives: in a thread with an event loop of its own, or in the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from juham_core.errors import ConnectError, NotConnectedError
from juham_core.locks import join

Main = Callable[[], Coroutine[Any, Any, None]]


class Home(Protocol):
    """Runs one coroutine, the whole life of a connection."""

    def start(self, main: Main) -> None:
        """Begin to run it."""

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in the loop, soon; from any thread. Raises NotConnectedError without one."""

    def join(self, timeout: float) -> None:
        """Block until the coroutine has ended, unless that would wait for the caller itself."""


class OwnThread:
    """A thread with an event loop, for programs that need not know asyncio."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._main: Main

    def start(self, main: Main) -> None:
        """Begin to run it."""
        self._main = main
        self._loop = asyncio.SelectorEventLoop()
        try:
            self._thread.start()
        except BaseException:  # a signal's, perhaps: then the thread may have begun, and closes it
            if not self._thread.is_alive():
                self._loop.close()
            raise

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in the loop, soon; from any thread. Raises NotConnectedError without one."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError as exc:
            raise NotConnectedError("the connection to the broker has ended") from exc

    def join(self, _timeout: float) -> None:
        """Block until the thread has ended, unless called in it. The coroutine has its own bounds."""
        join(self._thread)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        await self._main()
        # gmqtt makes tasks of its own, and a transport that failed in its handshake has calls pending.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)


class CallersLoop:
    """The event loop of a program that knows asyncio: no thread of ours. Made in that loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """``thread`` is the identifier of the loop's thread."""
        self._loop = loop
        self._home = thread
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, main: Main) -> None:
        """Begin to run it. Raises ConnectError in the loop's thread, and without a loop."""
        if threading.get_ident() == self._home:
            raise ConnectError(
                "connect_to_server would wait for the event loop it is called in: await AsyncMqtt.connect()"
            )
        try:
            self._loop.call_soon_threadsafe(self._begin, main)
        except RuntimeError as exc:
            raise ConnectError("the event loop of this client is closed") from exc

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in the loop, soon; from any thread. Raises NotConnectedError without one."""
        try:
            if threading.get_ident() == self._home:
                self._loop.call_soon(function)
            else:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError as exc:
            raise NotConnectedError("the event loop of this client is closed") from exc

    def join(self, timeout: float) -> None:
        """Block until the coroutine has ended, for ``timeout`` seconds at most; not in the loop's thread."""
        if threading.get_ident() != self._home and not self._loop.is_closed():
            self._ended.wait(timeout)

    def _begin(self, main: Main) -> None:
        self._task = self._loop.create_task(main())
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._ended.set()
        with contextlib.suppress(asyncio.CancelledError):
            task.result()
