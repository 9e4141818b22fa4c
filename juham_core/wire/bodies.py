"""The body of each packet, from bytes to the dataclass, with all that MQTT calls malformed refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from juham_core.errors import MalformedPacketError
from juham_core.wire.fields import Reader
from juham_core.wire.packets import (
    MQTT_5,
    MQTT_311,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from juham_core.wire.properties import Properties
from juham_core.wire.property_codec import decode_properties
from juham_core.wire.reasons import (
    PROTOCOL_ERROR,
    UNSPECIFIED_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    code_problem,
    connack_to_v5,
)

CONNECT: Final = 1
PUBLISH: Final = 3
AUTH: Final = 15
NAMES: Final = (
    *("reserved type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP"),
    *("SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"),
)
"""The packets by the number of their type (section 2.1.2)."""


def decode_publish(data: bytes, position: int, end: int, flags: int, v5: bool) -> Publish:  # noqa: C901 - calls cost
    """PUBLISH (section 3.3), without a :class:`Reader` for what every message has: the hot path."""
    qos = flags >> 1 & 3
    if qos == 3:
        raise MalformedPacketError("PUBLISH: QoS 3 does not exist")
    start = position + 2
    position = start + (data[position] << 8 | data[position + 1]) if start <= end else start
    if position > end:
        raise MalformedPacketError("PUBLISH: the topic is cut short by the end of the packet")
    try:
        topic = data[start:position].decode()
    except UnicodeDecodeError as exc:
        raise MalformedPacketError(f"PUBLISH: the topic is not valid UTF-8 ({exc.reason})") from None
    packet_id = 0
    if qos:
        if position + 2 > end:
            raise MalformedPacketError("PUBLISH: the packet identifier is cut short by the end of the packet")
        packet_id = data[position] << 8 | data[position + 1]
        position += 2
        if packet_id == 0:
            raise MalformedPacketError("PUBLISH: the packet identifier is 0", reason_code=PROTOCOL_ERROR)
    elif flags & 8:
        raise MalformedPacketError("PUBLISH: DUP is set at QoS 0")
    if "#" in topic or "+" in topic or "\0" in topic:
        raise MalformedPacketError(f"PUBLISH: the topic {topic[:80]!r} contains NUL or a wildcard")
    properties = Properties()
    if v5:
        if position < end and data[position] == 0:
            position += 1
        else:
            reader = Reader(data, position, end, "PUBLISH")
            properties = decode_properties(reader, "publish")
            position = reader.position
    if not topic and "topic_alias" not in properties:
        raise MalformedPacketError(
            "PUBLISH: the topic is empty" + (", and there is no topic alias" if v5 else ""),
            reason_code=PROTOCOL_ERROR,
        )
    return Publish(topic, data[position:end], qos, bool(flags & 1), bool(flags & 8), packet_id, properties)


def decode_level(reader: Reader) -> int:
    """The version a CONNECT asks for, from its first two fields (sections 3.1.2.1 and 3.1.2.2)."""
    name = reader.string("protocol name")
    level = reader.byte("protocol level")
    if name != "MQTT" or level not in (MQTT_311, MQTT_5):
        raise MalformedPacketError(
            f"CONNECT: protocol {name[:20]!r}, level {level}; spoken here: 'MQTT', levels 4 (3.1.1) and 5",
            reason_code=UNSUPPORTED_PROTOCOL_VERSION,
        )
    return level


def decode_connect(reader: Reader, level: int) -> Connect:
    """What follows the version in CONNECT (section 3.1)."""
    v5 = level == MQTT_5
    flags = reader.byte("connect flags")
    _check_connect_flags(reader, flags, v5)
    packet = Connect(clean_start=bool(flags & 0x02), protocol=level)
    packet.keepalive = reader.two_bytes("keepalive")
    if v5:
        packet.properties = decode_properties(reader, "connect")
    packet.client_id = reader.string("client identifier")
    if flags & 0x04:
        packet.will = _will(reader, flags, v5)
    if flags & 0x80:
        packet.username = reader.string("user name")
    if flags & 0x40:
        packet.password = reader.binary("password")
    return packet


def _check_connect_flags(reader: Reader, flags: int, v5: bool) -> None:
    if flags & 0x01:
        raise reader.malformed("the reserved bit of the connect flags is set")
    if not flags & 0x04 and flags & 0x38:
        raise reader.malformed("the flags give QoS or retain for a will, but no will")
    if flags & 0x18 == 0x18:
        raise reader.malformed("QoS 3 for the will does not exist")
    if flags & 0x40 and not flags & 0x80 and not v5:
        raise reader.malformed("MQTT 3.1.1 has no password without a user name")


def _will(reader: Reader, flags: int, v5: bool) -> Will:
    properties = decode_properties(reader, "will") if v5 else Properties()
    topic = reader.string("will topic")
    if not topic:
        raise reader.protocol_error("the will topic is empty")
    if "#" in topic or "+" in topic:
        raise reader.malformed(f"the will topic {topic[:80]!r} contains a wildcard")
    return Will(topic, reader.binary("will payload"), flags >> 3 & 3, bool(flags & 0x20), properties)


def _connack(reader: Reader, v5: bool) -> Connack:
    flags = reader.byte("acknowledge flags")
    if flags > 1:
        raise reader.malformed("reserved bits of the acknowledge flags are set")
    code = reader.byte("return code")
    if v5 and not reader.remaining and 1 <= code <= 5:
        v5 = False  # A server that knows only 3.1.1 refuses in 3.1.1, and is better understood than accused.
    code = _checked_code(reader, "connack", code) if v5 else connack_to_v5(code)
    if flags and code:
        raise reader.protocol_error(f"a session is present in a refusal (0x{code:02X})")
    return Connack(bool(flags), code, decode_properties(reader, "connack") if v5 else Properties())


def _checked_code(reader: Reader, kind: str, code: int) -> int:
    problem = code_problem(kind, code)
    if problem:
        raise reader.protocol_error(problem)
    return code


def _code_and_properties(reader: Reader, kind: str, v5: bool) -> tuple[int, Properties]:
    """The end of PUBACK and its kin and DISCONNECT, where both may be left out (section 3.4.2.1)."""
    if not v5 or not reader.remaining:
        return 0, Properties()
    code = _checked_code(reader, kind, reader.byte("reason code"))
    return code, decode_properties(reader, kind) if reader.remaining else Properties()


def _puback(reader: Reader, v5: bool) -> Puback:
    return Puback(reader.packet_id(), *_code_and_properties(reader, "puback", v5))


def _pubrec(reader: Reader, v5: bool) -> Pubrec:
    return Pubrec(reader.packet_id(), *_code_and_properties(reader, "pubrec", v5))


def _pubrel(reader: Reader, v5: bool) -> Pubrel:
    return Pubrel(reader.packet_id(), *_code_and_properties(reader, "pubrel", v5))


def _pubcomp(reader: Reader, v5: bool) -> Pubcomp:
    return Pubcomp(reader.packet_id(), *_code_and_properties(reader, "pubcomp", v5))


def _subscribe(reader: Reader, v5: bool) -> Subscribe:
    packet_id = reader.packet_id()
    properties = decode_properties(reader, "subscribe") if v5 else Properties()
    subscriptions: list[Subscription] = []
    while reader.remaining:
        topic_filter = reader.string("topic filter")
        subscriptions.append(_subscription(reader, topic_filter, reader.byte("subscription options"), v5))
    if not subscriptions:
        raise reader.protocol_error("there is no topic filter")
    return Subscribe(packet_id, subscriptions, properties)


def _subscription(reader: Reader, topic_filter: str, options: int, v5: bool) -> Subscription:
    if options & (0xC0 if v5 else 0xFC):
        raise reader.malformed(f"reserved bits of the subscription options are set (0x{options:02X})")
    qos, retain_handling = options & 3, options >> 4
    if qos == 3:
        raise reader.protocol_error("QoS 3 does not exist")
    if retain_handling == 3:
        raise reader.protocol_error("retain handling 3 does not exist")
    return Subscription(topic_filter, qos, bool(options & 4), bool(options & 8), retain_handling)


def _suback(reader: Reader, v5: bool) -> Suback:
    packet_id = reader.packet_id()
    properties = decode_properties(reader, "suback") if v5 else Properties()
    codes = list(reader.rest())
    if not codes:
        raise reader.protocol_error("there is no reason code")
    for code in codes:
        _checked_code(reader, "suback", code)
        if not v5 and code > UNSPECIFIED_ERROR:
            raise reader.protocol_error(f"MQTT 3.1.1 has no return code 0x{code:02X}")
    return Suback(packet_id, codes, properties)


def _unsubscribe(reader: Reader, v5: bool) -> Unsubscribe:
    packet_id = reader.packet_id()
    properties = decode_properties(reader, "unsubscribe") if v5 else Properties()
    topic_filters: list[str] = []
    while reader.remaining:
        topic_filters.append(reader.string("topic filter"))
    if not topic_filters:
        raise reader.protocol_error("there is no topic filter")
    return Unsubscribe(packet_id, topic_filters, properties)


def _unsuback(reader: Reader, v5: bool) -> Unsuback:
    packet_id = reader.packet_id()
    if not v5:
        return Unsuback(packet_id)
    properties = decode_properties(reader, "unsuback")
    codes = [_checked_code(reader, "unsuback", code) for code in reader.rest()]
    if not codes:
        raise reader.protocol_error("there is no reason code")
    return Unsuback(packet_id, codes, properties)


def _pingreq(_reader: Reader, _v5: bool) -> Pingreq:
    return Pingreq()


def _pingresp(_reader: Reader, _v5: bool) -> Pingresp:
    return Pingresp()


def _disconnect(reader: Reader, v5: bool) -> Disconnect:
    return Disconnect(*_code_and_properties(reader, "disconnect", v5))


def _auth(reader: Reader, _v5: bool) -> Auth:
    if not reader.remaining:
        return Auth()
    code = _checked_code(reader, "auth", reader.byte("reason code"))
    properties = decode_properties(reader, "auth")
    if code and "authentication_method" not in properties:
        raise reader.protocol_error("the authentication method is missing")
    return Auth(code, properties)


DECODERS: Final[dict[int, Callable[[Reader, bool], Packet]]] = {
    2: _connack,
    4: _puback,
    5: _pubrec,
    6: _pubrel,
    7: _pubcomp,
    8: _subscribe,
    9: _suback,
    10: _unsubscribe,
    11: _unsuback,
    12: _pingreq,
    13: _pingresp,
    14: _disconnect,
    AUTH: _auth,
}
"""The decoders of all but CONNECT and PUBLISH, by the number of the type."""
