"""What goes out over a connection: publishes, requests, and their order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from awscrt import mqtt5

from juham_awscrt.messages import QOS
from juham_awscrt.reporter import Collected
from juham_core.errors import JuhamError, NotConnectedError, PublishError, QueueFullError
from juham_core.locks import Condition
from juham_core.message import MqttMsg
from juham_core.wire.packets import Subscription

if TYPE_CHECKING:
    from juham_awscrt.link import Link

log = logging.getLogger("juham.awscrt")

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that messages of QoS 0 may take before they are on the wire; awscrt itself has no bound."""
OVERHEAD: Final = 2_500
"""What awscrt keeps of each of them beside its payload, as measured: a future, packets in C and in Python."""


class Sending:
    """What one connection is given to send."""

    def __init__(self, link: Link) -> None:
        self.held: deque[tuple[Callable[[], None], Callable[[JuhamError], None]]] = deque()
        """What awscrt is to be told later, on another thread than its own."""
        self._link = link
        self._keys, self._reporter, self._reports = link.keys, link.reporter, link.reports
        self._messages = link.messages
        self._limit = link.limit
        self._inline = link.backend._delivery._inline
        self._outgoing = link.backend._outgoing
        self._pubacks: Collected[int] = Collected(self._reporter, self._reports.acknowledged)
        self._unanswered: set[int] = set()  # keys of publishes of QoS 1 and of requests
        self._unsent = 0  # at QoS 0
        self._sent = Condition()

    def flush(self, timeout: float) -> None:
        """Wait until QoS 0 is on the wire, for as many seconds and the connection lasts."""
        with self._sent:
            self._sent.wait_for(lambda: not self._unsent or not self._link.up, timeout)

    def stop(self) -> None:
        """Take note that the connection has ended."""
        with self._sent:
            self._sent.notify_all()

    def publish(self, message: MqttMsg) -> int:
        """Hand over a message."""
        self._check_up()
        has_to_wait = self._has_to_wait()  # before it is under way itself
        key = 0
        if message.qos:
            key = next(self._keys)
        else:
            with self._sent:
                if self._unsent >= MAX_UNSENT:
                    raise QueueFullError(
                        f"awscrt has not sent what takes {self._unsent:,} bytes of memory: "
                        "the message was not accepted; publish slower"
                    )
                self._unsent += len(message.payload) + OVERHEAD
        if has_to_wait:
            self._pass_on_later(key, message)
        else:
            self._pass_on(key, message)
        return key

    def publish_many(self, messages: list[MqttMsg]) -> list[int]:
        """Hand over messages of QoS 1; that awscrt does not take one of them is reported as its answer."""
        self._check_up()
        keys = [next(self._keys) for _ in messages]
        has_to_wait = self._has_to_wait()  # as above
        for key, message in zip(keys, messages, strict=True):
            if has_to_wait:
                self._pass_on_later(key, message)
                continue
            try:
                self._pass_on(key, message)
            except JuhamError as exc:  # those before it are under way: the others go, too
                self._reporter.put(self._reports.not_passed_on, key, exc)
        return keys

    def subscribe(self, subscriptions: list[Subscription]) -> int:
        """Send one SUBSCRIBE."""
        packet = mqtt5.SubscribePacket(
            [
                mqtt5.Subscription(
                    one.topic_filter,
                    QOS[one.qos],
                    one.no_local,
                    one.retain_as_published,
                    mqtt5.RetainHandlingType(one.retain_handling),
                )
                for one in subscriptions
            ],
            subscriptions[0].identifier or None,
        )
        report = partial(self._reports.granted, self._link.backend._suback, len(subscriptions))
        return self._hand_over("subscribe", packet, report)

    def unsubscribe(self, topic_filters: list[str]) -> int:
        """Send one UNSUBSCRIBE."""
        packet = mqtt5.UnsubscribePacket(topic_filters)
        report = partial(self._reports.granted, self._link.backend._unsuback, len(topic_filters))
        return self._hand_over("unsubscribe", packet, report)

    def _check_up(self) -> None:
        if self._link.client is None or not self._link.up:
            raise NotConnectedError("the connection has ended")

    def _has_to_wait(self) -> bool:
        """True where awscrt must not be told at once.

        What it is told on its own thread it prefers to what others have told it before: so there it is told
        at once only while nothing else is under way.
        """
        if self.held:
            return True
        under_way = self._unanswered or self._unsent
        return bool(under_way) and threading.get_ident() == self._link.loop_thread

    def _wait_in_line(self, call: Callable[[], None], failed: Callable[[JuhamError], None]) -> None:
        self.held.append((call, failed))
        self._reporter.put(self._pass_on_held)

    def _pass_on_later(self, key: int, message: MqttMsg) -> None:
        self._wait_in_line(partial(self._pass_on, key, message), partial(self._reports.not_passed_on, key))

    def _pass_on_held(self) -> None:
        """Tell awscrt what it was to be told on its own thread, and what has come after that."""
        held = self.held
        while held:
            call, failed = held[0]
            try:
                call()
            except JuhamError as exc:
                failed(exc)
            held.popleft()  # only now: until then it keeps others from overtaking it

    def _pass_on(self, key: int, message: MqttMsg) -> None:
        client, size = self._link.client, len(message.payload) + OVERHEAD
        answered = partial(self._on_puback, key) if key else partial(self._on_sent, size)
        if key:
            self._unanswered.add(key)
        try:
            self._messages.publish(client, message, answered)
        except Exception as exc:
            if key:
                self._unanswered.discard(key)
            else:
                self._one_sent(size)
            if client is None:
                raise NotConnectedError("the connection has ended") from exc
            raise PublishError(f"awscrt does not publish: {exc}") from exc

    def _hand_over(self, what: str, packet: Any, report: Callable[[int, Future[Any]], None]) -> int:
        """Make a request; its answer will be reported with the key that this returns."""
        key = next(self._keys)
        call = partial(self._request, what, packet, key, report)
        if self._has_to_wait():
            self._wait_in_line(call, lambda exc: report(key, _failed(exc)))
        else:
            call()
        return key

    def _request(self, what: str, packet: Any, key: int, report: Callable[[int, Future[Any]], None]) -> None:
        client = self._link.client
        if client is None or not self._link.up:
            raise NotConnectedError("the connection has ended")
        self._unanswered.add(key)
        try:
            answer: Future[Any] = getattr(client, what)(packet)
        except Exception as exc:
            self._unanswered.discard(key)
            raise PublishError(f"awscrt does not {what}: {exc}") from exc
        answer.add_done_callback(partial(self._on_answer, key, report))

    def _on_answer(self, key: int, report: Callable[[int, Future[Any]], None], answer: Future[Any]) -> None:
        self._unanswered.discard(key)
        if answer.exception() is None:
            self._limit.heard = True
        self._reporter.put(report, key, answer)

    def _on_sent(self, size: int, error_code: int, *_nothing: Any) -> None:
        if error_code and not self._reports.muted:
            self._link.backend._statistics.dropped["not sent"] += 1
        self._one_sent(size)

    def _on_puback(self, key: int, error_code: int, _qos: int, code: Any, reason: Any, pairs: Any) -> None:
        self._unanswered.discard(key)
        if not error_code:
            self._limit.heard = True
        if error_code or code or reason is not None or pairs:
            self._reporter.put(self._reports.answered, key, error_code, code, reason, pairs)
            return
        if self._inline and self._reporter.idle and not self._outgoing._queue:
            self._acknowledge_now(key)
        else:  # what has come before is reported first, and what follows is published by another thread
            self._pubacks.add(key)

    def _acknowledge_now(self, key: int) -> None:
        try:
            self._reports.acknowledged([key])
        except Exception:  # there is nobody above who could catch it
            log.exception("%s: cannot take an acknowledgement", self._link.backend.name)

    def _one_sent(self, size: int) -> None:
        with self._sent:
            self._unsent -= size
            if not self._unsent:
                self._sent.notify_all()


def _failed(error: JuhamError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
