"""The watchdog of clients that live in an event loop: its timers are the loop's, and it needs no thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from juham_core.watchdog import Check, Watchdog

log = logging.getLogger("juham.watchdog")


class LoopWatchdog(Watchdog):
    """Calls each check in the running loop; may itself be called from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._timers: dict[object, asyncio.TimerHandle] = {}

    def watch(self, who: object, seconds: float, check: Check) -> None:
        """Call ``check`` about every ``seconds`` until :meth:`unwatch`. It must not block."""
        self._soon(self._set, who, seconds, check)

    def unwatch(self, who: object) -> None:
        """Call that check no more, but for one that is about to be."""
        self._soon(self._cancel, who)

    def _soon(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)

    def _set(self, who: object, seconds: float, check: Check) -> None:
        self._cancel(who)
        self._timers[who] = self._loop.call_later(seconds, self._check, who, seconds, check)

    def _cancel(self, who: object) -> None:
        timer = self._timers.pop(who, None)
        if timer is not None:
            timer.cancel()

    def _check(self, who: object, seconds: float, check: Check) -> None:
        self._set(who, seconds, check)
        try:
            check(time.monotonic())
        except Exception:
            log.exception("a check failed")
