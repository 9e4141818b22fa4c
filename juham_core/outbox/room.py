"""The room on the disk that an outbox keeps for itself: what is stored must also be struck out, some day."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from typing import Final

_KEPT_BACK: Final = 64 * 1024
"""Bytes of the disk that are left free, beside what the journal takes."""


class Room:
    """Of one file, by the connection to it; for whoever holds the lock of its store."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self._folder = os.path.dirname(path)  # noqa: PTH120 - SQLite wants a str, and symbolic links kept
        self._journal = f"{path}-wal"
        self._connection = connection

    def keep(self, size: int) -> None:
        """Raise unless enough of the disk is left to strike out, later, what is being stored now.

        SQLite writes for that, too: to its journal, and all of that once more to the file itself.
        """
        for attempt in range(3):
            free = shutil.disk_usage(self._folder).free
            kept = 2 * size + _KEPT_BACK + self._journal_size()
            if free >= kept:
                return
            self.checkpoint()
            if attempt:
                self.give_back()
        raise sqlite3.OperationalError(
            f"the disk is full: {free:,} bytes are free, of which the outbox keeps {kept:,} back for itself"
        )

    def checkpoint(self) -> None:
        """Have the journal written to the file, and made empty; what then fails says so itself."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def give_back(self) -> None:
        """Give what messages have left free in the file back to the disk."""
        with contextlib.suppress(sqlite3.Error):
            while self._connection.execute("PRAGMA freelist_count").fetchone()[0]:
                self._connection.execute("PRAGMA incremental_vacuum(64)").fetchall()
                self.checkpoint()

    def _journal_size(self) -> int:
        try:
            return os.stat(self._journal).st_size  # noqa: PTH116 - at every commit, so without a Path
        except FileNotFoundError:
            return 0
