"""What the application has subscribed to: the ledger from which a new connection gets its subscriptions."""

from __future__ import annotations

import itertools
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from juham_core.awaiting import Request, SubscribeRequest, UnsubscribeRequest
from juham_core.errors import JuhamError, SubscribeError
from juham_core.filtertree import FilterTree
from juham_core.message import SubscribeReceipt, UnsubscribeReceipt
from juham_core.records import replace
from juham_core.topics import split_share
from juham_core.wire.reasons import UNSPECIFIED_ERROR, ReasonCode
from juham_core.wire.terms import Subscription

CHUNK = 8
"""Filters in one SUBSCRIBE: some brokers take no more."""
_MOST_IDENTIFIERS: Final = 268_435_455
_MOST_TOPICS: Final = 1_000


class Entry:
    """A subscription the application wants, and what the broker made of it."""

    def __init__(self, subscription: Subscription, identifier: int) -> None:
        self.subscription = subscription
        self.identifier = identifier
        """Its own, if it overlaps with one that was there before it; else 0, and it is sent without."""
        self.granted: int | None = None
        self.ever_granted = False


class Ledger:
    """The subscriptions of one client. Its lock is never held while a library is called.

    ``enter`` is called with each request that is to be sent now, with the lock held: so requests go out in
    the order in which the ledger has changed, whichever threads they come from.
    """

    def __init__(self, enter: Callable[[Request], None] = lambda _request: None) -> None:
        self._enter_request = enter
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._orphans: dict[str, list[SubscribeReceipt]] = {}  # by each filter they wait for
        self._farewells: dict[str, Sequence[UnsubscribeReceipt]] = {}
        self._restored: dict[str, Subscription] = {}
        self._live = False
        self._filters: FilterTree[str] = FilterTree()
        self._identified = False
        self._identifiers: set[int] = set()
        self._expected: dict[str, frozenset[int]] = {}
        self.overlapping = False
        """True while the broker may send copies of a message that :meth:`expected` tells apart."""

    def subscriptions(self) -> dict[str, int | None]:
        """Each topic filter with the QoS the broker granted; None while it has not answered."""
        with self._lock:
            return {name: entry.granted for name, entry in self._entries.items()}

    def want(self, subscriptions: list[Subscription], receipt: SubscribeReceipt) -> bool:
        """Enter subscriptions; True if they go out now, else the next connection will bring them."""
        overtaken: dict[str, Sequence[UnsubscribeReceipt]] = {}
        with self._lock:
            for subscription in subscriptions:
                farewells = self._farewells.pop(subscription.topic_filter, None)
                if farewells is not None:
                    overtaken[subscription.topic_filter] = farewells
                entry = self._entries.get(subscription.topic_filter)
                if entry is None:
                    entry = self._enter(subscription)
                entry.subscription = subscription
                entry.granted = None
            live = self._live
            if live:
                for request in self._requests(subscriptions, [receipt]):
                    self._enter_request(request)
            else:
                self._await_answers(receipt, receipt._open)
        for topic_filter, receipts in overtaken.items():
            for farewell in receipts:
                farewell._answer({topic_filter: 0})
        return live

    def give_up(self, topic_filters: list[str], receipt: UnsubscribeReceipt) -> bool:
        """Strike filters out; True if the broker is told now, else it is if its session outlived us."""
        with self._lock:
            for topic_filter in topic_filters:
                self._strike_out(topic_filter)
                if not self._live:
                    self._say_goodbye(topic_filter, [receipt])
            live = self._live
            if live:
                self._enter_request(UnsubscribeRequest(topic_filters, [receipt]))
            gone = [self._orphans.pop(topic_filter, []) for topic_filter in topic_filters]
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
            self._await_answers(receipt, receipt._open.keys() - known.keys())
        if known:
            receipt._answer(known)

    def orphan(self, requests: list[SubscribeRequest | UnsubscribeRequest]) -> None:
        """Take back what a lost connection leaves unanswered; from now on nothing is to be sent."""
        with self._lock:
            self._live = False
            self._restored.clear()
            for request in requests:
                if isinstance(request, SubscribeRequest):
                    for subscription in request.subscriptions:
                        entry = self._entries.get(subscription.topic_filter)
                        if entry is not None:  # what was granted meanwhile was an earlier request for it
                            entry.granted = None
                    for receipt in request.receipts:
                        self._await_answers(receipt, receipt._unanswered())
                else:
                    for topic_filter in request.topic_filters:
                        self._say_goodbye(topic_filter, request.receipts)

    def requests(self, subscriptions: list[Subscription]) -> list[SubscribeRequest]:
        """Return the SUBSCRIBEs that bring these: an identifier needs one to itself (section 3.8.2.1.2)."""
        with self._lock:
            return self._requests(subscriptions, [])

    def expected(self, topic: str) -> frozenset[int]:
        """The identifiers with which a message of this topic may come, 0 for none; from the library's thread.

        Shared subscriptions are left out: what comes by them is nobody's copy.
        """
        found = self._expected.get(topic)
        if found is None:
            with self._lock:
                names = self._filters.match(topic)
                found = frozenset(
                    self._entries[name].identifier for name in names if split_share(name)[0] is None
                )
                if len(self._expected) >= _MOST_TOPICS:
                    self._expected.clear()
                self._expected[topic] = found
        return found

    def restore(
        self, session_present: bool, identified: bool = False
    ) -> list[SubscribeRequest | UnsubscribeRequest]:
        """Return what a new connection has to be told; ``identified``: it takes subscription identifiers.

        With its session present the broker remembers (MQTT 5 section 3.2.2.1.1): only what it never granted
        is sent, and what was given up meanwhile. Without, everything is, once.
        """
        with self._lock:
            self._live = True
            self._identified = identified
            self._look_for_overlaps()
            names = [name for name in self._orphans if name not in self._entries]
            gone = [self._orphans.pop(name) for name in names]
            farewells, self._farewells = self._farewells, {}
            if not session_present:
                for entry in self._entries.values():
                    entry.granted = None
            due = [entry.subscription for entry in self._entries.values() if entry.granted is None]
            self._restored = {sub.topic_filter: sub for sub in due}
        self._refuse_gone(gone)
        requests: list[SubscribeRequest | UnsubscribeRequest] = []
        if session_present:
            requests += [UnsubscribeRequest([name], list(receipts)) for name, receipts in farewells.items()]
        else:
            for name, receipts in farewells.items():
                for receipt in receipts:
                    receipt._answer({name: 0})
        for request in self.requests(due):
            for start in range(0, len(request.subscriptions), CHUNK):
                requests.append(SubscribeRequest(request.subscriptions[start : start + CHUNK], []))
        return requests

    def answered(self, request: SubscribeRequest, codes: list[int], why: str = "") -> list[str]:
        """Enter the broker's codes; return the filters that it had granted before and refuses now.

        ``why`` is the broker's reason string. Receipts that have waited for what this request brings, such as
        those of a subscribe that came while a connection was being set up, are the request's from now on.

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
                    self._strike_out(name)
            receipts = list(request.receipts)
            for name in verdict:
                receipts += self._orphans.pop(name, [])
        request.receipts = list(dict.fromkeys(receipts))
        for receipt in request.receipts:
            receipt._answer(verdict, why)
        return lost

    def failed(self, request: Request, error: JuhamError) -> None:
        """Resolve the receipts of a request that could not be sent, and those that have waited for it."""
        receipts = list(request.receipts)
        if isinstance(request, SubscribeRequest):
            with self._lock:
                for subscription in request.subscriptions:
                    receipts += self._orphans.pop(subscription.topic_filter, [])
        for receipt in dict.fromkeys(receipts):
            receipt._resolve(error)

    def fail_all(self, error: JuhamError) -> None:
        """Resolve every receipt that waits here as failed; the subscriptions themselves stay.

        What was given up remains so: a session that outlived us is told by the next connection.
        """
        with self._lock:
            orphans, self._orphans = self._orphans, {}
            farewells, self._farewells = self._farewells, dict.fromkeys(self._farewells, ())
            for entry in self._entries.values():
                entry.granted = None
        for receipt in itertools.chain(*orphans.values(), *farewells.values()):
            receipt._resolve(error)

    def _enter(self, subscription: Subscription) -> Entry:
        name = subscription.topic_filter
        plain = split_share(name)[1]
        entry = self._entries[name] = Entry(subscription, self._identifier_for(name, plain))
        if entry.identifier:
            self._identifiers.add(entry.identifier)
        self._filters.add(plain, name)
        self._look_for_overlaps()
        return entry

    def _strike_out(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._identifiers.discard(entry.identifier)
            self._filters.remove(split_share(name)[1], name)
            self._look_for_overlaps()

    def _identifier_for(self, name: str, plain: str) -> int:
        """0 for a filter that overlaps with no other; else the same in every connection and process.

        So what a broker has kept in a session can be told apart, too.
        """
        if not self._filters.overlaps(plain):
            return 0
        identifier = zlib.crc32(name.encode()) % _MOST_IDENTIFIERS + 1
        while identifier in self._identifiers:
            identifier = identifier % _MOST_IDENTIFIERS + 1
        return identifier

    def _look_for_overlaps(self) -> None:
        self._expected = {}
        self.overlapping = self._identified and bool(self._identifiers)

    def _requests(
        self, subscriptions: list[Subscription], receipts: list[SubscribeReceipt]
    ) -> list[SubscribeRequest]:
        plain: list[Subscription] = []
        groups = [plain]
        for subscription in subscriptions:
            entry = self._entries.get(subscription.topic_filter)
            if self._identified and entry is not None and entry.identifier:
                groups.append([replace(subscription, identifier=entry.identifier)])
            else:
                plain.append(subscription)
        return [SubscribeRequest(group, list(receipts)) for group in groups if group]

    def _await_answers(self, receipt: SubscribeReceipt, topic_filters: Iterable[str]) -> None:
        """With the lock held: have a receipt learn what any SUBACK says of these filters of its."""
        for topic_filter in topic_filters:
            self._orphans.setdefault(topic_filter, []).append(receipt)

    def _say_goodbye(self, topic_filter: str, receipts: Sequence[UnsubscribeReceipt]) -> None:
        """With the lock held: have the next connection give up a filter, if its broker still has it."""
        self._farewells[topic_filter] = (*self._farewells.get(topic_filter, ()), *receipts)

    @staticmethod
    def _refuse_gone(gone: list[list[SubscribeReceipt]]) -> None:
        for receipt in itertools.chain.from_iterable(gone):
            names = ", ".join(repr(name) for name in receipt.topic_filters)
            receipt._resolve(SubscribeError(f"{names} was unsubscribed before the broker had answered"))
