"""MQTT from the client's side, without I/O: bytes in, reports to the client out, and bytes to be sent.

What makes up the traffic, PUBLISH at QoS 0 and 1 and PUBACK, is read right here in one loop over what has
arrived, if it is plainly in order. Everything else, whatever is rare, cut in two or malformed, goes to the
core's decoder, which judges it. So the loop may be quick, and nothing is judged twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, Final
from typing import Protocol as Interface

from juham_core.errors import MalformedPacketError, NotConnectedError
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire import (
    MQTT_5,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Unsuback,
    encode,
)
from juham_core.wire.aliases import TopicAliases
from juham_core.wire.exchanges import Finished
from juham_core.wire.reasons import PROTOCOL_ERROR, UNSPECIFIED_ERROR
from juham_native.lazy import LazyMessage, end_of_properties
from juham_native.session import Session

_TOPICS: Final = 4096
"""Topics whose text is kept; then it starts over."""
_LONGEST: Final = 256
"""Bytes of the longest topic that is kept."""
_PLAIN: Final = frozenset((0x30, 0x31, 0x32, 0x33, 0x3A, 0x3B))
"""How a PUBLISH begins at QoS 0 and 1, with and without RETAIN and, at QoS 1, DUP."""
_FIRST: Final = frozenset(range(0x30, 0x40)) | {
    kind << 4 | (2 if kind in (6, 8, 10) else 0) for kind in range(1, 16)
}
"""First bytes that are worth waiting for the second one (MQTT 5 section 2.1)."""
_head: Final = Struct(">BBH").unpack_from
"""First byte, first byte of the length, and, in a short PUBLISH, the length of the topic."""
_PUBACK: Final = b"\x40\x02"
_BEGIN: Final = 0x4002
_pubacks: Final = Struct(">HH").iter_unpack
"""How a PUBACK begins that says success and no more, and its packet identifier."""


class Client(Interface):
    """What the protocol reports to, in order; see :class:`~juham_native.backend.JNative`."""

    def _connack(
        self, session_present: bool, reason_code: int, properties: Properties, *, resent: bool = False
    ) -> None: ...
    def _received_many(self, messages: list[MqttMsg]) -> None: ...
    def _acknowledged_many(self, keys: list[int]) -> None: ...
    def _acknowledged(self, key: int, reason_code: int, properties: Properties) -> None: ...
    def _pubrec(self, key: int) -> bool: ...
    def _suback(self, key: int, reason_codes: list[int], properties: Properties) -> None: ...
    def _unsuback(self, key: int, reason_codes: list[int], properties: Properties) -> None: ...
    def _said_goodbye(self, packet: Disconnect) -> None: ...
    def _has_room(self, count: int) -> bool: ...
    def _is_overfull(self) -> bool: ...
    def _after_handlers(self, function: Callable[[], None]) -> None: ...


class MqttProtocol:
    """One connection. :meth:`receive` belongs to one thread at a time."""

    def __init__(
        self, options: Options, session: Session, client: Client, send: Callable[..., None]
    ) -> None:
        self.accepted = False
        self.ended = False
        """True once nothing more is to be read."""
        self.keepalive = options.keepalive
        self._options = options
        self._session = session
        self._client = client
        self._send = send
        self._v5 = options.protocol == MQTT_5
        self._largest = options.largest_packet
        self._decoder = Decoder(options.protocol, max_packet_size=self._largest)
        self._aliases = TopicAliases(options.properties.get("topic_alias_maximum", 0))
        self._topics: dict[bytes, str] = {}
        self._first = _FIRST if self._v5 else _FIRST - {0xF0}  # AUTH
        self._rest = b""  # the beginning of a packet, too short to tell its length
        self._missing = 0  # bytes of a packet of which the decoder has the beginning
        # What has been read and not been reported: either messages, with the identifiers to acknowledge,
        # or identifiers that the broker has acknowledged.
        self._messages: list[MqttMsg] = []
        self._due: list[bytes] = []
        self._done: list[int] = []
        self._late = 0  # acknowledgements that wait for handlers; those that follow wait, too

    def connect(self) -> bytes:
        """The CONNECT packet (MQTT 5 section 3.1)."""
        options = self._options
        properties = Properties(options.properties)
        if self._v5 and options.effective_session_expiry:
            properties["session_expiry_interval"] = options.effective_session_expiry
        packet = Connect(
            client_id=options.client_id or "",
            clean_start=options.clean_start,
            keepalive=options.keepalive,
            username=options.username,
            password=options.password_bytes,
            will=options.will,
            protocol=options.protocol,
            properties=properties,
        )
        return encode(packet)

    def disconnect(self, reason_code: int = 0) -> bytes:
        """The DISCONNECT packet (MQTT 5 section 3.14)."""
        return encode(Disconnect(reason_code), self._options.protocol)

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Acknowledge a message that was not acknowledged when it came; from any thread."""
        answer = self._session.acknowledge(packet_id, qos)
        if answer is not None:
            self._send_late(answer)

    # --- receiving ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take in what has arrived, in pieces of any size, and report what is in it.

        Raises MalformedPacketError for what MQTT forbids. Not to be called again then, or once :attr:`ended`.
        """
        position = 0
        if self._rest:
            data, self._rest = self._rest + data, b""
        elif self._missing:
            position = min(self._missing, len(data))
            self._missing -= position
            self._judge(data[:position])
        try:
            if not self.ended:
                self._read(data, position)
        finally:
            self._report()  # what came before the packet that is refused is in order

    def _read(self, data: bytes, position: int) -> None:  # noqa: C901 - the hot loop: calls cost
        end, topics, v5, largest = len(data), self._topics, self._v5, self._largest
        plain_ack = self.accepted and not self._options.manual_ack
        while end - position >= 4:  # a PUBACK has no more
            first, size, length = _head(data, position)
            body = position + 2
            if size > 0x7F:
                # Two bytes, as in most packets that do not do with one.
                if 0x00FF < length < 0x8000 and end - position > 4:
                    size = (size & 0x7F) | (length >> 8) << 7
                    body += 1
                    length = data[body] << 8 | data[body + 1]
                else:
                    size, body = _long_size(data, position, end)
                    if not body:
                        break
                    length = data[body] << 8 | data[body + 1] if body + 2 <= end else 0
            stop = body + size
            if stop > end or stop - position > largest:
                break
            if first in _PLAIN:
                start = body + 2 + length
                topic = topics.get(data[body + 2 : start])
                encoded = None
                if topic is not None:
                    mid = 0
                    if first & 2:
                        mid = data[start] << 8 | data[start + 1] if start + 2 <= stop else 0
                        start += 2
                    if v5 and start < stop:
                        if data[start] == 0:
                            start += 1
                        else:
                            after = end_of_properties(data, start, stop)
                            encoded, start = data[start:after], after or end + 1
                    elif v5:
                        start = end + 1
                    if start <= stop and (mid if first & 2 and plain_ack else first < 0x32):
                        if self._done:
                            self._report()
                        retain, dup = first & 1 == 1, first & 8 == 8
                        payload = data[start:stop]
                        if encoded is None:
                            message = MqttMsg(topic, payload, 1 if mid else 0, retain, dup, mid)
                        else:
                            message = LazyMessage(
                                topic, payload, 1 if mid else 0, retain, dup, mid, encoded
                            )
                        self._messages.append(message)
                        if mid:
                            self._due.append(mid.to_bytes(2, "big"))
                        position = stop
                        continue
            elif first == 0x40 and size == 2 and self.accepted:
                if self._messages:
                    self._report()
                if self._session.publishes.pop(length, None) is not None:
                    self._done.append(length)
                    position = stop
                    if data[stop : stop + 2] == _PUBACK:
                        position = self._read_pubacks(data, stop)
                    continue
            self._judge(data[position:stop])
            if self.ended:
                return
            plain_ack = self.accepted and not self._options.manual_ack
            position = stop
        if position < end:
            self._keep(data, position, end)

    def _read_pubacks(self, data: bytes, position: int) -> int:
        """Take those that follow each other and are plainly in order; return where they end."""
        publishes, done = self._session.publishes, self._done
        whole = (len(data) - position) & ~3
        for begin, packet_id in _pubacks(memoryview(data)[position : position + whole]):
            if begin != _BEGIN or publishes.pop(packet_id, None) is None:
                break
            done.append(packet_id)
            position += 4
        return position

    def _keep(self, data: bytes, position: int, end: int) -> None:
        """Deal with what is left: whole packets too short for the loop, and the beginning of one."""
        while position < end and not self.ended:
            size, body = _long_size(data, position, end)
            if not body:
                if end - position < 5 and data[position] in self._first:
                    self._rest = data[position:]
                else:
                    self._judge(data[position:])  # it refuses what is no packet, and a length without end
                return
            stop = body + size
            self._missing = max(0, stop - end)
            self._judge(data[position : min(stop, end)])
            position = stop

    def _report(self) -> None:
        """Report what has been read, all of a kind at once."""
        if self._messages:
            messages, self._messages = self._messages, []
            due, self._due = self._due, []
            # Past the bound the broker has to wait, by its window of what is not acknowledged.
            late = bool(due) and (self._late > 0 or not self._client._has_room(len(messages)))
            self._client._received_many(messages)
            if due:
                answers = b"".join([b"\x40\x02" + packet_id for packet_id in due])
                if late:
                    self._late += 1
                    self._client._after_handlers(partial(self._acknowledge_late, answers))
                else:
                    self._send(answers, answer=True)
        elif self._done:
            done, self._done = self._done, []
            self._client._acknowledged_many(done)

    def _acknowledge_late(self, answers: bytes) -> None:
        self._send_late(answers)
        self._late -= 1

    def _send_late(self, answer: bytes) -> None:
        try:
            self._send(answer, answer=True)
        except NotConnectedError:
            return  # the broker sends the message again

    # --- whatever is not plain ----------------------------------------------------------------------

    def _judge(self, data: bytes) -> None:
        """Give the core's decoder a packet, or a part of one; deal with what it makes of it."""
        self._report()
        self._decoder.feed(data)
        for packet in self._decoder.packets():
            handler = _HANDLERS.get(type(packet))
            if (
                handler is None
                or self.accepted == isinstance(packet, Connack)
                or (isinstance(packet, Disconnect) and not self._v5)
            ):
                raise MalformedPacketError(
                    f"the broker sent {packet.kind.upper()}, which has no place here",
                    reason_code=PROTOCOL_ERROR,
                )
            handler(self, packet)

    def _on_connack(self, packet: Connack) -> None:
        session = self._session
        if packet.reason_code:
            self.ended = True
            self._client._connack(False, packet.reason_code, packet.properties)
            return
        self.accepted = True
        self.keepalive = packet.properties.get("server_keep_alive", self.keepalive)
        resent = packet.session_present and not session.fresh
        session.fresh = False
        if packet.session_present:
            for package in session.resume():  # before anything new, for the order's sake
                self._send(package)
        else:
            session.forget()
        self._client._connack(packet.session_present, 0, packet.properties, resent=resent)

    def _on_publish(self, packet: Publish) -> None:
        properties, qos, packet_id = packet.properties, packet.qos, packet.packet_id
        if "topic_alias" in properties:
            packet.topic = self._aliases.resolve(packet.topic, properties.pop("topic_alias"))
        else:
            self._learn(packet.topic)
        full = qos > 0 and not self._options.manual_ack and (self._late > 0 or not self._client._has_room(1))
        new = self._session.is_new(packet, later=qos > 0 and (self._options.manual_ack or full))
        if new:
            self._client._received_many(
                [MqttMsg(packet.topic, packet.payload, qos, packet.retain, packet.dup, packet_id, properties)]
            )
        if full and new:
            self._late += 1
            self._client._after_handlers(partial(self._accept_late, packet_id, qos))
        elif qos == 2 or (qos == 1 and not self._options.manual_ack):
            answer = self._session.accepted(packet_id, qos)
            if answer is not None:
                self._send(answer, answer=True)

    def _accept_late(self, packet_id: int, qos: int) -> None:
        self.acknowledge(packet_id, qos)
        self._late -= 1

    def _learn(self, topic: str) -> None:
        encoded = topic.encode()
        if len(encoded) <= _LONGEST:
            if len(self._topics) >= _TOPICS:
                self._topics.clear()
            self._topics[encoded] = topic

    def _on_answer(self, packet: Puback | Pubrec | Pubcomp) -> None:
        if (
            isinstance(packet, Pubrec)
            and packet.reason_code < UNSPECIFIED_ERROR
            and packet.packet_id in self._session.publishes
            and not self._client._pubrec(packet.packet_id)
        ):
            return  # JMqtt says when it may be released
        result = self._session.answered(packet)
        if isinstance(result, Finished):
            self._client._acknowledged(result.packet_id, result.reason_code, result.properties)
        elif result is not None:
            self._send(result, answer=True)

    def _on_pubrel(self, packet: Pubrel) -> None:
        self._send(self._session.released(packet), answer=True)

    def _on_suback(self, packet: Suback) -> None:
        if self._session.requested(packet.packet_id):
            self._client._suback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_unsuback(self, packet: Unsuback) -> None:
        if self._session.requested(packet.packet_id):
            self._client._unsuback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_pingresp(self, packet: Pingresp) -> None:
        """That it came is all it says."""

    def _on_disconnect(self, packet: Disconnect) -> None:
        self.ended = True
        self._client._said_goodbye(packet)


def _long_size(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The remaining length of a packet and where its body begins; there 0 if that cannot be told."""
    size = 0
    for offset in range(1, min(5, end - position)):
        byte = data[position + offset]
        size |= (byte & 0x7F) << 7 * (offset - 1)
        if byte < 0x80:
            return size, position + offset + 1
    return 0, 0


# Any: each method takes its own packet, and a table cannot say which.
_HANDLERS: Final[dict[type[Packet], Callable[[MqttProtocol, Any], None]]] = {
    Connack: MqttProtocol._on_connack,
    Publish: MqttProtocol._on_publish,
    Puback: MqttProtocol._on_answer,
    Pubrec: MqttProtocol._on_answer,
    Pubcomp: MqttProtocol._on_answer,
    Pubrel: MqttProtocol._on_pubrel,
    Suback: MqttProtocol._on_suback,
    Unsuback: MqttProtocol._on_unsuback,
    Pingresp: MqttProtocol._on_pingresp,
    Disconnect: MqttProtocol._on_disconnect,
}
