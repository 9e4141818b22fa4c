"""Which thread must not wait for the broker, because it is the one that would bring the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from juham_core.errors import DeadlockError


class Turn:
    """Of one client: the thread on which a handler runs inline, and one that is handing a message over.

    And that of an event loop in which the client lives, and those that run a receipt's callback or a hook,
    which may be the library's own, with locks held.
    """

    __slots__ = ("_telling", "loop", "sender", "thread")

    def __init__(self) -> None:
        self.thread: int | None = None
        self.sender: int | None = None
        self.loop: int | None = None
        self._telling: set[int] = set()

    @property
    def telling(self) -> bool:
        """True inside a receipt's callback and inside a hook."""
        return threading.get_ident() in self._telling

    def tell(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        """Call a receipt's callback, or a hook."""
        thread = threading.get_ident()
        outermost = thread not in self._telling
        self._telling.add(thread)
        try:
            function(*args, **named)
        finally:
            if outermost:
                self._telling.discard(thread)

    def check_may_wait(self, what: str) -> None:
        """Raise DeadlockError on a thread that would wait for itself."""
        here = threading.get_ident()
        if here == self.loop:
            raise DeadlockError(
                f"cannot wait for {what} here: it is the thread of the event loop, which would stand still; "
                "await what AsyncMqtt has for it, or use add_done_callback or asyncio.to_thread"
            )
        if here in (self.thread, self.sender):
            raise DeadlockError(
                f"cannot wait for {what} here: with the option handlers='inline' this handler runs on the "
                "thread that would bring it; use add_done_callback or on_connect, wait on another thread, "
                "or connect with handlers='thread'"
            )
