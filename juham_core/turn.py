"""Which thread must not wait for the broker, because it is the one that would bring the answer."""

from __future__ import annotations

import threading

from juham_core.errors import DeadlockError


class Turn:
    """Of one client: the thread on which a handler runs inline, and one that is handing a message over."""

    __slots__ = ("sender", "thread")

    def __init__(self) -> None:
        self.thread: int | None = None
        self.sender: int | None = None

    def check_may_wait(self, what: str) -> None:
        """Raise DeadlockError on a thread that would wait for itself."""
        if threading.get_ident() in (self.thread, self.sender):
            raise DeadlockError(
                f"cannot wait for {what} here: with the option handlers='inline' this handler runs on the "
                "thread that would bring it; use add_done_callback or on_connect, wait on another thread, "
                "or connect with handlers='thread'"
            )
