"""Requests to a broker that wait for its answer, and what they are when they are no publishes.

A publish is a receipt with its message; what is subscribed to, or no longer, is a request of several filters,
for which several receipts may wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from juham_core.wire.terms import Subscription

T = TypeVar("T")


class Awaiting(Generic[T]):
    """Requests by the library's key for them, tolerant of an answer that overtakes its own sender.

    A library hands out the key when its call returns, yet its network thread may bring the answer first.
    Senders take turns (their owner sees to it); answers come from any thread.
    """

    def __init__(self) -> None:
        self._sent: dict[int, T] = {}
        self._early: dict[int, Any] = {}
        self._sending = False

    def sending(self) -> None:
        """Announce a request: answers to unknown keys are kept until :meth:`sent` has claimed its own."""
        self._early.clear()
        self._sending = True

    def sent(self, key: int, request: T) -> tuple[T, Any] | None:
        """Enter the request; if its answer is already here, take both out again."""
        self._sent[key] = request
        self._sending = False
        if self._early:
            answer = self._early.pop(key, self)
            if answer is not self and self._sent.pop(key, None) is not None:
                return request, answer
        return None

    def sent_many(self, keys: Sequence[int], requests: Sequence[T]) -> list[tuple[T, Any]]:
        """Enter several requests; take out, and return, those whose answers are already here."""
        self._sent.update(zip(keys, requests, strict=True))
        self._sending = False
        early = []
        if self._early:
            for key in keys:
                answer = self._early.pop(key, self)
                request = self._sent.pop(key, None) if answer is not self else None
                if request is not None:
                    early.append((request, answer))
        return early

    def answered(self, key: int, answer: Any) -> T | None:
        """Take out the request that this answers; None if there is none (yet)."""
        request = self._sent.pop(key, None)
        if request is None:
            if self._sending:
                self._early[key] = answer
            request = self._sent.pop(key, None)  # it may have been entered since the first look
        return request

    def answered_many(self, keys: Sequence[int], answer: Any) -> list[T]:
        """Take out, in order, the requests that the same answer has come to."""
        take = self._sent.pop
        found = []
        for key in keys:
            request = take(key, None)
            if request is None:
                request = self.answered(key, answer)
            if request is not None:
                found.append(request)
        return found

    def oldest(self) -> T | None:
        """The request that has waited longest for its answer."""
        try:
            return next(iter(self._sent.values()), None)
        except RuntimeError:  # answered while we looked: the next look will do
            return None

    def take_all(self) -> list[T]:
        """Take every request out, in the order they were sent."""
        taken = list(self._sent.values())
        self._sent.clear()
        self._sending = False
        return taken

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._sent.values()))


class SubscribeRequest:
    """Filters on their way to the broker, and the receipts that wait for its verdict on them."""

    def __init__(self, subscriptions: list[Subscription], receipts: list[Any]) -> None:
        self.subscriptions = subscriptions
        self.receipts = receipts
        self.sent_at = 0.0

    @property
    def filters(self) -> list[Subscription]:
        """What it is made of."""
        return self.subscriptions

    def of(self, filters: list[Any]) -> SubscribeRequest:
        """A request for some of these filters, for the same receipts."""
        return SubscribeRequest(filters, self.receipts)


class UnsubscribeRequest:
    """Filters to be given up, and the receipts that wait for the broker to say so."""

    def __init__(self, topic_filters: list[str], receipts: list[Any]) -> None:
        self.topic_filters = topic_filters
        self.receipts = receipts
        self.sent_at = 0.0

    @property
    def filters(self) -> list[str]:
        """What it is made of."""
        return self.topic_filters

    def of(self, filters: list[Any]) -> UnsubscribeRequest:
        """A request for some of these filters, for the same receipts."""
        return UnsubscribeRequest(filters, self.receipts)


Request = SubscribeRequest | UnsubscribeRequest
