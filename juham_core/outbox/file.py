"""The file of an outbox: made, checked, set aside if it is damaged, and looked into from outside."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from juham_core.errors import OutboxError

log = logging.getLogger("juham.outbox")

APPLICATION: Final = 0x4A75_4F42
"""SQLite's mark of whose file it is (``PRAGMA application_id``): "JuOB"."""
VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    mid INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    stored_at REAL NOT NULL,
    expires_at REAL,
    checksum INTEGER NOT NULL,
    topic TEXT NOT NULL,
    properties BLOB,
    payload BLOB NOT NULL
);
CREATE TABLE damaged AS SELECT * FROM messages;
CREATE TABLE released (id INTEGER PRIMARY KEY);
CREATE TABLE sent (last INTEGER NOT NULL);
INSERT INTO sent VALUES (0);
"""
_PARTS: Final = ("", "-wal", "-shm")
"""What SQLite calls the files that belong together."""


_HEADER: Final = b"SQLite format 3\0"
_APPLICATION_AT: Final = 68
"""Where SQLite keeps its mark, from the beginning of the file."""


def check_whose(path: str) -> None:
    """Raise OutboxError if there is something in this place that has never been an outbox; it is not touched.

    What has been one is known by its mark, or, where that is overwritten, by the lock or the journal beside
    it: the lock stays for as long as the outbox, and is made beside nothing else.
    """
    place = Path(path)
    try:
        if not place.exists():
            return
        if not place.is_file():
            raise OutboxError(
                f"{path!r} is a folder, a device or the like, and was left as it is: an outbox is a file; "
                "name one that does not exist, and it is made"
            )
        if Path(f"{path}.lock").exists() or Path(f"{path}-wal").exists():
            return
        with place.open("rb") as file:
            begin = file.read(_APPLICATION_AT + 4)
    except OSError as exc:
        raise OutboxError(f"the outbox {path!r} cannot be used: {exc}") from exc
    mark = begin[_APPLICATION_AT:]
    if not begin or mark == APPLICATION.to_bytes(4, "big"):
        return
    what = "a database" if begin.startswith(_HEADER) else "a file"
    raise OutboxError(
        f"{path!r} is {what} of something else, and was left as it is: an outbox needs a file of its own; "
        "name one that does not exist, and it is made"
    )


def open_file(path: str, sync: str) -> tuple[sqlite3.Connection, str | None]:
    """Open the file, or make it; return the connection, and where a damaged file was put, else None.

    Whoever calls holds the lock. Raises OutboxError for a file that is not an outbox, or of a newer version,
    and where the disk does not let us.
    """
    aside = None
    try:
        if Path(path).exists():
            problem = _problem(path)
            if problem is not None:
                aside = _set_aside(path, problem)
        if not Path(path).exists():
            _make(path)
        connection = _connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {sync.upper()}")
        except sqlite3.Error:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as exc:
        raise OutboxError(f"the outbox {path!r} cannot be used: {exc}") from exc
    return connection, aside


def _connect(path: str) -> sqlite3.Connection:
    # One lock of ours serializes all use, from whatever thread.
    return sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)


def _make(path: str) -> None:
    """Make an empty outbox beside its place and move it there: a file in that place is always whole."""
    beside = f"{path}.outbox-new"
    Path(beside).unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # payloads are private
    with closing(_connect(beside)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # what is struck out can be given back
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    Path(beside).replace(path)


def _problem(path: str) -> str | None:
    """What is wrong with the file, or None. Raises OutboxError for a sound file that is not an outbox."""
    if not Path(path).stat().st_size:
        return "it is empty"
    try:
        with closing(_connect(path)) as connection:
            whose = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, sqlite3.OperationalError) and "malformed" not in str(exc):
            raise  # the disk, or who may read: the file itself may be sound
        return str(exc)
    if found != "ok":
        return str(found).replace("\n", " ")
    if whose != APPLICATION:
        raise OutboxError(f"{path!r} is a database of something else: an outbox needs a file of its own")
    if version != VERSION:
        raise OutboxError(
            f"the outbox {path!r} has version {version}, this juham-core knows {VERSION}: "
            "pip install --upgrade juham-core"
        )
    return None


def _set_aside(path: str, problem: str) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside, number = f"{path}.corrupt-{stamp}", 1
    while Path(aside).exists():
        number += 1
        aside = f"{path}.corrupt-{stamp}-{number}"
    for part in _PARTS:
        if Path(path + part).exists():
            Path(path + part).rename(aside + part)
    log.error(
        "the outbox %r is damaged (%s): it was set aside as %r, and a new one begun. The messages in it are "
        "not sent: 'juham outbox' shows those that can still be read",
        path,
        problem,
        aside,
    )
    return aside


@dataclass(frozen=True)
class Summary:
    """What is in an outbox: numbers, and the oldest message's time (seconds since 1970)."""

    messages: int
    size: int
    """Bytes of topics, payloads and properties."""
    oldest: float | None
    topics: dict[str, int]
    """Messages by topic, those with most first."""
    damaged: int
    """Messages that are kept and not sent: their checksum is wrong."""
    damage: str | None
    """Why not all could be read, or None."""


def look_into(path: str, topics: int = 20) -> Summary:
    """Read an outbox, in use or not, without changing it. Raises OutboxError for what is none."""
    if "://" in path:  # not repeated: it may have a password in it
        raise OutboxError(
            "the path of an outbox is wanted, as the client's option 'outbox' says it, not a URL"
        )
    if not Path(path).is_file():
        raise OutboxError(
            f"there is no outbox {path!r}: its path is what the client's option 'outbox' says, and it is "
            "made when the client first connects or publishes"
        )
    count, size, damaged = 0, 0, 0
    oldest: float | None = None
    damage: str | None = None
    names: dict[str, int] = {}
    try:
        with closing(_read_only(path)) as connection:
            rows = connection.execute("SELECT topic, size, stored_at FROM messages ORDER BY id")
            for topic, row_size, stored_at in rows:
                count += 1
                size += row_size
                oldest = stored_at if oldest is None else min(oldest, stored_at)
                names[topic] = names.get(topic, 0) + 1
            damaged = connection.execute("SELECT count(*) FROM damaged").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        damage = str(exc)
    ordered = sorted(names.items(), key=lambda item: -item[1])[:topics]
    return Summary(count, size, oldest, dict(ordered), damaged, damage)


def payloads(path: str, limit: int) -> list[tuple[int, str, int, bytes]]:
    """Number, topic, QoS and payload of the oldest messages, for those who ask for them."""
    found: list[tuple[int, str, int, bytes]] = []
    try:
        with closing(_read_only(path)) as connection:
            query = "SELECT id, topic, qos, payload FROM messages ORDER BY id LIMIT ?"
            found.extend(connection.execute(query, (limit,)))
    except sqlite3.DatabaseError as exc:
        if not found:
            raise OutboxError(f"the outbox {path!r} cannot be read: {exc}") from exc
    return found


def _read_only(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
