"""What Python keeps of a thread that is none of its own, such as that of awscrt's event loop."""

from __future__ import annotations

import threading


def forget_this_thread() -> None:
    """Take back what ``threading.current_thread()``, or a log message, has entered for the calling thread.

    Otherwise it would be listed as alive for good; Python forgets by itself only from 3.13 on.
    """
    found = threading._active.get(threading.get_ident())  # type: ignore[attr-defined] # no public way
    if isinstance(found, threading._DummyThread):
        found._delete()  # type: ignore[attr-defined]
