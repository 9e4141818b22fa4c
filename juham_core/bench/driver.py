"""What the bench asks of a client, whether a library is used directly or through JMqtt.

A plugin writes one class for its library and names it in its ``setup.cfg``::

    [options.entry_points]
    juham_core.bench =
        mine = juham_mine.raw:MineDriver

It is to be the honest best ordinary use of the library: what its documentation recommends, no private names,
no tricks that an application would not use. The bench makes one in a process of its own, calls
``connect``, ``subscribe`` if the scenario receives, then the same step once a round, and ``close``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from juham_core.options import Options

GROUP: Final = "juham_core.bench"
"""The entry-point group of drivers that use a library directly: name of the backend -> :class:`Driver`."""
PATIENCE: Final = 10.0
"""Seconds without anything happening, after which what is missing counts as lost."""


class Arrivals:
    """Counts received messages; the driver's handler calls :meth:`arrived` for each, on one thread."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        """When the last one expected came (``time.perf_counter()``)."""
        self._expected = 0
        self._all = threading.Event()

    def arrived(self) -> None:
        """One more message."""
        self.count += 1
        if self.count == self._expected:
            self.last = time.perf_counter()
            self._all.set()

    def expect(self, messages: int) -> None:
        """Start counting from nothing."""
        self._all.clear()
        self.count = 0
        self._expected = messages

    def wait(self, patience: float = PATIENCE) -> int:
        """Block until all that is expected has come, or nothing has for so many seconds; return how many."""
        seen = -1
        while not self._all.wait(patience) and self.count != seen:
            seen = self.count
        if not self._all.is_set():
            self.last = time.perf_counter() - patience
        return self.count


class PingPong:
    """The times of round trips, taken where the messages are sent and received.

    The driver calls :meth:`ping` just before it publishes, and :meth:`pong` first thing in its handler: if
    that returns True, it pings again, from the handler.
    """

    def __init__(self, messages: int) -> None:
        self.seconds: list[float] = []
        self._left = messages
        self._sent = 0.0
        self._over = threading.Event()

    def ping(self) -> None:
        """A message is about to be published."""
        self._sent = time.perf_counter()

    def pong(self) -> bool:
        """The answer has come; True if there is another ping to send."""
        self.seconds.append(time.perf_counter() - self._sent)
        self._left -= 1
        if self._left:
            return True
        self._over.set()
        return False

    def wait(self, patience: float = PATIENCE) -> list[float]:
        """Block until the last answer has come, or none has for so many seconds; return the times."""
        seen = -1
        while not self._over.wait(patience) and len(self.seconds) != seen:
            seen = len(self.seconds)
        return self.seconds


class Window:
    """Bounds unacknowledged publishes where the library does not.

    :meth:`enter` and :meth:`wait` are for the publishing thread, :meth:`acknowledged` for one other.
    """

    def __init__(self, size: int, messages: int) -> None:
        self._room = threading.Semaphore(size)
        self._left = messages
        self._all = threading.Event()

    def enter(self) -> bool:
        """Block until one more may be published; False if nothing was acknowledged in time."""
        return self._room.acquire(timeout=PATIENCE)

    def acknowledged(self) -> None:
        """The broker has acknowledged one."""
        self._left -= 1
        self._room.release()
        if self._left == 0:
            self._all.set()

    def wait(self, patience: float = PATIENCE) -> int:
        """Block until all are acknowledged, or none has been for so many seconds; return how many are not."""
        seen = -1
        while not self._all.wait(patience) and self._left != seen:
            seen = self._left
        return self._left


@dataclass
class Task:
    """What a driver is to do."""

    options: Options
    """Where the broker is, the protocol version, credentials, TLS: as far as the library knows them."""
    topic: str
    """Where to publish."""
    pong_topic: str
    """Where the answers to pings come; pings go to :attr:`topic`."""
    payload: bytes
    window: int
    """Publishes of QoS 1 and 2 that may be unacknowledged."""
    uvloop: bool = False
    """Run on uvloop; only for drivers with :attr:`Driver.event_loop` set."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    """Told of each message received on what was subscribed to."""


class Measured(Protocol):
    """A client as the bench uses it: every method is called on one thread, and blocks until it is done."""

    def connect(self) -> None:
        """Return once the broker has accepted."""

    def subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """Return once the broker has granted these; from now on ``task.arrivals.arrived()`` for each message.

        With more than one filter, each has a handler of its own, by the library's own routing if it has any.
        """

    def publish(self, messages: int, qos: int) -> int:
        """Publish ``task.payload`` to ``task.topic`` so many times.

        Return how many have been handed over at QoS 0, and how many are acknowledged at QoS 1 and 2, once all
        are. Nothing may be held back: what is not sent at once goes on being sent after the return.
        """

    def ping_pong(self, messages: int, qos: int) -> list[float]:
        """Make round trips from ``task.topic`` to ``task.pong_topic``; return the seconds each took.

        The first call subscribes to the answers. See :class:`PingPong`.
        """

    def close(self) -> None:
        """Disconnect, and leave nothing behind."""


class Driver(Measured, Protocol):
    """A library used directly: what a plugin's entry point leads to."""

    library: ClassVar[str]
    """The distribution that is measured, for its version."""
    event_loop: ClassVar[bool]
    """True if it runs in an asyncio event loop, so that uvloop may be tried."""
    protocols: ClassVar[Sequence[int]]
    """The protocol versions it can be measured with (4 is MQTT 3.1.1), the preferred one first."""
    max_qos: ClassVar[int]
    """The highest QoS the library has."""
    window: ClassVar[str]
    """Who keeps to ``task.window``: ``"library"``, or ``"driver"`` where the library has no such limit."""

    def __init__(self, task: Task) -> None:
        """Make a client; nothing is connected yet."""
