"""One thread that looks, from time to time, whether a broker owes any client of the process an answer.

A PUBACK that never comes is not asked for again by any client library on a live connection, and MQTT allows
sending again only after a reconnect (MQTT 5 section 4.4). The thread runs while there is somebody to watch.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from juham_core.locks import Condition, join

log = logging.getLogger("juham.watchdog")

Check = Callable[[float], None]


class Watchdog:
    """Calls each check with ``time.monotonic()``, about every so many seconds, on a thread of its own."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._checks: dict[object, tuple[float, Check]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, who: object, seconds: float, check: Check) -> None:
        """Call ``check`` about every ``seconds`` until :meth:`unwatch`. It must not block."""
        with self._changed:
            self._checks[who] = (seconds, check)
            if self._thread is None or not self._thread.is_alive():  # its start may have been interrupted
                self._thread = threading.Thread(target=self._look, name="juham-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def unwatch(self, who: object) -> None:
        """Call that check no more. If it was the last, the thread has ended on return."""
        with self._changed:
            if self._checks.pop(who, None) is None or self._checks:
                return
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        join(thread)

    def _look(self) -> None:
        me = threading.current_thread()
        due: dict[object, float] = {}
        while True:
            with self._changed:
                if self._thread is not me:
                    return
                now = time.monotonic()
                due = {who: due.get(who, now + seconds) for who, (seconds, _) in self._checks.items()}
                self._changed.wait(max(0.0, min(due.values()) - now))
                if self._thread is not me:
                    return
                now = time.monotonic()
                ready = [
                    (who, *self._checks[who])
                    for who, when in due.items()
                    if when <= now and who in self._checks
                ]
            for who, seconds, check in ready:
                due[who] = now + seconds
                try:
                    check(now)
                except Exception:
                    log.exception("a check failed")


watchdog = Watchdog()
"""The one of this process."""

if hasattr(os, "register_at_fork"):
    # The child has none of the parent's threads, and its clients are its own.
    os.register_at_fork(after_in_child=watchdog.__init__)  # type: ignore[misc]  # made anew, where it is
