"""What cases wait with: handlers that keep what they were called with."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from juham_core.message import MqttMsg
from juham_core.testing.patience import patience

LATE: Final = 0.03
"""Seconds within which a call that must not be made is made, by a backend that makes it."""


class Quick:
    """Whose methods are handlers that never block: through asyncio they are called in the event loop."""


def awaits(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler that has something awaited: through asyncio a coroutine, inline or not."""
    handler.awaits = True  # type: ignore[attr-defined]  # a function may have attributes
    return handler


def awaits_something(handler: Callable[..., Any]) -> bool:
    """Whether a handler is marked so."""
    return getattr(handler, "awaits", False)


class Recorder(Quick):
    """A handler that keeps the arguments of its calls, to be taken out in order."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def __call__(self, *args: Any) -> None:
        self._calls.put(args)

    @property
    def count(self) -> int:
        """Calls that have not been taken out."""
        return self._calls.qsize()

    def next(self, timeout: float | None = None) -> Any:
        """The arguments of the next call; AssertionError if there is none in time."""
        timeout = patience() if timeout is None else timeout
        try:
            return self._calls.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the handler was not called within {timeout} s") from None

    def nothing(self) -> None:
        """AssertionError if there is a call that was not taken out, or one comes within a moment."""
        try:
            call = self.next(LATE)
        except AssertionError:
            return
        raise AssertionError(f"the handler was called once more: {call!r}")


class Inbox(Recorder):
    """A message handler; what is taken out are the messages."""

    def __call__(self, *args: Any) -> None:
        super().__call__(*args)

    def next(self, timeout: float | None = None) -> MqttMsg:
        """The next message."""
        message: MqttMsg = super().next(timeout)[2]
        return message

    def take(self, count: int, timeout: float | None = None) -> list[MqttMsg]:
        """The next ``count`` messages."""
        return [self.next(timeout) for _ in range(count)]

    def payloads(self, count: int, timeout: float | None = None) -> list[bytes]:
        """The payloads of the next ``count`` messages."""
        return [message.payload for message in self.take(count, timeout)]


class FiveArguments(Recorder):
    """A handler of on_connect, on_disconnect, on_publish or on_subscribe in paho's newer shape."""

    def __call__(self, client: Any, userdata: Any, third: Any, fourth: Any, properties: Any) -> None:
        super().__call__(client, userdata, third, fourth, properties)


def eventually(condition: Callable[[], Any], what: str, timeout: float | None = None) -> Any:
    """Block until the condition is true, for what nothing announces; return its value.

    Raises AssertionError after ``timeout`` seconds.
    """
    timeout = patience() if timeout is None else timeout
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        pause.wait(0.002)
    return value
