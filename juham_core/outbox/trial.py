"""Whether a place will do for an outbox: one is made there, used, opened again and thrown away."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from juham_core.errors import OutboxError
from juham_core.message import MqttMsg
from juham_core.options import OutboxBounds
from juham_core.outbox.entries import Entry
from juham_core.outbox.file import check_whose
from juham_core.outbox.store import Store


@dataclass(frozen=True)
class Place:
    """What a place is like."""

    folder: str
    sqlite: str
    """SQLite's version."""
    journal: str
    """``wal``, or what SQLite does without it there."""
    free: int
    """Bytes of the disk."""


def try_place(path: str) -> Place:
    """Try the folder in which an outbox ``path`` is or would be; the outbox itself is left alone.

    Raises OutboxError if none can be kept there, or the file is something else.
    """
    place = Path(path).expanduser().absolute()
    folder = place.parent
    if not folder.is_dir():
        raise OutboxError(f"the outbox {path!r} cannot be used: there is no folder {str(folder)!r}; make it")
    check_whose(str(place))
    try:
        with tempfile.TemporaryDirectory(prefix=".juham-trial-", dir=folder) as scratch:
            journal = _use(os.path.join(scratch, "outbox"))  # noqa: PTH118 - the outbox takes a str
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        raise OutboxError(
            f"no outbox can be kept in {str(folder)!r}: {exc}; let this user write there, or name another"
        ) from exc
    return Place(str(folder), sqlite3.sqlite_version, journal, free)


def _use(path: str) -> str:
    """Store a message and find it again; the journal that SQLite keeps meanwhile."""
    bounds = OutboxBounds(path, 1, 1 << 20, "full")
    store = Store(bounds, lambda _entries: None)
    try:
        journal = store.journal
        store.put(Entry(MqttMsg("juham/trial", b"kept", 1), 1))
    finally:
        store.close()
    store = Store(bounds, lambda _entries: None)
    try:
        with store.lock:
            found = [row.message.payload for row in store.read(0, 2, 1 << 20) if row.message is not None]
    finally:
        store.close()
    if found != [b"kept"]:
        raise OutboxError(f"what was stored in {path!r} was not there again: {found}")
    return journal
