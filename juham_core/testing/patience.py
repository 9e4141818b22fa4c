"""How long the kit waits for what should happen at once, before it calls that a failure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_seconds = 10.0


def patience() -> float:
    """In seconds: far more than anything takes, even on a busy machine."""
    return _seconds


@contextlib.contextmanager
def less_patience(seconds: float) -> Iterator[None]:
    """Wait for less time, in the whole process, where failures are expected and time is short."""
    global _seconds  # noqa: PLW0603 - one for the process: cases run in threads of their own
    before, _seconds = _seconds, seconds
    try:
        yield
    finally:
        _seconds = before
