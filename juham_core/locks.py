"""Locks that an exception raised by a signal's handler cannot leave taken.

CPython calls the handlers of signals on the main thread: where a function begins, where a loop goes round,
and after each call that Python code makes, but nowhere else. So Ctrl-C may strike between the taking of a
lock and the ``try`` or ``with`` that would let it go, if Python code makes the call that takes it. The method
``__enter__`` of :class:`threading.Condition` is such code. Here ``with`` and ``taken`` lead through C alone.
A plain :class:`threading.Lock` in a ``with`` needs none of this.
"""

from __future__ import annotations

import functools
import threading
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING


class Condition(threading.Condition):
    """A :class:`threading.Condition` over an RLock, to be used by ``with``."""

    def __init__(self) -> None:
        super().__init__(threading.RLock())

    if not TYPE_CHECKING:
        __enter__ = property(attrgetter("_lock.__enter__"))
        __exit__ = property(attrgetter("_lock.__exit__"))

    def wait(self, timeout: float | None = None) -> bool:
        """As there; whatever is raised, the lock is ours again."""
        try:
            return super().wait(timeout)
        finally:
            if not self._is_owned():  # type: ignore[attr-defined]  # typeshed leaves it out
                self.acquire()


class Event(threading.Event):
    """A :class:`threading.Event` over such a condition."""

    def __init__(self) -> None:
        super().__init__()
        self._cond = Condition()


class TryLock:
    """A lock that is taken where it is free, and else left to its holder, who will look again.

    ``if lock.taken: try: ... finally: lock.release()``, with no call before ``try``. Or by ``with``, which
    waits for it.
    """

    __slots__ = ("_lock", "_take", "acquire", "locked", "release")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._take = functools.partial(self._lock.acquire, False)
        self.acquire = self._lock.acquire
        self.locked = self._lock.locked
        self.release = self._lock.release

    if TYPE_CHECKING:

        @property
        def taken(self) -> bool:
            """True if it was free, and is ours now."""

        def __enter__(self) -> bool: ...
        def __exit__(self, *_: object) -> None: ...
    else:
        taken = property(methodcaller("_take"), doc="True if it was free, and is ours now.")
        __enter__ = property(attrgetter("_lock.__enter__"))
        __exit__ = property(attrgetter("_lock.__exit__"))


def join(thread: threading.Thread | None) -> None:
    """Wait for a thread to end: one whose start was interrupted, too, which may never have begun.

    Such a thread has to find out, when it does begin, that nobody wants it any more.
    """
    if thread is not None and thread is not threading.current_thread() and thread.is_alive():
        thread.join()
