"""Mutants whose outbox does not keep what it promises."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from functools import partial
from pathlib import Path

from mutants import mutant
from toy import JToy

import juham_core.outbox.store
from juham_core.errors import OutboxError, QueueFullError
from juham_core.message import PublishReceipt
from juham_core.outbox import Store, StoredOutgoing
from juham_core.outbox.lock import FileLock


class JStores(JToy):
    """A toy with an outbox of another kind."""

    Outgoing = StoredOutgoing

    def _make_outgoing(self, outbox):
        if outbox is None:
            return super()._make_outgoing(None)
        return self.Outgoing(self, outbox, self._mids, self._statistics.dropped)


class DeletesWhenSent(StoredOutgoing):
    qos = 1

    def _send_publish(self, receipt):
        if receipt._message.qos == self.qos:
            self._strike_out(receipt, None)
            self._settle(self._keeper.store.write())
        return super()._send_publish(receipt)

    def _finish(self, receipt, answer):
        super(StoredOutgoing, self)._finish(receipt, answer)


@mutant("outbox.kept_until_puback", "strikes out what it has sent, not what was acknowledged")
class JDeletesWhenSent(JStores):
    Outgoing = DeletesWhenSent


@mutant("outbox.kept_until_pubcomp", "believes that at QoS 2 nothing can be lost")
class JDeletesQos2WhenSent(JStores):
    class Outgoing(DeletesWhenSent):
        qos = 2


@mutant("outbox.killed_qos_1", "stores messages in its own time")
class JStoresLater(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            store = super()._make_store()
            store.put = store.put_later
            return store


@mutant("outbox.killed_qos_2", "strikes out when it is closed")
class JDeletesAtTheEnd(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            store = super()._make_store()
            transact = store._transact
            store._transact = lambda removals, rows, releases=(): transact([], rows, releases)
            return store


@mutant("outbox.goes_on_at_pubrec", "has other packet identifiers in each process")
class JNumbersByProcess(JStores):
    def _publish(self, message):
        self._wanted_id += os.getpid() % 5000
        return super()._publish(message)


@mutant("outbox.goes_on_at_pubcomp", "does not note what it releases")
class JNotesNoReleases(JStores):
    class Outgoing(StoredOutgoing):
        def may_release(self, key):
            return True


@mutant("outbox.killed_session", "begins with the packet identifier 1 in each process")
class JBeginsAtOne(JStores):
    def _publish(self, message):
        self._wanted_id = 0
        return super()._publish(message)


class ReadsBackwards(Store):
    def read(self, after, most, most_bytes):
        rows = list(super().read(after, most, most_bytes))
        return reversed(rows)


@mutant("outbox.in_order", "sends the newest first after a restart")
class JForgetsOrder(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            return ReadsBackwards(self._bounds, self._stored)


@mutant("outbox.kept_by_closing", "empties the outbox when it is closed")
class JEmptiesWhenClosed(JStores):
    class Outgoing(StoredOutgoing):
        def fail_all(self, error):
            store = self._keeper.store
            if store is not None:
                with store.lock:
                    store._connection.execute("DELETE FROM messages")
            return super().fail_all(error)


@mutant("outbox.published_for_all", "gives all that an earlier client left one number")
class JOneNumber(JStores):
    def _make_outgoing(self, outbox):
        made = super()._make_outgoing(outbox)
        if outbox is not None:
            made._mids = iter(lambda: 7, 0)
        return made


@mutant("outbox.refused", "keeps what the broker has refused")
class JKeepsRefused(JStores):
    class Outgoing(StoredOutgoing):
        def _finish(self, receipt, answer):
            if answer[0] >= 0x80:
                super(StoredOutgoing, self)._finish(receipt, answer)
            else:
                super()._finish(receipt, answer)


@mutant("outbox.expiry", "sends the whole expiry interval, however long the message was on disk")
class JWholeInterval(JStores):
    class Outgoing(StoredOutgoing):
        def _send_publish(self, receipt):
            receipt.expires_at = None
            return super()._send_publish(receipt)


@mutant("outbox.bounded", "drops what is too much without a word")
class JDropsWhenFull(JStores):
    def publish(self, *arguments, **named):
        try:
            return super().publish(*arguments, **named)
        except QueueFullError:
            return PublishReceipt(0)


@mutant("outbox.full_disk", "does not look whether the message was written")
class JSwallowsFullDisk(JStores):
    def publish(self, *arguments, **named):
        try:
            return super().publish(*arguments, **named)
        except OutboxError:
            return PublishReceipt(0)


@mutant("outbox.damaged", "begins anew in the place of a damaged file")
class JEmptiesDamaged(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            with contextlib.closing(sqlite3.connect(self._bounds.path)) as file:
                try:
                    file.execute("PRAGMA quick_check").fetchall()
                except sqlite3.DatabaseError:
                    Path(self._bounds.path).unlink()
            return super()._make_store()


class NoLock(FileLock):
    def __init__(self, path):
        """Whoever wants may come."""

    def release(self):
        """Nothing."""


def without(name, replacement, make):
    """What is made while the store's module has something else of this name."""
    module = juham_core.outbox.store
    kept = getattr(module, name)
    setattr(module, name, replacement)
    try:
        return make()
    finally:
        setattr(module, name, kept)


@mutant("outbox.one_at_a_time", "lets any number of clients use one file")
class JNoLock(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            return without("FileLock", NoLock, partial(StoredOutgoing._make_store, self))


@mutant("outbox.private", "lets everybody read")
class JPublic(JStores):
    class Outgoing(StoredOutgoing):
        def _make_store(self):
            store = super()._make_store()
            Path(self._bounds.path).chmod(0o644)
            return store


@mutant("outbox.sent_again_dup", "takes what another process has sent for new")
class JForgetsThatItWasSent(JToy):
    def _publish(self, message):
        self._sent_before = False
        return super()._publish(message)


class TakesAllForSent(StoredOutgoing):
    def _make_store(self):
        store = super()._make_store()
        store.sent = store.inherited
        return store


@mutant("outbox.never_sent_no_dup", "marks all that another process has left, sent or not")
class JTakesAllForSent(JStores):
    Outgoing = TakesAllForSent


class MarksAll(StoredOutgoing):
    def session(self, *, present, kept):
        super().session(present=True, kept=True)


@mutant("outbox.sent_anew", "marks all that another process has left, whether there is a session or not")
class JMarksAll(JStores):
    Outgoing = MarksAll


@mutant("outbox.identifiers_apart", "looks at no subscribe when it gives a message its identifier")
class JGivesItTwice(JToy):
    def _subscribe(self, subscriptions):
        key = super()._subscribe(subscriptions)
        self._exchanges.free_id(key)
        return key
