"""The thread on which a connection reports to JMqtt what awscrt's event loop has seen, in the same order.

The event loop must not wait for hooks or a lock of the application's, and is none of Python's threads: one
that logs there, or asks which thread it is on, leaves a dummy thread behind for good. And a publish made
there, such as the next one once PUBACK has come, would overtake those of other threads that awscrt has taken
already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger("juham.awscrt")


class Reporter:
    """Makes the calls it is given, one after the other, until it is closed."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"juham-{name}-awscrt", daemon=True)
        self._thread.start()

    def put(self, function: Callable[..., None], *args: Any) -> None:
        """Have a call made in its turn; neither blocks nor raises."""
        self._calls.put((function, args))

    def close(self) -> None:
        """Make what calls are left, and end; from the thread itself, end once that call has returned."""
        self._calls.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, args = call
            try:
                function(*args)
            except Exception:  # there is nobody above who could catch it
                log.exception("%s failed", getattr(function, "__qualname__", function))
