"""What the tests wait with: handlers that record their calls, and conditions that no event announces."""

from __future__ import annotations

import queue
import threading
import time

PATIENCE = 10.0
"""Seconds after which a test gives up: far more than anything takes, even on a busy machine."""


class Recorder:
    """A handler that keeps what it was called with, to be taken out in order."""

    def __init__(self):
        self._calls = queue.SimpleQueue()

    def __call__(self, *args):
        self._calls.put(args)

    @property
    def count(self):
        return self._calls.qsize()

    def next(self, timeout=PATIENCE):
        """The arguments of the next call."""
        try:
            return self._calls.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"nothing came within {timeout} s") from None


class Inbox(Recorder):
    """A message handler; ``next`` is the message, ``texts`` are the payloads of the next ones."""

    def __call__(self, client, userdata, message):
        super().__call__(message)

    def next(self, timeout=PATIENCE):
        return super().next(timeout)[0]

    def texts(self, count, timeout=PATIENCE):
        return [self.next(timeout).payload.decode() for _ in range(count)]


class FiveArguments(Recorder):
    """A handler in paho's newer shape."""

    def __call__(self, client, userdata, flags, reason_code, properties):
        super().__call__(client, userdata, flags, reason_code, properties)


class OldShape(Recorder):
    """A handler of four arguments: on_connect and on_subscribe."""

    def __call__(self, client, userdata, third, fourth):
        super().__call__(client, userdata, third, fourth)


class ThreeArguments(Recorder):
    """A handler of three: on_disconnect, on_publish and on_unsubscribe."""

    def __call__(self, client, userdata, third):
        super().__call__(client, userdata, third)


def eventually(condition, timeout=PATIENCE):
    """Wait until the condition holds, for what nobody tells us about; the last value either way."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        pause.wait(0.005)
    return value
