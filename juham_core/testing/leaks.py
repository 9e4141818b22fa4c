"""What a case has left behind: threads, sockets and files, tasks, and exceptions that nobody caught."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from juham_core.testing.patience import patience

_DESCRIPTORS = Path("/proc/self/fd")
_GRACE = 0.3
"""What is on its way out may take so much of the kit's patience."""


class Watch:
    """Remembers what there is, and tells what has come since and not gone."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._files = _files()
        self._tasks = _tasks()

    def left(self) -> list[str]:
        """Each thing that is left, in words; waits until nothing is, for a little while."""
        pause = threading.Event()
        deadline = time.monotonic() + _GRACE * patience()
        while (found := self._look()) and time.monotonic() < deadline:
            pause.wait(0.005)
        return found

    def _look(self) -> list[str]:
        threads = [f"the thread {each.name!r}" for each in set(threading.enumerate()) - self._threads]
        files = [f"the open file {name}" for name in (_files() - self._files).elements()]
        tasks = [f"the pending task {each!r}" for each in _tasks() - self._tasks]
        return threads + files + tasks


def _files() -> Counter[str]:
    """Sockets, pipes and event loops that this process has open, where the system tells."""
    found: Counter[str] = Counter()
    if _DESCRIPTORS.is_dir():
        for entry in _DESCRIPTORS.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile, as the folder's own one is
                found[str(entry.readlink())] += 1
        for name in [name for name in found if name.startswith(str(_DESCRIPTORS.parent.resolve()))]:
            del found[name]  # the folder itself
    found.pop("/dev/urandom", None)  # what the C libraries of TLS open once, for as long as the process runs
    return found


def _tasks() -> set[Any]:
    """Tasks that are not done, of every event loop, as far as this Python shows them."""
    if "asyncio" not in sys.modules:
        return set()
    for name in ("_scheduled_tasks", "_all_tasks"):
        known = getattr(asyncio.tasks, name, None)
        if known is not None:
            for _ in range(10):
                with contextlib.suppress(RuntimeError):  # another thread has changed the set meanwhile
                    return {task for task in list(known) if not task.done()}
    return set()


class Uncaught:
    """Collects what threads and destructors raise while it is entered, in the place of printing it."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __enter__(self) -> Uncaught:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._hooks = threading.excepthook, sys.unraisablehook
        threading.excepthook = self._in_thread
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *exc: object) -> None:
        threading.excepthook, sys.unraisablehook = self._hooks

    def _in_thread(self, args: Any) -> None:
        name = args.thread.name if args.thread is not None else "?"
        trace = "".join(traceback.format_tb(args.exc_traceback, limit=-6))
        self.errors.append(
            f"uncaught in the thread {name!r}: {args.exc_type.__name__}: {args.exc_value}\n{trace}"
        )

    def _unraisable(self, args: Any) -> None:
        self.errors.append(f"{args.err_msg or 'uncaught'} {args.object!r}: {args.exc_value!r}")
