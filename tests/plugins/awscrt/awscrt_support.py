"""What the tests wait with."""

from __future__ import annotations

import queue
import threading
import time


class Inbox:
    """A message handler that keeps what comes."""

    def __init__(self):
        self._messages = queue.Queue()

    def __call__(self, client, userdata, message):
        self._messages.put(message)

    def get(self, timeout=10):
        return self._messages.get(timeout=timeout)

    def take(self, count):
        return [self.get() for _ in range(count)]

    @property
    def empty(self):
        return self._messages.empty()


def eventually(condition, timeout=10):
    """Wait for what reports nothing when it happens, such as a thread's end."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)
