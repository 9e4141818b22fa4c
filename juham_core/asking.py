"""What is asked of a broker that is no publish: subscribes and unsubscribes, in order, each answered once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from juham_core.awaiting import Awaiting, Request, SubscribeRequest, UnsubscribeRequest
from juham_core.errors import NotConnectedError, interrupted, translated
from juham_core.wire.terms import Subscription

if TYPE_CHECKING:
    from juham_core.limits import BrokerLimits


class Asker(Protocol):
    """The primitives of a backend that this module calls; see :class:`~juham_core.jmqtt.JMqtt`."""

    def _subscribe(self, subscriptions: list[Subscription]) -> int: ...
    def _unsubscribe(self, topic_filters: list[str]) -> int: ...


class Asking:
    """The requests of one client. Whoever sends them takes turns with others; answers come from any thread.

    ``answered`` is called with each request and the broker's answer, or what was raised instead of asking.
    """

    def __init__(self, library: Asker, answered: Callable[[Request, Any], None]) -> None:
        self.waiting: deque[Request] = deque()
        """Those that the library has not been given yet."""
        self._library = library
        self._answered = answered
        self._subscribing: Awaiting[SubscribeRequest] = Awaiting()
        self._unsubscribing: Awaiting[UnsubscribeRequest] = Awaiting()

    def take_waiting(self) -> list[Request]:
        """Take out those that wait."""
        left = list(self.waiting)
        self.waiting.clear()
        return left

    def take_unanswered(self) -> list[Request]:
        """Take out those that were sent and will never be answered."""
        unanswered: list[Request] = []
        unanswered += self._subscribing.take_all()
        unanswered += self._unsubscribing.take_all()
        return unanswered

    def oldest(self) -> tuple[Request | None, Request | None]:
        """Of each kind the one that has waited longest for its answer."""
        return self._subscribing.oldest(), self._unsubscribing.oldest()

    def subscribed(self, key: int, answer: Any) -> None:
        """Take a SUBACK's codes."""
        request = self._subscribing.answered(key, answer)
        if request is not None:
            self._answered(request, answer)

    def unsubscribed(self, key: int, answer: Any) -> None:
        """Take an UNSUBACK's codes."""
        request = self._unsubscribing.answered(key, answer)
        if request is not None:
            self._answered(request, answer)

    def send_next(self, limits: BrokerLimits | None) -> bool:
        """Hand over the request that is next; False if the connection has gone, and it keeps its place."""
        request = self.waiting.popleft()
        if limits is not None:
            request = self._within(request, limits)
            if not request.filters:
                return True
        request.sent_at = time.monotonic()
        try:
            if isinstance(request, SubscribeRequest):
                self._subscribing.sending()
                early: Any = self._subscribing.sent(self._library._subscribe(request.subscriptions), request)
            else:
                self._unsubscribing.sending()
                early = self._unsubscribing.sent(self._library._unsubscribe(request.topic_filters), request)
        except NotConnectedError:
            self.waiting.appendleft(request)
            return False
        except Exception as exc:  # noqa: BLE001 - whatever the library raises, this one request has failed
            self._answered(request, translated(exc, "send the subscription or its end"))
            return True
        except BaseException as exc:  # what ends the program must leave no receipt that nobody resolves
            self._answered(request, interrupted(exc))
            raise
        if early is not None:
            self._answered(*early)
        return True

    def _within(self, request: Request, limits: BrokerLimits) -> Request:
        """Answer for the filters that the broker does not take; return a request for as many as it does.

        Those that make one packet too large come next.
        """
        taken: list[Subscription | str] = []
        refused: list[Subscription | str] = []
        codes: list[int] = []
        for each in request.filters:
            code = limits.on_filter(each)
            if code is None:
                taken.append(each)
            else:
                refused.append(each)
                codes.append(code)
        if refused:
            self._answered(request.of(refused), (codes, None))
        count = limits.fitting(taken)
        if count < len(taken):
            self.waiting.appendleft(request.of(taken[count:]))
        return request.of(taken[:count]) if refused or count < len(taken) else request
