"""The lock by which one process, and one client in it, has an outbox for itself."""

from __future__ import annotations

import contextlib
import os
import sys

from juham_core.errors import OutboxError


class FileLock:
    """Holds ``PATH.lock`` from when it is made until :meth:`release`; the system releases it for the killed.

    The file stays, empty but for the number of the process that has used it last: to remove it would let two
    in. Raises OutboxError if somebody else has it.
    """

    def __init__(self, path: str) -> None:
        name = f"{path}.lock"
        try:
            # A file of Python's, which goes with this object if a signal has kept it from being released.
            self._file = open(name, "r+b", buffering=0, opener=_opened)  # noqa: SIM115 - it stays open
        except OSError as exc:
            raise OutboxError(f"the outbox {path!r} cannot be used: {exc}") from exc
        file = self._file.fileno()
        try:
            _lock(file)
        except OSError as exc:
            holder = os.pread(file, 20, 0).decode("ascii", "replace") if hasattr(os, "pread") else ""
            self._file.close()
            who = f"process {holder.strip()}" if holder.strip() else "another process"
            raise OutboxError(
                f"the outbox {path!r} is in use by {who}: one client at a time has it; "
                "close that one, or give each an outbox of its own"
            ) from exc
        os.lseek(file, 0, os.SEEK_SET)
        found = os.read(file, 40).strip()
        if found and not found.isdigit():
            self._file.close()
            raise OutboxError(
                f"the outbox {path!r} cannot be used: its lock would be {name!r}, which is a file of "
                "something else, and was left as it is; give the outbox another name"
            )
        with contextlib.suppress(OSError):  # a full disk: the number is for people only
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()


def _opened(name: str, _flags: int) -> int:
    # Not inherited by programs that are started: they would hold the lock after our end.
    return os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 1 << 20, os.SEEK_SET)  # away from the number, which others shall be able to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
