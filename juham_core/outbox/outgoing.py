"""What goes out by way of the disk: a publish is accepted once it is stored, and struck out once it is done.

A window of the stored messages is in memory, those that go next; the rest is read when there is room. The
library's thread never waits for the disk: what it reports is written by a thread of the outbox.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from juham_core.errors import JuhamError, NotConnectedError, OutboxError, PublishError, interrupted
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.options import OutboxBounds
from juham_core.outbox.entries import Entry, Row
from juham_core.outbox.identifiers import Identifiers, identifier_of
from juham_core.outbox.keeper import Keeper
from juham_core.outbox.receipts import StoredReceipt
from juham_core.outbox.store import Store
from juham_core.outgoing import Outgoing
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import UNSPECIFIED_ERROR

if TYPE_CHECKING:
    from juham_core.primitives import Backend

log = logging.getLogger("juham.outbox")

IN_MEMORY: Final = 1_000
"""Messages in memory, in flight and waiting, unless the window takes more."""
BYTES_IN_MEMORY: Final = 16 * 1024 * 1024


class StoredOutgoing(Outgoing):
    """The queue and the window of one client, over an outbox, which is opened when it is first needed."""

    def __init__(
        self,
        client: Backend,
        bounds: OutboxBounds,
        mids: itertools.count[int],
        dropped: Counter[str],
    ) -> None:
        super().__init__(client, client._on_acknowledged, client._on_subscribed)
        self.bounds = self._bounds = bounds
        self._mids = mids
        self._dropped = dropped
        self._keeper = Keeper(self._make_store, self._begin, self._turn, self._end)
        self._told: set[StoredReceipt] = set()
        # The next four are guarded by the store's lock; from _loaded and _loaded_bytes any thread takes.
        self._waiting: weakref.WeakValueDictionary[int, StoredReceipt] = weakref.WeakValueDictionary()
        self._loaded: dict[int, StoredReceipt] = {}
        self._loaded_bytes = 0
        self._last_loaded = 0
        self._last_handed = 0
        self._left = 0  # messages that only the next connection can send
        self._ending = 0
        self._session_kept = False
        self._session_goes_on = False
        self._sessions = 0
        self._identifiers = Identifiers()
        self._counting = threading.Lock()

    @property
    def window(self) -> int:
        """How many publishes may be with the library; those answered and not yet struck out count."""
        return self._window - self._ending

    @window.setter
    def window(self, most: int) -> None:
        self._window = most

    @property
    def queued(self) -> int:
        """Publishes accepted and not yet handed to the library."""
        return max(0, self.stored[0] - self.in_flight)

    @property
    def in_flight(self) -> int:
        """Publishes handed to the library and not yet acknowledged, or at QoS 2 not yet struck out."""
        return len(self._in_flight) + self._ending

    @property
    def stored(self) -> tuple[int, int]:
        """Messages and bytes in the outbox; nothing while it is closed."""
        store = self._keeper.store
        return (store.count, store.size) if store is not None else (0, 0)

    # --- the outbox itself --------------------------------------------------------------------------

    def open(self) -> frozenset[str]:
        """Open the outbox if it is not; return the capabilities that what is in it needs."""
        store = self._keeper.open_anew()
        store.begin_sending()
        return store.needs()

    def _make_store(self) -> Store:
        store = Store(self._bounds, self._stored)
        if store.set_aside is not None:
            self._dropped["outbox set aside"] += 1
        return store

    def _begin(self) -> None:
        self._last_loaded = self._last_handed = self._left = 0
        self._struck = False

    def _turn(self, store: Store) -> None:
        """Write what others have left to the thread of the outbox, and read what goes next."""
        self._settle(store.write())
        self._load(store)
        self._notify()
        self.hand_over()

    def _end(self, store: Store) -> None:
        self._settle(store.write())
        store.end_sending(self._last_handed)

    # --- accepting ----------------------------------------------------------------------------------

    def offer(self, receipt: PublishReceipt) -> PublishReceipt:
        """Store a publish and return its receipt. Raises QueueFullError and OutboxError.

        On the thread of an event loop, which is not to wait for the disk, it returns before: then the
        receipt fails with these.
        """
        message = receipt._message
        assert message is not None
        kept = StoredReceipt(receipt.mid, self._told)
        kept._message = message
        entry = Entry(message, kept.mid, kept)
        while True:
            store = self._keeper.opened()
            if store is None:
                self._keeper.put_closed(entry)
                return kept
            if self.loop_thread is not None and self.loop_thread == threading.get_ident():
                store.put_later(entry)
                self._keeper.tell(at_once=True)
                if not store.is_open:
                    self._settle(store.write())
                return kept
            try:
                store.put(entry)
            except OutboxError:
                if store.is_open:
                    raise
                entry.error, entry.settled = None, False  # closed by another thread a moment ago
            except BaseException as exc:
                self._struck = self._struck or not isinstance(exc, Exception)
                raise
            else:
                self.hand_over()
                return kept

    def withdraw(self, receipt: PublishReceipt) -> bool:  # noqa: ARG002 - the base's signature
        """False: what is stored is sent, whoever has stopped waiting for it."""
        return False

    def _settle(self, entries: list[Entry]) -> None:
        """Fail the receipts of what was left to be stored and could not be."""
        for entry in entries:
            if entry.error is not None:
                entry.owner._resolve(entry.error)

    def _stored(self, entries: list[Entry]) -> None:
        """Take over what has just been written: into memory where all before it is, and there is room."""
        for entry in entries:
            receipt: StoredReceipt = entry.owner
            receipt.number, receipt.size, receipt.expires_at = entry.number, entry.size, entry.expires_at
            if self._last_loaded == entry.number - 1 and not self._keeper.closed and self._room_in_memory():
                self._enqueue(receipt)
            else:
                self._waiting[entry.number] = receipt
                receipt._message = None

    def _room_in_memory(self) -> bool:
        most = max(IN_MEMORY, 2 * self.window)
        return len(self._loaded) < most and self._loaded_bytes < BYTES_IN_MEMORY

    def _enqueue(self, receipt: StoredReceipt) -> None:
        self._last_loaded = receipt.number
        self._loaded[receipt.number] = receipt
        with self._counting:
            self._loaded_bytes += receipt.size
        self._queue.append(receipt)

    def _load(self, store: Store) -> None:
        """Read what goes next while there is room for it."""
        with store.lock:
            most = max(IN_MEMORY, 2 * self.window) - len(self._loaded)
            left = BYTES_IN_MEMORY - self._loaded_bytes
            if most <= 0 or left <= 0 or self._last_loaded >= store.last:
                return
            for row in store.read(self._last_loaded, most, left):
                self._take(store, row)

    def _take(self, store: Store, row: Row) -> None:
        receipt = self._waiting.pop(row.number, None)
        if receipt is None:
            mid = row.mid if row.number > store.inherited else next(self._mids)
            receipt = StoredReceipt(mid, self._told)
            receipt.number, receipt.size, receipt.expires_at = row.number, row.size, row.expires_at
        if row.message is not None:
            receipt._message = row.message
            self._enqueue(receipt)
            return
        self._last_loaded = row.number
        log.error("the outbox %r: message %d is damaged; kept there, and not sent", store.path, row.number)
        store.set_message_aside(row.number)
        self._dropped["damaged"] += 1
        store.remove_later(
            row.number,
            row.size,
            partial(receipt._resolve, PublishError(f"publish {receipt.mid} was damaged on the disk")),
        )
        self._keeper.tell(at_once=False)

    # --- sending ------------------------------------------------------------------------------------

    def session(self, *, present: bool, kept: bool) -> None:
        """See :meth:`juham_core.outgoing.Outgoing.session`."""
        self._session_kept = kept
        self._session_goes_on = kept and present
        self._sessions += 1
        store = self._keeper.store
        if not present and store is not None and store.released:
            store.forget_released()

    def may_release(self, key: int) -> bool:
        """False where the session outlives the process: first it is noted that the broker has it."""
        store, handed = self._keeper.store, self._identifiers.holder(key)
        if not self._session_kept or store is None or handed is None:
            return True
        number, message = handed
        store.release_later(number, partial(self._release, key, message, self._sessions))
        self._keeper.tell(at_once=True)
        return False

    def _release(self, key: int, message: MqttMsg, session: int) -> None:
        if session != self._sessions:
            return  # the message is published again on the new connection, and PUBREC comes again
        with contextlib.suppress(NotConnectedError):
            self._library._pubrel(key, message)

    def _end_exchange(self, receipt: StoredReceipt, message: MqttMsg) -> None:
        """Of a message that is dropped, and that an earlier process may have sent.

        The broker is to forget the packet identifier: a later message with it would be taken for this one.
        """
        store = self._keeper.store
        earlier = store is not None and receipt.number <= store.sent
        if message.qos == 2 and self._session_kept and earlier:
            with contextlib.suppress(JuhamError):  # not connected, or a library without QoS 2
                self._library._pubrel(identifier_of(receipt.number), message)

    def _hand(self, receipt: PublishReceipt, message: MqttMsg) -> int:
        assert isinstance(receipt, StoredReceipt)
        number, store = receipt.number, self._keeper.store
        key = self._identifiers.take(number, message)
        if key and store is not None and number in store.released:
            self._library._pubrel(key, message)
            return key
        self._library._wanted_id = key
        self._last_handed = max(self._last_handed, number)
        # The flag says that the message might have been sent before (section 3.3.1.1).
        earlier = store is not None and number <= store.sent
        self._library._sent_before = key > 0 and earlier and self._session_goes_on
        return super()._hand(receipt, message)

    def _send_publish(self, receipt: PublishReceipt) -> bool:
        assert isinstance(receipt, StoredReceipt)
        message = receipt._message
        if receipt.expires_at is not None and message is not None:
            left = receipt.expires_at - time.time()
            if left <= 0:
                self._dropped["expired"] += 1
                self._end_exchange(receipt, message)
                error = PublishError(f"publish {receipt.mid} expired before it could be sent")
                self._give_up(receipt, error)
                return True
            receipt._message = _expiring(message, left)
        sent = super()._send_publish(receipt)
        if len(self._loaded) < IN_MEMORY // 2:
            store = self._keeper.store
            if store is not None and self._last_loaded < store.last:
                self._keeper.tell(at_once=True)
        return sent

    def _send_next(self) -> bool:
        return self._send_publish(self._queue.popleft())  # each by itself, with its identifier

    def acknowledged(self, key: int, answer: Any) -> None:
        """Take the broker's answer to a publish; from any thread."""
        self.acknowledged_many((key,), answer)

    def acknowledged_many(self, keys: Sequence[int], answer: Any) -> None:
        """Take the same answer to several publishes, in order; from any thread."""
        # Their places are given free here and taken again by what is to be struck out; between the two no
        # other thread may give them to somebody else.
        with self._counting:
            self._ending += len(keys)
        try:
            for key in keys:
                super().acknowledged(key, answer)
        finally:
            with self._counting:
                self._ending -= len(keys)
        if self._queue or self._controls:
            self.hand_over()

    def _finish(self, receipt: PublishReceipt, answer: Any) -> None:
        assert isinstance(receipt, StoredReceipt)
        message = receipt._message
        if message is not None and answer[0] >= UNSPECIFIED_ERROR:  # perhaps nobody holds the receipt
            log.error("the broker refused publish %d to %r: %#04x", receipt.mid, message.topic, answer[0])
        if message is not None and message.qos == 2:
            # Exactly once: whoever is told that it is done will not see it sent again. Until then it keeps
            # its place in the window, so that no more than a window of messages can be doubled.
            with self._counting:
                self._ending += 1
            self._strike_out(receipt, partial(self._ended, receipt, answer))
            return
        self._strike_out(receipt, None)
        super()._finish(receipt, answer)

    def _ended(self, receipt: PublishReceipt, answer: Any) -> None:
        with self._counting:
            self._ending -= 1
        super()._finish(receipt, answer)

    def _give_up(self, receipt: PublishReceipt, error: JuhamError) -> None:
        assert isinstance(receipt, StoredReceipt)
        message = receipt._message
        if message is not None:  # perhaps nobody holds the receipt
            log.error("a message to %r leaves the outbox unsent: %s", message.topic, error)
        self._strike_out(receipt, partial(super()._give_up, receipt, error))

    def _interrupted(self, receipt: PublishReceipt, exc: BaseException) -> None:
        """It stays on the disk for the next connection, which may send it a second time, as after a crash."""
        assert isinstance(receipt, StoredReceipt)
        self._left += 1
        self._forget_loaded(receipt)
        error = f"{interrupted(exc)}; it is kept in the outbox, and sent when that is opened next"
        super()._give_up(receipt, PublishError(error))

    def _forget_loaded(self, receipt: StoredReceipt) -> None:
        if self._loaded.pop(receipt.number, None) is not None:
            with self._counting:
                self._loaded_bytes -= receipt.size

    def _strike_out(self, receipt: StoredReceipt, done: Callable[[], object] | None) -> None:
        store = self._keeper.store
        self._identifiers.give_back(receipt.number)
        self._forget_loaded(receipt)
        if store is None:  # closed meanwhile: it stays in the outbox
            if done is not None:
                done()
            return
        store.remove_later(receipt.number, receipt.size, done)
        self._keeper.tell(at_once=done is not None)

    # --- the end ------------------------------------------------------------------------------------

    def _is_empty(self) -> bool:
        store = self._keeper.store
        if store is None:
            return True
        if store.unwritten:
            return False
        # After a strike there may be one that only the next connection sends, and that nobody has counted.
        idle = self._struck and self._last_loaded >= store.last and not self._queue and not self.in_flight
        return idle or store.count == self._left

    def wait_empty(self, timeout: float) -> bool:
        """Block until the outbox is empty, for at most ``timeout`` seconds; tell which."""
        self._keeper.tell(at_once=True)
        return super().wait_empty(timeout)

    def fail_all(self, error: Callable[[PublishReceipt], JuhamError]) -> int:  # noqa: ARG002 - as above
        """Close the outbox and resolve every receipt whose message stays in it; return 0: none is lost."""
        store = self._keeper.store
        self._keeper.close()
        with self._handing_over:
            self._in_flight.take_all()
            self._queue.clear()
            self._identifiers.clear()
        with self._keeper.lock:
            # One by one: what another thread stores meanwhile is not of this connection.
            receipts = [*self._loaded.values(), *self._told]
            self._loaded.clear()
            for reference in self._waiting.valuerefs():
                receipt = reference()
                if receipt is not None and self._waiting.pop(receipt.number, None) is not None:
                    receipts.append(receipt)
            self._loaded_bytes = 0
        where = store.path if store is not None else self._bounds.path
        for receipt in receipts:
            receipt._message = None
            receipt._resolve(
                NotConnectedError(
                    f"the client was closed before the broker answered publish {receipt.mid}: it is kept in "
                    f"the outbox {where!r}, and sent when a client with that outbox connects next"
                )
            )
        self._notify()
        return 0


def _expiring(message: MqttMsg, seconds: float) -> MqttMsg:
    """A copy of the message that has so many seconds to live."""
    properties = Properties(message.properties)
    properties["message_expiry_interval"] = math.ceil(seconds)
    return MqttMsg(message.topic, message.payload, message.qos, message.retain, properties=properties)
