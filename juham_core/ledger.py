"""What the application has subscribed to: the ledger from which a new connection gets its subscriptions."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from juham_core.errors import SubscribeError
from juham_core.message import SubscribeReceipt, UnsubscribeReceipt
from juham_core.outgoing import SubscribeRequest, UnsubscribeRequest
from juham_core.wire.packets import Subscription
from juham_core.wire.reasons import UNSPECIFIED_ERROR, ReasonCode

CHUNK = 8
"""Filters in one SUBSCRIBE: some brokers take no more."""


@dataclass
class Entry:
    """A subscription the application wants, and what the broker made of it."""

    subscription: Subscription
    granted: int | None = None
    ever_granted: bool = False


class Ledger:
    """The subscriptions of one client. Its lock is never held while a library is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._orphans: list[SubscribeReceipt] = []
        self._farewells: dict[str, list[UnsubscribeReceipt]] = {}
        self._restored: dict[str, Subscription] = {}
        self._live = False

    def subscriptions(self) -> dict[str, int | None]:
        """Each topic filter with the QoS the broker granted; None while it has not answered."""
        with self._lock:
            return {name: entry.granted for name, entry in self._entries.items()}

    def want(self, subscriptions: list[Subscription], receipt: SubscribeReceipt) -> bool:
        """Enter subscriptions; True if they are to be sent now, else the next connection will bring them."""
        overtaken: list[UnsubscribeReceipt] = []
        with self._lock:
            for subscription in subscriptions:
                overtaken += self._farewells.pop(subscription.topic_filter, [])
                entry = self._entries.setdefault(subscription.topic_filter, Entry(subscription))
                entry.subscription = subscription
                entry.granted = None
            live = self._live
            if not live:
                self._orphans.append(receipt)
        for farewell in overtaken:
            farewell._resolve()
        return live

    def give_up(self, topic_filters: list[str], receipt: UnsubscribeReceipt) -> bool:
        """Strike filters out; True if the broker is to be told now, else it is if its session outlived us."""
        with self._lock:
            for topic_filter in topic_filters:
                self._entries.pop(topic_filter, None)
                if not self._live:
                    self._farewells.setdefault(topic_filter, []).append(receipt)
            live = self._live
            gone, self._orphans = self._split_orphans()
        self._refuse_gone(gone)
        return live

    def was_restored(self, subscriptions: list[Subscription]) -> bool:
        """True if this connection was given exactly these subscriptions from the ledger."""
        with self._lock:
            return all(self._restored.get(sub.topic_filter) == sub for sub in subscriptions)

    def join(self, receipt: SubscribeReceipt) -> None:
        """Let a receipt take part in the restoration that is under way."""
        with self._lock:
            known: dict[str, int] = {}
            for topic_filter in receipt.topic_filters:
                entry = self._entries.get(topic_filter)
                if entry is not None and entry.granted is not None:
                    known[topic_filter] = entry.granted
            if len(known) < len(receipt.topic_filters):
                self._orphans.append(receipt)
        if known:
            receipt._answer(known)

    def orphan(self, requests: list[SubscribeRequest | UnsubscribeRequest]) -> None:
        """Take back what a lost connection leaves unanswered; from now on nothing is to be sent."""
        with self._lock:
            self._live = False
            self._restored.clear()
            for request in requests:
                if isinstance(request, SubscribeRequest):
                    self._orphans += request.receipts
                else:
                    for topic_filter in request.topic_filters:
                        self._farewells.setdefault(topic_filter, []).extend(request.receipts)

    def restore(self, session_present: bool) -> list[SubscribeRequest | UnsubscribeRequest]:
        """Return what a new connection has to be told.

        With its session present the broker remembers (MQTT 5 section 3.2.2.1.1): only what it never granted
        is sent, and what was given up meanwhile. Without, everything is, once.
        """
        with self._lock:
            self._live = True
            gone, self._orphans = self._split_orphans()
            farewells, self._farewells = self._farewells, {}
            if not session_present:
                for entry in self._entries.values():
                    entry.granted = None
            due = [entry.subscription for entry in self._entries.values() if entry.granted is None]
            self._restored = {sub.topic_filter: sub for sub in due}
        self._refuse_gone(gone)
        requests: list[SubscribeRequest | UnsubscribeRequest] = []
        if session_present:
            requests += [UnsubscribeRequest([name], receipts) for name, receipts in farewells.items()]
        else:
            for receipts in farewells.values():
                for receipt in receipts:
                    receipt._resolve()
        for start in range(0, len(due), CHUNK):
            requests.append(SubscribeRequest(due[start : start + CHUNK], []))
        return requests

    def answered(self, request: SubscribeRequest, codes: list[int]) -> list[str]:
        """Enter the broker's codes; return the filters that it had granted before and refuses now.

        A filter refused at its first attempt is struck out: it was reported, and would be refused again. One
        that had been granted is kept, and tried again with the next connection.
        """
        verdict = dict(zip((sub.topic_filter for sub in request.subscriptions), codes, strict=False))
        lost = []
        with self._lock:
            for name, code in verdict.items():
                entry = self._entries.get(name)
                if entry is None:
                    continue
                if code < UNSPECIFIED_ERROR:
                    entry.granted, entry.ever_granted = code, True
                elif entry.ever_granted:
                    entry.granted = None
                    lost.append(f"{name!r} ({ReasonCode(code)})")
                else:
                    del self._entries[name]
            receipts = [*request.receipts, *self._orphans]
        for receipt in receipts:
            receipt._answer(verdict)
        with self._lock:
            self._orphans = [receipt for receipt in self._orphans if not receipt.done()]
        return lost

    def fail_all(self, error: Exception) -> None:
        """Resolve every receipt that waits here as failed; the subscriptions themselves stay."""
        with self._lock:
            orphans, self._orphans = self._orphans, []
            farewells, self._farewells = self._farewells, {}
            for entry in self._entries.values():
                entry.granted = None
        for receipt in orphans:
            receipt._resolve(error)  # type: ignore[arg-type]  # always one of ours
        for receipts in farewells.values():
            for farewell in receipts:
                farewell._resolve()

    def _split_orphans(self) -> tuple[list[SubscribeReceipt], list[SubscribeReceipt]]:
        gone = [orphan for orphan in self._orphans if not self._entries.keys() >= orphan._open.keys()]
        return gone, [orphan for orphan in self._orphans if orphan not in gone]

    @staticmethod
    def _refuse_gone(gone: list[SubscribeReceipt]) -> None:
        for receipt in gone:
            names = ", ".join(repr(name) for name in receipt.topic_filters)
            receipt._resolve(SubscribeError(f"{names} was unsubscribed before the broker had answered"))
