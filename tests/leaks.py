"""Threads and sockets that a test leaves behind."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from pathlib import Path

from waiting import eventually

_FOLDER = Path("/proc/self/fd")
_KINDS = ("socket:", "anon_inode:[event")

_kept_threads: set[threading.Thread] = set()
_kept_files: Counter[str] = Counter()


def _threads():
    return set(threading.enumerate())


def _files():
    """Sockets and event loops that this process has open, where the system tells."""
    found: Counter[str] = Counter()
    if _FOLDER.is_dir():
        for entry in _FOLDER.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile, as the folder's own one is
                target = str(entry.readlink())
                if target.startswith(_KINDS):
                    found[target] += 1
    return found


@contextlib.contextmanager
def kept():
    """What is begun inside is meant to outlive the test: the brokers that tests share."""
    threads, files = _threads(), _files()
    yield
    _kept_threads.update(_threads() - threads)
    _kept_files.update(_files() - files)


class Watch:
    """Remembers what is there, and tells what has come and not gone."""

    def __init__(self):
        self._before_threads = _threads()
        self._before_files = _files()

    def _left(self):
        threads = [str(each) for each in _threads() - self._before_threads - _kept_threads]
        files = _files() - self._before_files - _kept_files
        return threads, dict(files)

    def check(self):
        """Fail if anything is left once it has had the time to go."""
        if not eventually(lambda: self._left() == ([], {})):
            threads, files = self._left()
            raise AssertionError(f"left behind: threads {threads}, sockets {files}")
