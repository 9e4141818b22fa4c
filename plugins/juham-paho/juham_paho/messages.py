"""The messages of one connection, both ways: PUBLISH and what answers it, in the place of paho's own methods.

paho keeps what is in flight, and sends it again on the next connection. What is received goes to JMqtt at
PUBLISH, at QoS 2 too (method B of section 4.3.3): so PUBREC can wait for the application, and what it has not
acknowledged comes again. paho delivers at PUBREL, when the broker will not send the message again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import (
    Client,
    MQTTMessage,
    MQTTv5,
    mqtt_ms_wait_for_puback,
    mqtt_ms_wait_for_pubcomp,
    mqtt_ms_wait_for_pubrec,
)
from paho.mqtt.enums import MQTTErrorCode

from juham_core.errors import MalformedPacketError, NotConnectedError, QueueFullError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.topics import is_topic_name
from juham_core.wire.fields import Reader
from juham_core.wire.properties import Properties
from juham_core.wire.property_codec import decode_properties, encode_properties
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND, UNSPECIFIED_ERROR
from juham_core.wire.terms import past_wanted

if TYPE_CHECKING:
    from juham_paho.resident import Resident

log = logging.getLogger("juham.paho")

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for the network before QoS 0 is refused; QoS 1 and 2 have their window."""
OVERHEAD: Final = 350
"""What a waiting packet takes beside its bytes: a dict and what is in it, as measured."""
MOST_TOPICS: Final = 1024
"""Topics that are remembered, decoded."""

PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70
ANSWERS: Final = frozenset({PUBACK, PUBREC, PUBREL, PUBCOMP})
SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS
_NOTHING: Final = contextlib.nullcontext()


class Packed:
    """The properties of a message as paho's methods want them: something that packs."""

    __slots__ = ("_bytes",)

    def __init__(self, properties: Properties) -> None:
        self._bytes = encode_properties(properties, "publish")

    def pack(self) -> bytes:
        """The properties and their length."""
        return self._bytes


class Nobody:
    """Stands where paho has the receipt of a message: JMqtt has its own."""

    rc = SUCCESS

    def _set_as_published(self) -> None:
        """Nobody waits for it."""


NOBODY: Final = Nobody()


