"""Text that is no UTF-8: awscrt drops it with its packet, and tells nobody but ``sys.unraisablehook``.

So that hook is replaced while a connection stands. Of what it is told only that is taken which awscrt's C has
raised on the thread of an event loop; anything else goes to the hook that was there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from juham_core.errors import MalformedPacketError

Told = Callable[[MalformedPacketError], None]

_told: Final[dict[int, Told]] = {}
"""Whom to tell, by the thread of the event loop."""
_installed: Final[list[tuple[Any, Any]]] = []
"""The hook that is here while there is anybody to be told, and the one that was there."""
_changing: Final = threading.Lock()


def listen(told: Told) -> None:
    """Have the calling thread's malformed packets told, on that thread."""
    with _changing:
        if not _told:
            before = sys.unraisablehook
            sys.unraisablehook = _hook(before)
            _installed[:] = [(sys.unraisablehook, before)]
        _told[threading.get_ident()] = told


def ignore() -> None:
    """Have the calling thread's told no more."""
    with _changing:
        if _told.pop(threading.get_ident(), None) and not _told:
            hook, before = _installed.pop()
            if sys.unraisablehook is hook:
                sys.unraisablehook = before


def _hook(before: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A new one each time: one that comes back behind another's, which calls it, would call itself."""

    def hook(args: Any) -> None:
        told = _told.get(threading.get_ident())
        # The class in the place of an object is a habit of awscrt's; no traceback: it was not Python's code.
        if told is None or args.object is not args.exc_type or args.exc_traceback is not None:
            before(args)
        else:
            told(MalformedPacketError(f"what the broker sent is not UTF-8 in places: {args.exc_value}"))

    return hook
