"""The thread on which a connection reports to JMqtt what awscrt's event loop has seen, in the same order.

The event loop must not wait for hooks or a lock of the application's, and is none of Python's threads: one
that logs there, or asks which thread it is on, leaves a dummy thread behind for good. And a publish made
there, such as the next one once PUBACK has come, would overtake those of other threads that awscrt has taken
already.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from juham_core.locks import join

log = logging.getLogger("juham.awscrt")
T = TypeVar("T")


class Reporter:
    """Makes the calls it is given, one after the other, from :meth:`begin` until it is closed."""

    def __init__(self, name: str) -> None:
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]] | None] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"juham-{name}-awscrt", daemon=True)

    def begin(self) -> None:
        """Start to make calls: once it has an owner, who closes it."""
        self._thread.start()

    @property
    def idle(self) -> bool:
        """True if no call waits or is being made."""
        return not self._calls

    def put(self, function: Callable[..., None], *args: Any) -> None:
        """Have a call made in its turn; neither blocks nor raises."""
        self._calls.append((function, args))
        self._wake.put(None)

    def close(self) -> None:
        """Make what calls are left, and end; from the thread itself, end once that call has returned."""
        self._calls.append(None)
        self._wake.put(None)
        join(self._thread)

    def _run(self) -> None:
        calls, sleep = self._calls, self._wake.get
        sleep()
        while (call := calls[0]) is not None:
            function, args = call
            try:
                function(*args)
            except Exception:  # there is nobody above who could catch it
                log.exception("%s failed", getattr(function, "__qualname__", function))
            calls.popleft()  # only now: until then it keeps those who ask from overtaking it
            sleep()


class Collected(Generic[T]):
    """Things of one kind that are reported together, as many as have come by then.

    Two threads that take turns for each of them cost more than all the rest. Under a stream they would do so
    for good, as neither gets ahead of the other: so there the reporter pauses before it looks.
    """

    def __init__(self, reporter: Reporter, report: Callable[[list[T]], None], pause: float = 0.0) -> None:
        """``pause``: seconds, within which after a report the next thing must come for a stream."""
        self._reporter = reporter
        self._report = report
        self._pause = pause
        self.things: deque[T] = deque()
        """Those that are not reported yet."""
        self._asked = False
        self._last = 0.0

    def add(self, thing: T) -> None:
        """Have something reported; from one thread only."""
        self.things.append(thing)
        if not self._asked:
            self._asked = True
            self._reporter.put(self._tell)

    def _tell(self) -> None:
        if self._pause and time.monotonic() - self._last < self._pause:
            time.sleep(self._pause)  # what follows closely is to be reported together, not one by one
        self._asked = False  # first: for what comes from here on it is asked again
        things, taken = self.things, []
        while things:
            taken.append(things.popleft())
        self._report(taken)
        self._last = time.monotonic()
