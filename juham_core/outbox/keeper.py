"""Who has the outbox open: one store at a time, with the thread that writes and reads it.

Any thread may want it, while another closes it; what is published on a client that is closed is still stored.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final

from juham_core.errors import OutboxError
from juham_core.locks import Event, join
from juham_core.outbox.entries import Entry
from juham_core.outbox.store import Store

log = logging.getLogger("juham.outbox")

LINGER: Final = 0.02
"""Seconds in which acknowledged messages of QoS 1 gather, to be struck out together."""


class Keeper:
    """The store of one client. Every method may be called from any thread.

    ``make`` opens a store. ``begin`` is called when one was opened for the client; ``turn`` on the outbox's
    thread, whenever it was told that there is something to do, and ``end`` before the store is closed.
    """

    def __init__(
        self,
        make: Callable[[], Store],
        begin: Callable[[], None],
        turn: Callable[[Store], None],
        end: Callable[[Store], None],
    ) -> None:
        self.store: Store | None = None
        """The store, while it is open."""
        self.closed = False
        """True once the client is closed: until it connects again, nothing stays open."""
        self.lock = threading.RLock()
        """Held while a store is opened, or taken away to be closed."""
        self._make = make
        self._begin = begin
        self._turn = turn
        self._end = end
        self._left = Event()  # set but while a store is being closed
        self._left.set()
        self._leaving: tuple[Store, threading.Thread | None] | None = None
        self._worker: threading.Thread | None = None
        self._wake = Event()
        self._at_once = Event()
        self._stopping = False

    def open_anew(self) -> Store:
        """The store, opened if it is not, for a client that is not closed any more."""
        while True:
            with self.lock:
                self.closed = False
            store = self.opened()
            if store is not None:  # else closed by another thread a moment ago
                return store

    def opened(self) -> Store | None:
        """The store, opened if it is not; None once the client is closed."""
        store = self.store
        if store is not None:
            return store
        if self.closed:
            return None  # at once: whoever closes it may be waiting for this thread
        with self._alone():
            self._open()
            return self.store

    def _open(self) -> None:
        if self.closed or self.store is not None:
            return
        store = self._make()
        worker = threading.Thread(target=self._work, args=(store,), name="juham-outbox", daemon=True)
        try:
            self._begin()
            self._stopping = False
            self._wake.set()  # what was left behind by an earlier process is to be read
            worker.start()
        except BaseException:  # a signal's: the thread may run, and must not keep the file
            self._stopping = True
            self.tell(at_once=True)
            join(worker)
            store.close()
            raise
        self._worker, self.store = worker, store

    def tell(self, *, at_once: bool) -> None:
        """Have the outbox's thread take a turn: now, or with what else comes within :data:`LINGER`."""
        if at_once and not self._at_once.is_set():
            self._at_once.set()
        if not self._wake.is_set():
            self._wake.set()

    def put_closed(self, entry: Entry) -> None:
        """Store a message for a client that is closed, leaving nothing open: the next connection sends it."""
        leaving = self._leaving
        if leaving is not None and leaving[1] is threading.current_thread():
            leaving[0].put(entry)  # in a callback on the outbox's thread, which is waited for
            return
        with self._alone():
            if self.store is not None:
                self.store.put(entry)
                return
            store = self._make()
            try:
                store.put(entry)
            finally:
                store.close()

    def close(self) -> None:
        """Let the thread finish and close the store; wait for whoever is closing it already."""
        with self.lock:
            self.closed = True
            store, self.store = self.store, None
            worker, self._worker = self._worker, None
            if store is None:
                return
            self._leaving = store, worker
            self._left.clear()
        try:
            self._stopping = True
            self.tell(at_once=True)
            join(worker)
            self._end(store)
            store.close()
        finally:
            self._leaving = None
            self._left.set()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """With the lock held, and no store being closed: two at a time cannot have the file."""
        while True:
            self._left.wait()
            with self.lock:
                if self._left.is_set():
                    yield
                    return

    def _work(self, store: Store) -> None:
        while True:
            self._wake.wait()
            if not self._at_once.is_set():
                self._at_once.wait(LINGER)
            self._wake.clear()
            self._at_once.clear()
            if self._stopping:
                return
            try:
                self._turn(store)
            except OutboxError:
                continue  # it is logged, and every publish says so
            except Exception:
                log.exception("the outbox %r", store.path)
