"""What awscrt has seen, told to JMqtt in its own words; every method runs on the reporter's thread.

Save two: with handlers inline, a message is reported on the thread that brings it, and so are PUBACKs after
which nothing waits to be sent. They would otherwise wake a thread that round trips have to wait for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from awscrt import exceptions

from juham_awscrt import properties as props
from juham_awscrt.verdicts import code_of, is_refusal
from juham_core.errors import JuhamError, NotConnectedError
from juham_core.message import MqttMsg
from juham_core.topics import is_topic_name
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import IMPLEMENTATION_SPECIFIC

if TYPE_CHECKING:
    from juham_awscrt.link import Link


log = logging.getLogger("juham.awscrt")


class Reports:
    """The reports of one connection, until it is closed."""

    def __init__(self, link: Link) -> None:
        self.muted = False
        """True once no report may follow."""
        self._link = link
        self._backend = link.backend

    def answer_to_connect(self, connack: Any) -> None:
        """Report CONNACK."""
        if not self.muted:
            found = props.from_library(connack, props.CONNACK)
            code = code_of(connack.reason_code)
            self._backend._connack(connack.session_present, code, found, resent=self._link.resumed)

    def lost(self, error: Exception, disconnect: Any) -> None:
        """Report the end of the connection, with the DISCONNECT that the broker sent, if it did."""
        if self.muted:
            return
        if disconnect is None:
            self._backend._lost(error)
        else:
            found = props.from_library(disconnect, props.DISCONNECT)
            self._backend._lost(None, code_of(disconnect.reason_code), found, from_server=True)

    def received(
        self, topic: str, payload: bytes, qos: int, retain: bool, mid: int, properties: Properties | None
    ) -> None:
        """Report a message, on the event loop's thread or the reporter's."""
        if self.muted:
            return
        if is_topic_name(topic):
            self._backend._received(topic, payload, qos, retain, False, mid, properties)
        else:
            self._backend.statistics.dropped["topic is malformed"] += 1
            log.warning("%s: dropped a message whose topic MQTT forbids", self._backend.name)
        if mid and not self._link.options.manual_ack:
            # Once it is handled: so the broker's window bounds what waits here.
            self._backend._delivery.after(partial(self._link.incoming.acknowledge, mid))

    def received_many(self, messages: list[MqttMsg]) -> None:
        """Report messages that have come one after the other."""
        together: list[MqttMsg] = []
        for message in messages:
            if not message.mid and is_topic_name(message.topic):
                together.append(message)
                continue
            if together:
                self._received_together(together)
                together = []
            self.received(
                message.topic,
                message.payload,
                message.qos,
                message.retain,
                message.mid,
                message._properties,
            )
        if together:
            self._received_together(together)

    def _received_together(self, messages: list[MqttMsg]) -> None:
        if not self.muted:
            self._backend._received_many(messages)

    def acknowledged(self, keys: list[int]) -> None:
        """Report PUBACKs that say success and no more."""
        self._backend._acknowledged_many(keys)

    def answered(self, key: int, error_code: int, code: Any, reason: str | None, pairs: Any) -> None:
        """Report another PUBACK, or that there will be none."""
        if not error_code:
            found = Properties()
            if reason is not None:
                found["reason_string"] = reason
            if pairs:
                found["user_property"] = props.plain_pairs(pairs)
            self._backend._acknowledged(key, code_of(code), found)
            return
        error = exceptions.from_code(error_code)
        if is_refusal(error):
            self._backend._acknowledged(key, IMPLEMENTATION_SPECIFIC, Properties(reason_string=str(error)))
        else:  # the connection ends, and the next one brings the message again
            self._link.complete = False

    def not_passed_on(self, key: int, error: JuhamError) -> None:
        """Report that awscrt did not take a message."""
        if not key:
            self._backend.statistics.dropped["not sent"] += 1
        elif isinstance(error, NotConnectedError):  # the next connection brings it again
            self._link.complete = False
        else:
            self._backend._acknowledged(key, IMPLEMENTATION_SPECIFIC, Properties(reason_string=str(error)))

    def granted(
        self,
        report: Callable[[int, list[int], Properties | None], None],
        count: int,
        key: int,
        future: Future[Any],
    ) -> None:
        """Report SUBACK or UNSUBACK, which answers for so many topic filters."""
        error = future.exception()
        if error is None:
            answer = future.result()
            codes = [code_of(code) for code in answer.reason_codes]
            report(key, codes, props.from_library(answer, props.ANSWER))
        elif is_refusal(error):
            report(key, [IMPLEMENTATION_SPECIFIC] * count, Properties(reason_string=str(error)))
