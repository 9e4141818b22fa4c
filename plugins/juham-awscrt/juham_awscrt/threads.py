"""What Python keeps of a thread that is none of its own, such as that of awscrt's event loop."""

from __future__ import annotations

import ctypes
import threading


def forget_this_thread() -> None:
    """Take back what ``threading.current_thread()``, or a log message, has entered for the calling thread.

    Otherwise it would be listed as alive for good; Python forgets by itself only from 3.13 on.
    """
    found = threading._active.get(threading.get_ident())  # type: ignore[attr-defined] # no public way
    if isinstance(found, threading._DummyThread):
        found._delete()  # type: ignore[attr-defined]


def stay_known() -> int:
    """Keep what Python has of the calling thread from one call out of C to the next.

    Otherwise it is made for each call and thrown away after it, memory mapped and unmapped, which costs more
    than all the rest of what a message does. Returns what :func:`be_forgotten` wants.
    """
    return int(ctypes.pythonapi.PyGILState_Ensure())


def be_forgotten(known: int) -> None:
    """Undo :func:`stay_known`, on the same thread; once the present call returns to C nothing is left."""
    ctypes.pythonapi.PyGILState_Release(known)
