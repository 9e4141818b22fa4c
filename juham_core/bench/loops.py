"""The base of drivers of asyncio libraries: an event loop in a thread, where everything runs undisturbed."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from juham_core.bench.driver import Task

T = TypeVar("T")


class LoopDriver:
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

    async def _connect(self) -> None:
        raise NotImplementedError

    async def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        raise NotImplementedError

    async def _publish(self, messages: int, qos: int) -> int:
        raise NotImplementedError

    async def _ping_pong(self, messages: int, qos: int) -> list[float]:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError
