"""What becomes of the connection, told to the handlers in order, and merged where they lag far behind."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from juham_core.dispatch import Dispatcher
from juham_core.statistics import Statistics

MOST: Final = 64
"""Events that may wait for a handler before connections that are over are merged."""

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Kind(Enum):
    """What an event tells."""

    UP = "a connection was accepted"
    REFUSED = "a connection was refused"
    DOWN = "a connection has ended"


class _Place:
    """A place in the line of the handlers; an event that was merged leaves it vacant, for a later one."""

    __slots__ = ("call", "kind", "reserved")

    def __init__(self, kind: Kind, call: Call) -> None:
        self.kind: Kind | None = kind
        self.call: Call | None = call
        self.reserved: object = None
        """Whose it is going to be, while that may not be told yet."""

    def vacate(self) -> None:
        self.kind = self.call = self.reserved = None


class Transitions:
    """The events of one client that wait: each is told, in its place among the messages, up to ``MOST``.

    Past that, a connection that begins and ends is merged into the one before it, a refusal into the next
    event. So a connection that flaps behind a handler that blocks takes no memory; the last event is always
    told, and what an application is told remains a sequence that may happen. Events come from one thread at a
    time.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._lock = threading.Lock()
        self._waiting: deque[_Place] = deque()

    def connecting(self, dispatcher: Dispatcher, *, accepted: bool, call: Call) -> Callable[[], None]:
        """The broker's verdict: it takes its place now, and is told once the function returned is called."""
        kind = Kind.UP if accepted else Kind.REFUSED
        with self._lock:
            last = self._waiting[-1] if len(self._waiting) >= MOST else None
            if last is not None and last.kind is not Kind.DOWN:
                self._statistics.merged += last.kind is not None
                last.vacate()
                claim = last.reserved = object()
                return lambda: self._take(dispatcher, last, claim, kind, call)
            place = _Place(kind, call)
            self._waiting.append(place)
        return dispatcher.put_gated(self._tell, place)

    def ended(self, dispatcher: Dispatcher, call: Call) -> None:
        """The end of a connection that was accepted."""
        with self._lock:
            waiting = self._waiting
            if len(waiting) >= MOST and waiting[-1].kind is not Kind.DOWN and waiting[-2].kind is Kind.DOWN:
                waiting[-1].vacate()
                waiting[-2].call = call
                self._statistics.merged += 2
                return
            place = _Place(Kind.DOWN, call)
            waiting.append(place)
        dispatcher.put(self._tell, place)

    def forget(self) -> None:
        """Nothing that waits will be told."""
        with self._lock:
            self._waiting.clear()

    def _take(self, dispatcher: Dispatcher, place: _Place, claim: object, kind: Kind, call: Call) -> None:
        with self._lock:
            if place.reserved is not claim:
                return  # over already, and merged
            place.kind, place.call, place.reserved = kind, call, None
            if place in self._waiting:
                return
            self._waiting.append(place)  # its turn has passed
        dispatcher.put(self._tell, place)

    def _tell(self, place: _Place) -> Any:
        with self._lock:
            with contextlib.suppress(ValueError):  # forgotten
                self._waiting.remove(place)
            call = place.call
        if call is None:
            return None
        function, args = call
        return function(*args)