class Messages:
    """What one backend publishes and receives through one paho client."""

    def __init__(self, backend: JMqtt, client: Client) -> None:
        self.home: int | None = None
        """The identifier of the thread on which the network is served: paho's, or an event loop's."""
        self.resident: Resident | None = None
        """Who serves it in an event loop."""
        self._handing_over = threading.RLock()
        self._backend = backend
        self._client = client
        self._manual = False
        self._most_answers = 0
        self._answers = 0
        self._topics: dict[bytes, str] = {}
        self._received: set[int] = set()  # at QoS 2, until PUBREL comes
        self._unanswered: set[int] = set()  # the application is to acknowledge them
        self._unsent = 0
        self._refused_at = 0
        # In the place of paho's methods of these names.
        self.handlers: Final[dict[str, Callable[..., Any]]] = {
            "_handle_publish": self._handle_publish,
            "_handle_pubrel": self._handle_pubrel,
            "_handle_pubrec": self._handle_pubrec,
            "_handle_pubackcomp": self._handle_pubackcomp,
        }

    def begin(self, options: Options) -> None:
        """Before each connection."""
        self._manual = options.manual_ack
        self._most_answers = options.most_answers
        self._unanswered.clear()
        self._unsent = self._refused_at = 0
        if options.outbox is not None:  # its messages want those below, which no request is to have then
            self._client._last_mid = past_wanted(self._client._last_mid)

    def forget_received(self) -> None:
        """The broker has no session: what it sends from now on is new."""
        self._received.clear()

    def handing_over(self) -> contextlib.AbstractContextManager[Any]:
        """To be held by whoever hands something to paho, and while paho is told that its thread is gone.

        Else paho would write on the caller's thread, and report as not sent what its own thread has sent
        already. That thread itself, which cannot be gone, holds nothing: it may have locks of paho's that
        whoever hands something over waits for.
        """
        return _NOTHING if threading.get_ident() == self.home else self._handing_over

    # --- out ------------------------------------------------------------------------------------------

    def publish(self, message: MqttMsg) -> int:
        """Hand a message to paho; see :meth:`juham_core.primitives.Backend._publish`."""
        client, qos = self._client, message.qos
        properties: Any = Packed(message.properties) if message._properties else None
        topic, payload, retain = message.topic.encode(), message.payload, message.retain
        with self.handing_over():
            if qos == 0:
                self._make_room(len(payload))
                mid = 0
                rc = client._send_publish(0, topic, payload, 0, retain, False, NOBODY, properties)  # type: ignore[arg-type]  # it does what paho asks of a receipt
            else:
                with client._out_message_mutex:
                    mid = self._backend._wanted_id
                    if mid:
                        client._last_mid = past_wanted(client._last_mid)
                    else:
                        mid = client._mid_generate()
                        while mid in client._out_messages:
                            mid = client._mid_generate()
                    kept = _kept(mid, topic, message, properties)
                    client._out_messages[mid] = kept
                    client._inflight_messages += 1
                    dup = self._backend._sent_before
                    rc, info = MQTTErrorCode.MQTT_ERR_UNKNOWN, kept.info
                    try:
                        rc = client._send_publish(mid, topic, payload, qos, retain, dup, info, properties)
                    finally:
                        # paho would keep it for the next connection. So does JMqtt, unless paho has raised:
                        # then it would raise again with each connection, and end it.
                        if rc != SUCCESS:
                            client._out_messages.pop(mid, None)
                            client._inflight_messages -= 1
        if rc != SUCCESS:
            raise NotConnectedError(f"paho did not take the message to {message.topic!r}: {rc.name}")
        return mid

    def _make_room(self, size: int) -> None:
        """Raise QueueFullError if more than ``MAX_UNSENT`` bytes wait: counted anew only when need be."""
        self._unsent += size + OVERHEAD
        if self._unsent <= MAX_UNSENT:
            return
        waiting = self._client._out_packet
        if len(waiting) < 0.9 * self._refused_at or not self._refused_at:
            self._unsent = sum(len(packet["packet"]) + OVERHEAD for packet in tuple(waiting))
            if self._unsent <= MAX_UNSENT:
                self._refused_at = 0
                return
            self._refused_at = len(waiting)
        raise QueueFullError(
            f"{self._unsent:,} bytes wait for the network: the message was not accepted; publish slower"
        )

    def _handle_pubackcomp(self, name: str) -> MQTTErrorCode:
        mid, code, properties = self._answer("puback")
        if name == "PUBCOMP" and code == PACKET_IDENTIFIER_NOT_FOUND:
            code = 0  # the broker had finished before the connection broke: no error (section 3.7.2.1)
        return self._end(mid, code, properties)

    def _handle_pubrec(self) -> MQTTErrorCode:
        client = self._client
        mid, code, properties = self._answer("pubrec")
        if code >= UNSPECIFIED_ERROR:
            return self._end(mid, code, properties)  # a refusal ends the exchange (MQTT 5 section 4.3.3)
        with client._out_message_mutex:
            message = client._out_messages.get(mid)
            if message is None:
                return SUCCESS
            if message.state != mqtt_ms_wait_for_pubcomp and not self._backend._pubrec(mid):
                return SUCCESS  # JMqtt says when it may be released
            message.state = mqtt_ms_wait_for_pubcomp
            return self._send(PUBREL, mid)

    def release(self, mid: int, message: MqttMsg) -> None:
        """Send PUBREL for what the broker has; see :meth:`juham_core.primitives.Backend._pubrel`."""
        client = self._client
        with self.handing_over():
            with client._out_message_mutex:
                kept = client._out_messages.get(mid)
                if kept is None:  # an earlier process has sent it
                    properties = Packed(message.properties) if message._properties else None
                    kept = client._out_messages[mid] = _kept(mid, message.topic.encode(), message, properties)
                    client._inflight_messages += 1
                kept.state = mqtt_ms_wait_for_pubcomp
            rc = self._send(PUBREL, mid)
        if rc != SUCCESS:
            raise NotConnectedError(f"paho did not release the message {mid}: {rc.name}")

    def _end(self, mid: int, code: int, properties: Properties | None) -> MQTTErrorCode:
        client, rc = self._client, SUCCESS
        with client._out_message_mutex:
            if client._out_messages.pop(mid, None) is None:
                return SUCCESS
            client._inflight_messages -= 1
            if client._max_inflight_messages > 0:
                rc = client._update_inflight()
        try:
            self._backend._acknowledged(mid, code, properties)
        except Exception:  # paho's thread must live on
            log.exception("%s: could not take an acknowledgement", self._backend.name)
        return rc

    # --- in -------------------------------------------------------------------------------------------

    def _handle_publish(self) -> MQTTErrorCode:
        client = self._client
        first, packet = client._in_packet["command"], client._in_packet["packet"]
        qos, mid, properties = first >> 1 & 3, 0, None
        try:
            at = 2 + (packet[0] << 8 | packet[1])
            encoded = bytes(packet[2:at])
            if qos:
                mid = packet[at] << 8 | packet[at + 1]
                at += 2
            if client._protocol == MQTTv5:
                at += 1
                if packet[at - 1]:
                    reader = Reader(bytes(packet), at - 1, len(packet), "PUBLISH")
                    properties = decode_properties(reader, "publish")
                    at = reader.position
        except IndexError as exc:
            raise MalformedPacketError("PUBLISH is cut short") from exc
        if at > len(packet):
            raise MalformedPacketError("PUBLISH is cut short")
        payload = bytes(packet[at:])
        if qos == 0:
            if self.resident is not None:
                self.resident.streamed += 1
            self._report(encoded, payload, first, 0, properties)
            return SUCCESS
        if self.resident is not None and not self._backend._delivery.has_room():
            # A thread would wait where this is reported; a loop handles it once the handlers have caught up.
            self.resident.hold()
            self._backend._delivery.after(self.resident.let_go)
            return SUCCESS
        return self._receive(encoded, payload, first, mid, properties)

    def _receive(
        self, encoded: bytes, payload: bytes, first: int, mid: int, properties: Properties | None
    ) -> MQTTErrorCode:
        """Report a message that wants an answer, and answer, or let the application do so."""
        qos = first >> 1 & 3
        if qos == 3 or not mid:
            raise MalformedPacketError(f"PUBLISH has QoS {qos} and the packet identifier {mid}")
        if qos == 2 and mid in self._received:  # again, for PUBREC was lost
            return self._send(PUBREC, mid)
        if self._manual:
            if mid not in self._unanswered:
                self._unanswered.add(mid)
                self._report(encoded, payload, first, mid, properties)
            return SUCCESS
        if qos == 2:
            self._received.add(mid)
        self._report(encoded, payload, first, mid, properties)
        return self._send(PUBACK if qos == 1 else PUBREC, mid)

    def _report(
        self, encoded: bytes, payload: bytes, first: int, mid: int, properties: Properties | None
    ) -> None:
        try:
            topic = self._topics.get(encoded)
            if topic is None:
                topic = self._decoded(encoded, aliased=properties is not None and "topic_alias" in properties)
                if topic is None:
                    return
            self._backend._received(
                topic, payload, first >> 1 & 3, bool(first & 1), bool(first & 8), mid, properties
            )
        except Exception:  # paho's thread must live on
            log.exception("%s: could not take a message", self._backend.name)

    def _decoded(self, encoded: bytes, *, aliased: bool) -> str | None:
        if not encoded and aliased:
            return ""
        try:
            topic = encoded.decode()
        except UnicodeDecodeError:
            self._backend.statistics.dropped["topic is not UTF-8"] += 1
            log.warning("%s: dropped a message whose topic is not UTF-8", self._backend.name)
            return None
        if not is_topic_name(topic):
            self._backend.statistics.dropped["topic is malformed"] += 1
            log.warning("%s: dropped a message whose topic MQTT forbids", self._backend.name)
            return None
        if len(self._topics) >= MOST_TOPICS:
            self._topics.clear()
        self._topics[encoded] = topic
        return topic

    def _handle_pubrel(self) -> MQTTErrorCode:
        mid = self._answer("pubrel")[0]
        self._received.discard(mid)
        return self._send(PUBCOMP, mid)

    def ack(self, mid: int, qos: int) -> None:
        """Acknowledge for the application what this connection has brought; anything else comes again.

        As does what paho refuses to send because the connection is gone.
        """
        with self.handing_over():
            if mid not in self._unanswered:
                return
            self._unanswered.discard(mid)
            if qos == 2:
                self._received.add(mid)
            self._send(PUBACK if qos == 1 else PUBREC, mid)

    # --- both ways ------------------------------------------------------------------------------------

    def owes_too_much(self) -> bool:
        """True if more answers wait than any broker can want that keeps to MQTT, and reads.

        Counted anew only when there may be so many: what else waits may be far more.
        """
        if self._answers <= self._most_answers:
            return False
        self._answers = sum(packet["command"] in ANSWERS for packet in tuple(self._client._out_packet))
        return self._answers > self._most_answers

    def _send(self, command: int, mid: int) -> MQTTErrorCode:
        self._answers += 1
        packet = bytes((command, 2, mid >> 8, mid & 255))
        return self._client._packet_queue(command, packet, mid, 1)

    def _answer(self, kind: str) -> tuple[int, int, Properties | None]:
        """The packet identifier, reason code and properties of the packet just read (section 3.4)."""
        packet = self._client._in_packet["packet"]
        size = len(packet)
        if size < 2:
            raise MalformedPacketError(f"{kind.upper()} is cut short")
        mid = packet[0] << 8 | packet[1]
        if size == 2 or self._client._protocol != MQTTv5:
            return mid, 0, None
        if size == 3:
            return mid, packet[2], None
        reader = Reader(bytes(packet), 3, size, kind.upper())
        return mid, packet[2], decode_properties(reader, kind) or None


def _kept(mid: int, topic: bytes, message: MqttMsg, properties: Any) -> MQTTMessage:
    """What paho keeps of a message until it is acknowledged, without the receipt that it would make."""
    kept = MQTTMessage.__new__(MQTTMessage)
    kept.timestamp = 0.0
    kept.state = mqtt_ms_wait_for_puback if message.qos == 1 else mqtt_ms_wait_for_pubrec
    kept.dup = False
    kept.mid = mid
    kept._topic = topic
    kept.payload = message.payload
    kept.qos = message.qos
    kept.retain = message.retain
    kept.info = NOBODY  # type: ignore[assignment]  # it does what paho asks of a receipt
    kept.properties = properties
    return kept
