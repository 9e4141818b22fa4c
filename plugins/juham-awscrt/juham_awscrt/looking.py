"""The thread that looks after what connections read: one for all of them, while there are any.

It sleeps until something comes, looks, and then leaves what follows alone for a while: a connection that is
quiet costs nothing, and one that is busy some thirty looks a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Final, Protocol

from juham_awscrt.descriptors import Descriptor
from juham_core.locks import Event, join

PAUSE: Final = 0.05
"""Seconds until the next look, at most.

A look takes a tenth of a millisecond from the message that is just being handled: more of them would be seen
in one of a hundred.
"""
SHARE: Final = 20
"""For so many times as long as the looks at all connections kept a processor busy, there are no others."""

_COMES: Final = select.EPOLLIN | select.EPOLLONESHOT if hasattr(select, "epoll") else 0


class Looked(Protocol):
    """One connection."""

    def look(self) -> float | None:
        """Look; return after how many seconds it is time for the next look, None if there is to be none."""


class _Looker:
    """The thread, and the epoll instance that wakes it.

    That holds no descriptor of its own, which would keep awscrt from closing the connection: what it watches
    it forgets once awscrt closes it.
    """

    def __init__(self) -> None:
        self.connections: dict[int, Looked] = {}
        self._epoll = select.epoll()
        self._bell, self._ringing = os.pipe()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._ended = Event()
        self._thread = threading.Thread(target=self._run, name="juham-awscrt-looker", daemon=True)
        self._thread.start()

    def add(self, descriptor: Descriptor, connection: Looked) -> bool:
        """Look at this one from now on; False if it is closed."""
        number = descriptor.number
        before = self.connections.get(number)
        self.connections[number] = connection  # first: something may come at once
        if self._watches(descriptor):
            return True
        if before is None:
            del self.connections[number]
        else:  # the number is another connection's by now
            self.connections[number] = before
        return False

    def _watches(self, descriptor: Descriptor) -> bool:
        """Have what comes there wake the thread; False if it is closed."""
        number, ours = descriptor.number, True
        try:
            self._epoll.register(number, _COMES)
        except FileExistsError:
            ours = False
            self._arm(number)
        except OSError:
            return False
        with descriptor.opened() as sock:  # only now is it sure what was registered
            if sock is None and ours:  # else the number is another connection's, or the bell's: it stays
                with contextlib.suppress(OSError):
                    self._epoll.unregister(number)
            return sock is not None

    def remove(self, number: int, connection: Looked) -> None:
        """Look at it no more."""
        if self.connections.get(number) is connection:
            del self.connections[number]
            with contextlib.suppress(OSError):  # closed meanwhile
                self._epoll.unregister(number)

    def end(self) -> None:
        """Wait until the thread has ended."""
        self._ended.set()
        os.write(self._ringing, b"\0")
        join(self._thread)
        self._epoll.close()
        os.close(self._bell)
        os.close(self._ringing)

    def _run(self) -> None:
        while not self._ended.is_set():
            came = self._epoll.poll()
            began = time.thread_time()
            pause, again = PAUSE, []
            for number, _events in came:
                connection = self.connections.get(number)
                wait = connection.look() if connection is not None else None
                if wait is not None:
                    again.append(number)
                    pause = min(pause, wait)
            self._ended.wait(max(pause, SHARE * (time.thread_time() - began)))
            for number in again:
                self._arm(number)

    def _arm(self, number: int) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            self._epoll.modify(number, _COMES)


_looking: Final[list[_Looker]] = []
"""The thread, if there is one."""
_changing: Final = threading.Lock()


def look_at(descriptor: Descriptor, connection: Looked) -> bool:
    """Have a connection looked at whenever something comes; False if it is closed."""
    with _changing:
        if not _looking:
            _looking.append(_Looker())
        added = _looking[0].add(descriptor, connection)
        _end_if_idle()
        return added


def look_away(descriptor: Descriptor, connection: Looked) -> None:
    """Have it looked at no more; returns once that is so, and the last one ends the thread."""
    with _changing:
        if _looking:
            _looking[0].remove(descriptor.number, connection)
            _end_if_idle()


def _end_if_idle() -> None:
    if not _looking[0].connections:
        _looking.pop().end()
