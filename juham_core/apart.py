"""Work that a signal can end without harm: on another thread than the one that signals are handled on.

Python handles signals on the main thread, between any two of its steps. An exception raised there, as Ctrl-C
does, may come between the taking of a lock and the note of it: the lock stays taken, and whoever cleans up
waits for it forever. Here it can only meet a wait, and that for something that holds no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

T = TypeVar("T")

_LOOK: Final = 0.2
"""Seconds between looks for a signal: one that comes just before a wait begins does not end it."""
_BEGIN: Final = 1.0
"""Seconds in which a thread that was started has begun."""


def apart(work: Callable[[], T], leave: Callable[[], object], name: str = "juham-apart") -> T:
    """Return what ``work`` returns, or raise what it raises, having called it on a thread of that name.

    What a signal's handler raises meanwhile is raised once the work has ended, which ``leave`` is to bring
    about; raised once more, it is not waited for any longer.
    """
    ended: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def run() -> None:
        try:
            value = work()
        except BaseException as exc:  # noqa: BLE001  # it is the caller's, whatever it is
            error = exc

            def give() -> T:
                raise error
        else:

            def give() -> T:
                return value

        ended.put(give)

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        try:
            thread.start()
        except RuntimeError:  # there are no more to be had, at the end of the interpreter for one
            run()
        give = None
        while give is None:
            with suppress(Empty):
                give = ended.get(timeout=_LOOK)
    except BaseException:
        leave()
        with suppress(Empty):  # a thread whose start was interrupted may never begin
            ended.get(timeout=_BEGIN if thread.ident is None else None)
        raise
    return give()
