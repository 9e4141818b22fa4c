"""The base of drivers of asyncio libraries: an event loop in a thread, where everything runs undisturbed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from juham_core.bench.driver import PATIENCE, PingPong, Task

T = TypeVar("T")


class LoopDriver(ABC):
    """A driver whose methods are coroutines, ``_connect``, ``_publish`` and so on.

    A library's :class:`~juham_core.bench.driver.Driver` derives from it and adds ``library``, its name.
    While the loop works, the thread that called sleeps in a lock: it costs nothing.
    """

    event_loop: ClassVar[bool] = True
    protocols: ClassVar[Sequence[int]] = (4, 5)
    max_qos: ClassVar[int] = 2
    window: ClassVar[str] = "driver"

    def __init__(self, task: Task) -> None:
        self.task = task
        if task.uvloop:
            self.loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        else:
            self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="bench-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def connect(self) -> None:
        """Return once the broker has accepted."""
        self.run(self._connect())

    def subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """Return once the broker has granted these."""
        self.run(self._subscribe(topic_filters, qos))

    def publish(self, messages: int, qos: int) -> int:
        """Publish so many times, and return how many are handed over or acknowledged."""
        return self.run(self._publish(messages, qos))

    def ping_pong(self, messages: int, qos: int) -> list[float]:
        """Make round trips, and return the seconds each took."""
        return self.run(self._ping_pong(messages, qos))

    def close(self) -> None:
        """Disconnect, and end the loop."""
        try:
            self.run(self._close())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(5)
            self.loop.close()

    async def side_by_side(
        self, messages: int, publish: Callable[[], Awaitable[object]], failure: type[Exception]
    ) -> int:
        """Publish and await in as many coroutines as the window is wide; return how many have succeeded.

        One that meets the ``failure`` publishes no more.
        """
        left, done = messages, 0

        async def work() -> None:
            nonlocal left, done
            while left:
                left -= 1
                try:
                    await publish()
                except failure:
                    return
                done += 1

        await asyncio.gather(*(work() for _ in range(self.task.window)))
        return done

    async def trips(
        self, messages: int, publish: Callable[[], Awaitable[object]], answers: AsyncIterator[object]
    ) -> list[float]:
        """Publish, wait for the answer, and again; return the seconds each took."""
        pinging = PingPong(messages)

        async def play() -> None:
            while True:
                pinging.ping()
                await publish()
                await anext(answers)
                if not pinging.pong():
                    return

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(play(), 6 * PATIENCE)
        return pinging.seconds

    @abstractmethod
    async def _connect(self) -> None:
        """See :meth:`connect`."""

    @abstractmethod
    async def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """See :meth:`subscribe`."""

    @abstractmethod
    async def _publish(self, messages: int, qos: int) -> int:
        """See :meth:`publish`."""

    @abstractmethod
    async def _ping_pong(self, messages: int, qos: int) -> list[float]:
        """See :meth:`ping_pong`."""

    @abstractmethod
    async def _close(self) -> None:
        """See :meth:`close`."""
