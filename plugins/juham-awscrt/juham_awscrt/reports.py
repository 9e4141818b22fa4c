"""What awscrt has seen, told to JMqtt in its own words; every method runs on the reporter's thread."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from juham_awscrt import properties as props
from juham_awscrt.verdicts import code_of, is_refusal
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

    def accepted(self, connack: Any) -> None:
        """Report a CONNACK that accepts."""
        if not self.muted:
            found = props.from_library(connack, props.CONNACK)
            self._backend._connack(connack.session_present, code_of(connack.reason_code), found)

    def refused(self, connack: Any) -> None:
        """Report a CONNACK that refuses."""
        if not self.muted:
            found = props.from_library(connack, props.CONNACK)
            self._backend._connack(False, code_of(connack.reason_code), found)

    def lost(self, error: Exception, disconnect: Any) -> None:
        """Report the end of the connection, with the DISCONNECT that the broker sent, if it did."""
        if self.muted:
            return
        if disconnect is None:
            self._backend._lost(error)
        else:
            found = props.from_library(disconnect, props.DISCONNECT)
            self._backend._lost(None, code_of(disconnect.reason_code), found, from_server=True)

    def received(self, mid: int, packet: Any) -> None:
        """Report a message."""
        if self.muted:
            return
        found = None
        if props.has_any(packet, props.RECEIVED.values()):
            found = props.from_library(packet, props.RECEIVED)
        if is_topic_name(packet.topic):
            self._backend._received(
                packet.topic, packet.payload, int(packet.qos), packet.retain, mid=mid, properties=found
            )
        else:
            self._backend.statistics.dropped["topic is malformed"] += 1
            log.warning("%s: dropped a message whose topic MQTT forbids", self._backend.name)
        if mid and not self._link.options.manual_ack:
            # Once it is handled: so the broker's window bounds what waits here.
            self._backend._delivery.after(partial(self._link.acknowledge, mid))

    def published(self, key: int, future: Future[Any]) -> None:
        """Report PUBACK."""
        error = future.exception()
        if error is None:
            puback = future.result().puback
            found = props.from_library(puback, props.ANSWER)
            self._backend._acknowledged(key, code_of(puback.reason_code), found)
        elif is_refusal(error):
            self._backend._acknowledged(key, IMPLEMENTATION_SPECIFIC, Properties(reason_string=str(error)))
        # Any other error: the connection ends, and the next one brings the message again.

    def subscribed(self, count: int, key: int, future: Future[Any]) -> None:
        """Report SUBACK."""
        error = future.exception()
        if error is None:
            suback = future.result()
            codes = [code_of(code) for code in suback.reason_codes]
            self._backend._suback(key, codes, props.from_library(suback, props.ANSWER))
        elif is_refusal(error):
            codes = [IMPLEMENTATION_SPECIFIC] * count
            self._backend._suback(key, codes, Properties(reason_string=str(error)))

    def unsubscribed(self, key: int, future: Future[Any]) -> None:
        """Report UNSUBACK."""
        error = future.exception()
        if error is None:
            unsuback = future.result()
            codes = [code_of(code) for code in unsuback.reason_codes]
            self._backend._unsuback(key, codes, props.from_library(unsuback, props.ANSWER))
        elif is_refusal(error):
            self._backend._unsuback(key, [IMPLEMENTATION_SPECIFIC], Properties(reason_string=str(error)))
