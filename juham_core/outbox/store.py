"""The messages of an outbox on disk: put in, struck out and read back, many with one commit.

Whoever wants something written enters it and takes the lock; who gets it writes for all that wait, and they
find it done. So one thread pays a commit for each message, and a hundred together pay one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from juham_core.errors import OutboxError, QueueFullError
from juham_core.options import OutboxBounds
from juham_core.outbox.entries import Entry, Removal, Row, message_of
from juham_core.outbox.file import check_whose, open_file
from juham_core.outbox.lock import FileLock
from juham_core.outbox.room import Room

log = logging.getLogger("juham.outbox")

T = TypeVar("T")

_A_FEW: Final = 8
"""Messages that can be struck out within these."""

_INSERT: Final = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SET_ASIDE: Final = "INSERT INTO damaged SELECT * FROM messages WHERE id = ?"
_DELETE: Final = "DELETE FROM messages WHERE id = ?"
_IS_THERE: Final = "SELECT 1 FROM messages WHERE id = ?"
_RELEASE: Final = "INSERT OR IGNORE INTO released VALUES (?)"
_END_RELEASE: Final = "DELETE FROM released WHERE id = ?"
_SENT: Final = "INSERT INTO sent VALUES (?)"
_ANY_SENT: Final = "DELETE FROM sent"
_SELECT: Final = (
    "SELECT id, size, mid, qos, retain, expires_at, checksum, CAST(topic AS BLOB), properties, payload "
    "FROM messages WHERE id > ? ORDER BY id"
)


class Store:
    """One outbox, open. Every method may be called from any thread.

    ``stored`` is called with what has just been written, in order, and the lock held. Raises OutboxError if
    the file cannot be used.
    """

    def __init__(self, bounds: OutboxBounds, stored: Callable[[list[Entry]], None]) -> None:
        self.bounds = bounds
        self.path = os.path.abspath(os.path.expanduser(bounds.path))  # noqa: PTH100, PTH111 - SQLite and messages want a str, and symbolic links kept
        self.lock = threading.RLock()
        """Held while the file is used."""
        self.broken: OutboxError | None = None
        self._stored = stored
        self._pending: deque[Entry] = deque()
        self._removals: deque[Removal] = deque()
        self._endings: deque[Removal] = deque()
        """Removals that somebody waits for: only :meth:`write` calls back, never a publishing thread."""
        self._releases: deque[tuple[int, Callable[[], object]]] = deque()
        check_whose(self.path)  # before the lock is made, by which an outbox is known
        self._file_lock = FileLock(self.path)
        try:
            self._connection, self.set_aside = open_file(self.path, bounds.sync)
            counted = self._connection.execute("SELECT count(*), total(size), max(id) FROM messages")
            count, size, last = counted.fetchone()
            released = self._connection.execute("SELECT id FROM released").fetchall()
            sent = self._connection.execute("SELECT max(last) FROM sent").fetchone()[0]
        except sqlite3.Error as exc:
            self._file_lock.release()
            raise OutboxError(f"the outbox {self.path!r} cannot be used: {exc}") from exc
        except BaseException:
            self._file_lock.release()
            raise
        self.released: set[int] = {number for (number,) in released}
        """Numbers of messages of QoS 2 that the broker has said to have: of these only PUBREL may be sent."""
        self.count: int = count
        self.size = int(size)
        self.inherited: int = last or 0
        """The number of the last message that was here before."""
        self.sent: int = self.inherited if sent is None else min(sent, self.inherited)
        """The last that an earlier client may have sent: as it said when it was closed, else any."""
        self._sent_known = sent is not None
        self._room = Room(self.path, self._connection)
        self.last = self.inherited
        """And of the last that is here now."""
        self._open = True

    @property
    def journal(self) -> str:
        """``wal``, or what SQLite does instead where the file system has no shared memory."""
        with self.lock:
            mode: str = self._connection.execute("PRAGMA journal_mode").fetchone()[0]
        return mode

    @property
    def unwritten(self) -> bool:
        """True if something waits to be written."""
        return bool(self._pending or self._removals or self._endings or self._releases)

    # --- writing ------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """False once it is closed: nothing is stored any more."""
        return self._open

    def put(self, entry: Entry) -> None:
        """Store a message; return once it is on disk. Raises QueueFullError and OutboxError."""
        self._pending.append(entry)
        try:
            with self.lock:
                if not entry.settled:  # else the thread that had the lock has written ours too
                    self._write([])
        except BaseException:  # from the handler of a signal
            with contextlib.suppress(ValueError):
                self._pending.remove(entry)
            raise
        if entry.error is not None:
            raise entry.error

    def put_later(self, entry: Entry) -> None:
        """Have a message stored by the next :meth:`write`. Raises QueueFullError where that is certain."""
        if self.count + len(self._pending) >= self.bounds.messages:
            raise self._full()
        self._pending.append(entry)

    def remove_later(self, number: int, size: int, done: Callable[[], object] | None = None) -> None:
        """Have a message struck out by the next :meth:`write`, and ``done`` called then, no lock held."""
        (self._removals if done is None else self._endings).append((number, size, done))

    def release_later(self, number: int, done: Callable[[], object]) -> None:
        """Have the next :meth:`write` note that the broker has a message of QoS 2, and call ``done``."""
        self._releases.append((number, done))

    def forget_released(self) -> None:
        """The broker has lost the session: what it had said to have is to be published again."""
        with self.lock:
            try:
                self._connection.execute("DELETE FROM released")
            except sqlite3.Error:
                log.exception("the outbox %r", self.path)
            self._releases.clear()
            self.released.clear()

    def begin_sending(self) -> None:
        """Note that from now on any message may be sent; until :meth:`end_sending`, if we live to see it."""
        with self.lock:
            if self._sent_known:
                try:
                    self._connection.execute(_ANY_SENT)
                except sqlite3.Error as exc:
                    log.error(  # noqa: TRY400 - as below
                        "the outbox %r: it cannot be noted that messages are sent, and what is sent again "
                        "would be without DUP if the process ended now: %s",
                        self.path,
                        exc,
                    )
                else:
                    self._sent_known = False

    def end_sending(self, last: int) -> None:
        """Note which message was the last that was sent, of those that are left."""
        with (
            self.lock,
            contextlib.suppress(sqlite3.Error),
        ):  # then any may have been: that errs to the safe side
            if self._open and not self._sent_known:
                self._connection.execute(_SENT, (max(last, self.sent),))
                self._sent_known = True

    def write(self) -> list[Entry]:
        """Write all that waits; return what was to be stored, each entry with its error or without."""
        with self.lock:
            endings, releases = list[Removal](), list[tuple[int, Callable[[], object]]]()
            _drain(self._endings, endings)
            _drain(self._releases, releases)
            over = {number for number, _, _ in endings}
            noted = [number for number, _ in releases if number not in over]
            entries = self._write(endings, noted)
        for _, _, done in endings:
            if done is not None:
                done()
        for _, done in releases:
            done()
        return entries

    def _write(self, endings: list[Removal], releases: list[int] | None = None) -> list[Entry]:
        first = self.last
        removals, pending = endings, list[Entry]()
        try:
            _drain(self._removals, removals)
            _drain(self._pending, pending)
            self._write_now(pending, removals, releases)
        except BaseException:  # from the handler of a signal
            unsettled = [entry for entry in pending if not entry.settled]
            for entry in unsettled:  # whoever waits for it is told so, unless the recovery knows better
                text = f"the outbox {self.path!r} was interrupted: it may have stored the message or not"
                entry.error, entry.settled = OutboxError(text), True
            with contextlib.suppress(sqlite3.Error):
                self._recover(first, unsettled, removals)
            raise
        return pending

    def _recover(self, first: int, pending: list[Entry], removals: list[Removal]) -> None:
        """After an interrupt: see what is on the disk, and leave the rest to the next write."""
        execute = self._connection.execute
        if self._connection.in_transaction:
            execute("ROLLBACK")
        self.count, size, last = execute("SELECT count(*), total(size), max(id) FROM messages").fetchone()
        self.size = int(size)
        for removal in removals:
            waiting = self._removals if removal[2] is None else self._endings
            if removal not in waiting and execute(_IS_THERE, removal[:1]).fetchone():
                waiting.append(removal)
        written = [entry for entry in pending if first < entry.number <= (last or 0)]
        for entry in pending:
            entry.error, entry.settled = None, entry in written
        unwritten = [entry for entry in pending if not entry.settled and entry not in self._pending]
        self._pending.extendleft(reversed(unwritten))
        if written and self.last == first:
            self.last += len(written)
            self._stored(written)

    def _write_now(
        self, pending: list[Entry], removals: list[Removal], releases: list[int] | None
    ) -> None:
        count, size = self.count - len(removals), self.size - sum(each[1] for each in removals)
        accepted: list[Entry] = []
        rows = []
        for entry in pending:
            entry.error = self.broken if self._open else OutboxError(f"the outbox {self.path!r} is closed")
            if count >= self.bounds.messages or size + entry.size > self.bounds.size:
                entry.error = self._full(count, size)
            if entry.error is None:
                count, size = count + 1, size + entry.size
                entry.number = self.last + 1 + len(accepted)
                accepted.append(entry)
                rows.append(entry.row())
        try:
            if rows:
                self._room.keep(sum(entry.size for entry in accepted))
            self._transact(removals, rows, releases or ())
        except sqlite3.Error as exc:
            self._failed(exc, removals, accepted, releases or ())
        else:
            self.last += len(accepted)
            self.count, self.size = count, size
            if accepted:
                self._stored(accepted)
        for entry in pending:
            entry.settled = True

    def _transact(
        self, removals: list[Removal], rows: list[tuple[Any, ...]], releases: Sequence[int] = ()
    ) -> None:
        if not self._open or not (removals or rows or releases):
            return
        ended = [number for number, _, _ in removals if number in self.released]
        execute = self._connection.execute
        if self._connection.in_transaction:  # one that was interrupted, and could not be taken back then
            execute("ROLLBACK")
        try:
            execute("BEGIN IMMEDIATE")
            if removals:
                self._connection.executemany(_DELETE, [(number,) for number, _, _ in removals])
            if ended:
                self._connection.executemany(_END_RELEASE, [(number,) for number in ended])
            if rows:
                self._connection.executemany(_INSERT, rows)
            if releases:
                self._connection.executemany(_RELEASE, [(number,) for number in releases])
            execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # what came first says more
                if self._connection.in_transaction:
                    execute("ROLLBACK")
            raise
        self.released.difference_update(ended)
        self.released.update(releases)

    def _failed(
        self, exc: sqlite3.Error, removals: list[Removal], accepted: list[Entry], releases: Sequence[int]
    ) -> None:
        if releases:
            log.error(
                "the outbox %r: that the broker has %d messages of QoS 2 cannot be noted, and they would be "
                "sent again if the process ended now: %s",
                self.path,
                len(releases),
                exc,
            )
        for entry in accepted:
            entry.error = self._error("store the message, which was not accepted", exc)
            entry.number = 0
        left = removals
        try:
            while left:
                # By themselves they may well go: a few at a time, with what the journal had taken free again.
                self._room.checkpoint()
                self._transact(left[:_A_FEW], [])
                self.count -= len(left[:_A_FEW])
                self.size -= sum(size for _, size, _ in left[:_A_FEW])
                left = left[_A_FEW:]
        except sqlite3.Error as again:
            log.error(  # noqa: TRY400 - the reason is in the line, and where it was raised says nothing
                "the outbox %r: %d acknowledged messages cannot be struck out, and would be sent again "
                "if the process ended now: %s",
                self.path,
                len(left),
                again,
            )
            self._removals.extendleft((number, size, None) for number, size, _ in reversed(left))

    def _error(self, what: str, exc: sqlite3.Error) -> OutboxError:
        error = OutboxError(f"the outbox {self.path!r} cannot {what}: {exc}")
        error.__cause__ = exc
        return error

    def _full(self, count: int | None = None, size: int | None = None) -> QueueFullError:
        count = self.count if count is None else count
        size = self.size if size is None else size
        return QueueFullError(
            f"{count:,} messages of {size:,} bytes wait in the outbox {self.path!r} "
            f"(outbox_max_messages={self.bounds.messages:,}, outbox_max_bytes={self.bounds.size:,}): "
            "this one was not accepted; publish slower, or raise the bound"
        )

    # --- reading ------------------------------------------------------------------------------------

    def read(self, after: int, most: int, most_bytes: int) -> Iterator[Row]:
        """The messages with a higher number, in order: at most so many, and one past so many bytes.

        With :attr:`lock` held. Raises OutboxError if the file fails; then it is not written to any more.
        """
        read = 0
        try:
            with contextlib.closing(self._connection.execute(_SELECT, (after,))) as rows:
                for number, size, mid, qos, retain, expires_at, checksum, topic, encoded, payload in rows:
                    message = message_of(topic, payload, qos, retain, encoded, checksum)
                    yield Row(number, size, mid, expires_at, message)
                    most -= 1
                    read += size
                    if most <= 0 or read >= most_bytes:
                        return
        except sqlite3.DatabaseError as exc:
            self.broken = self._error("be read; it is set aside when it is opened next", exc)
            log.exception("reading failed")
            raise self.broken from exc

    def set_message_aside(self, number: int) -> None:
        """Keep a damaged message where it is not sent; its removal follows. With :attr:`lock` held."""
        with contextlib.suppress(sqlite3.Error):  # a full disk: then it is found again next time
            self._connection.execute(_SET_ASIDE, (number,))

    def needs(self) -> frozenset[str]:
        """What the stored messages ask of a connection: ``qos_2``, ``mqtt_5`` (for their properties)."""
        with self.lock:
            found = {
                name
                for name, condition in (("qos_2", "qos = 2"), ("mqtt_5", "properties IS NOT NULL"))
                if self._connection.execute(f"SELECT 1 FROM messages WHERE {condition} LIMIT 1").fetchone()  # noqa: S608 - the conditions are the two above
            }
        return frozenset(found)

    def close(self) -> None:
        """Write all that waits and close the file. May be called twice."""
        self.write()
        with self.lock:
            if self._open:
                self._open = False
                try:
                    if not self.count:
                        self._room.give_back()
                    self._connection.close()
                finally:
                    self._file_lock.release()


def _drain(queue: deque[T], taken: list[T]) -> None:
    """Take what is in a queue now; others may add to it meanwhile. Struck by a signal, it may be in both."""
    for _ in range(len(queue)):
        taken.append(queue[0])
        queue.popleft()
