"""A deadline for a function that may hang: it fails with the stacks of all threads, and the rest goes on."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable


class DeadlineExceededError(AssertionError):
    """A case has taken too long; the message shows where every thread was."""


def within(seconds: float, function: Callable[[], None], name: str) -> None:
    """Run the function in a thread of its own and raise what it raises.

    Raises DeadlineExceededError after ``seconds``; the thread is then left to itself.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as exc:  # noqa: BLE001 - raised again, where the caller is
            raised.append(exc)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DeadlineExceededError(f"{name} has taken more than {seconds:.0f} s.\n{stacks()}")
    if raised:
        raise raised[0]


def stacks() -> str:
    """What every thread is doing at this moment."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            stack = "".join(traceback.format_stack(frame))
            parts.append(f"thread {names.get(ident, '?')!r}:\n{stack}")
    return "\n".join(parts)
