"""Home: an event loop in a thread, where an AsyncMqtt lives while a case runs in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

BOUND: Final = 60.0
"""Seconds that a loop may take for what it does at once."""
_PATIENCE: Final = 5.0
"""Seconds for what a case has begun and not waited for, once its client is closed."""


class Home:
    """An event loop in a thread, and the thread in which the handlers of its client do their work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.asking: set[asyncio.Task[Any] | None] = set()
        """Tasks that run what a case has asked for."""
        self.handlers_task: asyncio.Task[Any] | None = None
        self._works: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wishes: asyncio.Queue[Any] | None = None
        self._ending = False
        self._worker: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="face-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
            self._loop.run_until_complete(asyncio.sleep(0))  # whoever waits for what has just ended is told
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            self._works.put(None)

    def begin(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        """Begin a coroutine; from any thread but the loop's."""
        return asyncio.run_coroutine_threadsafe(make(), self._loop)

    def begin_now(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Future[Any], object]:
        """Begin a coroutine, and return once it has ended or awaits something; with its task."""
        begun: Future[asyncio.Task[Any]] = Future()
        outcome: Future[Any] = Future()

        def begin() -> None:
            task = self._loop.create_task(make())
            self.asking.add(task)
            task.add_done_callback(ended)
            self._loop.call_soon(look, task)  # after its first step, which create_task has put before

        def look(task: asyncio.Task[Any]) -> None:
            if task.done():
                ended(task)
            begun.set_result(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self.asking.discard(task)
            if not outcome.done():
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                if error is not None:
                    outcome.set_exception(error)
                else:
                    outcome.set_result(task.result())

        self._loop.call_soon_threadsafe(begin)
        return outcome, begun.result(BOUND)

    @property
    def is_here(self) -> bool:
        """True on the loop's own thread."""
        return threading.current_thread() is self._thread

    def current_task(self) -> asyncio.Task[Any] | None:
        """The task that runs on this thread, if this is the loop's."""
        return asyncio.current_task(self._loop) if self.is_here else None

    def once_done(self, task: asyncio.Task[Any]) -> Future[None]:
        """What is done when the task is."""
        done: Future[None] = Future()
        tell = functools.partial(done.set_result, None)
        self._loop.call_soon_threadsafe(task.add_done_callback, lambda _: tell())
        return done

    @property
    def inside_handler(self) -> bool:
        """True on the thread in which a handler does its work."""
        return threading.current_thread() is self._worker

    def await_here(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Wait for a coroutine; inside a handler, have the handler's own coroutine await it."""
        if self.inside_handler and self._wishes is not None:
            granted: Future[None] = Future()
            self._loop.call_soon_threadsafe(self._wishes.put_nowait, (make, granted))
            granted.result(BOUND)
        else:
            self.begin(make).result(BOUND)

    async def in_handlers_thread(self, work: Callable[[], Any]) -> None:
        """Have a handler do its work, and grant meanwhile what it wishes to have awaited."""
        wishes: asyncio.Queue[Any] = asyncio.Queue()
        self._wishes = wishes
        raised: list[BaseException] = []
        ended = (None, None)

        def call() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - raised again in the coroutine
                raised.append(exc)
            try:
                self._loop.call_soon_threadsafe(wishes.put_nowait, ended)
            except RuntimeError:  # the handler has outlived the client
                return

        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="face-handlers", daemon=True)
            self._worker.start()
        self._works.put(call)
        while (wish := await wishes.get()) is not ended:
            make, granted = wish
            self.handlers_task = asyncio.current_task()
            self.asking.add(self.handlers_task)
            try:
                await make()
                granted.set_result(None)
            except Exception as exc:  # noqa: BLE001 - the handler's own, where it waits
                granted.set_exception(exc)
            finally:
                self.asking.discard(self.handlers_task)
        if self._ending:
            self._loop.call_soon(self._loop.stop)
        if raised:
            raise raised[0]

    def _work(self) -> None:
        while (work := self._works.get()) is not None:
            work()

    def end(self) -> None:
        """Stop the loop; inside a handler, once that has returned."""
        if self.inside_handler:
            self._ending = True
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        if self._worker is not None:
            self._worker.join(BOUND)
