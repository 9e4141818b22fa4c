"""Packets to bytes, for MQTT 3.1.1 and 5: the sending half of the codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from juham_core.errors import InvalidArgumentError, NotSupportedError, PayloadError, QosError
from juham_core.topics import check_topic
from juham_core.wire.fields import MAX_FIELD, MAX_VARINT, U16, encode_binary, encode_string, encode_varint
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
from juham_core.wire.property_codec import encode_properties
from juham_core.wire.reasons import UNSPECIFIED_ERROR, code_problem, connack_to_v3


def encode(packet: Packet, protocol: int = MQTT_311) -> bytes:
    """The bytes of a packet under MQTT 3.1.1 (4) or MQTT 5 (5); a Connect is encoded under its own protocol.

    Under 3.1.1, PUBLISH and the answers leave out what it has no place for (properties and most reason
    codes; a refusal in SUBACK becomes 0x80), so a broker may say the same to clients of both versions. A
    client's requests are not cut down in silence: CONNECT, SUBSCRIBE and UNSUBSCRIBE with properties or
    options of MQTT 5, and AUTH, raise :class:`~juham_core.errors.NotSupportedError`.

    Raises :class:`~juham_core.errors.InvalidArgumentError` for what MQTT forbids, and of that TopicError,
    QosError, and PayloadError where the packet would exceed 268,435,455 bytes. May be called from any thread.
    """
    if protocol not in (MQTT_311, MQTT_5):
        raise _no_such_protocol(protocol)
    encoder = _ENCODERS.get(type(packet))
    if encoder is None:
        raise InvalidArgumentError(f"cannot encode {type(packet).__name__}: it is no MQTT packet")
    return encoder(packet, protocol == MQTT_5)


def _no_such_protocol(protocol: object) -> InvalidArgumentError:
    return InvalidArgumentError(f"there is no protocol {protocol!r} here: 4 is MQTT 3.1.1, 5 is MQTT 5")


def _frame(first: int, body: bytes) -> bytes:
    size = len(body)
    if size > MAX_VARINT:
        raise InvalidArgumentError(f"the packet takes {size:,} bytes; MQTT carries at most {MAX_VARINT:,}")
    return bytes((first,)) + encode_varint(size) + body


def _publish(packet: Publish, v5: bool) -> bytes:
    topic, payload, qos = packet.topic, packet.payload, packet.qos
    if type(payload) is not bytes:
        payload = _payload(payload)
    name = _topic(topic) if topic or not v5 else _aliased(packet)
    first = 0x31 if packet.retain else 0x30
    if qos == 0:
        if packet.dup or packet.packet_id:
            raise InvalidArgumentError("a PUBLISH at QoS 0 has neither DUP nor a packet identifier")
        head = name
    else:
        first |= _qos(qos) << 1
        if packet.dup:
            first |= 0x08
        head = name + _packet_id(packet.packet_id)
    if v5:
        head += encode_properties(packet.properties, "publish")
    size = len(head) + len(payload)
    if size < 0x80:
        return b"%c%c%b%b" % (first, size, head, payload)
    if size > MAX_VARINT:
        raise PayloadError(
            f"a payload of {len(payload):,} bytes does not fit: with topic and properties the packet "
            f"would take {size:,} bytes, and MQTT carries at most {MAX_VARINT:,}"
        )
    return b"%c%b%b%b" % (first, encode_varint(size), head, payload)


def _payload(payload: object) -> bytes:
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise PayloadError(f"the payload of a packet is bytes, not {type(payload).__name__}")


def _topic(topic: str) -> bytes:
    try:
        encoded = topic.encode()
    except (AttributeError, UnicodeEncodeError):
        encoded = check_topic(topic).encode()  # which raises, and knows how to put it
    if not encoded or len(encoded) > MAX_FIELD or b"#" in encoded or b"+" in encoded or b"\0" in encoded:
        check_topic(topic)
    return U16.pack(len(encoded)) + encoded


def _aliased(packet: Publish) -> bytes:
    """The empty topic, which MQTT 5 allows where an alias stands in its place (section 3.3.2.3.4)."""
    if packet.topic != "" or "topic_alias" not in packet.properties:
        check_topic(packet.topic)
    return b"\0\0"


def _qos(qos: int) -> int:
    if qos not in (0, 1, 2):
        raise QosError(f"the quality of service is 0, 1 or 2, not {qos!r}")
    return qos


def _packet_id(packet_id: int) -> bytes:
    if not 0 < packet_id <= 0xFFFF:
        raise InvalidArgumentError(f"a packet identifier is 1 to 65535, not {packet_id}")
    return U16.pack(packet_id)


def _connect(packet: Connect, _v5: bool) -> bytes:
    if packet.protocol not in (MQTT_311, MQTT_5):
        raise _no_such_protocol(packet.protocol)
    if not 0 <= packet.keepalive <= 0xFFFF:
        raise InvalidArgumentError(f"keepalive is 0 to 65535 seconds, not {packet.keepalive}")
    v5 = packet.protocol == MQTT_5
    flags = 0x02 if packet.clean_start else 0
    payload = encode_string(packet.client_id, "client identifier")
    will = packet.will
    if will is not None:
        flags |= 0x04 | _qos(will.qos) << 3 | (0x20 if will.retain else 0)
        payload += _will(will, v5)
    if packet.username is not None:
        flags |= 0x80
        payload += encode_string(packet.username, "user name")
    if packet.password is not None:
        if packet.username is None and not v5:
            raise InvalidArgumentError("MQTT 3.1.1 has no password without a user name: give both")
        flags |= 0x40
        payload += encode_binary(packet.password, "password")
    head = b"\0\4MQTT" + bytes((packet.protocol, flags)) + U16.pack(packet.keepalive)
    return _frame(0x10, head + _request_properties(packet.properties, "connect", v5) + payload)


def _will(will: Will, v5: bool) -> bytes:
    payload = _payload(will.payload)
    if len(payload) > MAX_FIELD:
        raise PayloadError(f"the will's payload has {len(payload):,} bytes; CONNECT carries {MAX_FIELD:,}")
    head = _request_properties(will.properties, "will", v5)
    return head + _topic(will.topic) + encode_binary(payload, "will's payload")


def _request_properties(properties: Properties, kind: str, v5: bool) -> bytes:
    if v5:
        return encode_properties(properties, kind)
    if properties:
        raise NotSupportedError(
            f"MQTT 3.1.1 has no properties, this {kind.upper()} has: {', '.join(properties)}; use MQTT 5"
        )
    return b""


def _connack(packet: Connack, v5: bool) -> bytes:
    code = _code("connack", packet.reason_code)
    if packet.session_present and code:
        raise InvalidArgumentError(f"a CONNACK that refuses (0x{code:02X}) has no session present")
    flags = 1 if packet.session_present else 0
    if not v5:
        return _frame(0x20, bytes((flags, connack_to_v3(code))))
    return _frame(0x20, bytes((flags, code)) + encode_properties(packet.properties, "connack"))


def _code(kind: str, code: int) -> int:
    problem = code_problem(kind, code)
    if problem:
        raise InvalidArgumentError(problem)
    return code


def _acknowledgement(packet: Puback | Pubrec | Pubrel | Pubcomp, v5: bool, first: int) -> bytes:
    body = _packet_id(packet.packet_id)
    if v5:
        code = _code(packet.kind, packet.reason_code)
        if packet.properties:
            body += bytes((code,)) + encode_properties(packet.properties, packet.kind)
        elif code:
            body += bytes((code,))
    return _frame(first, body)


def _puback(packet: Puback, v5: bool) -> bytes:
    return _acknowledgement(packet, v5, 0x40)


def _pubrec(packet: Pubrec, v5: bool) -> bytes:
    return _acknowledgement(packet, v5, 0x50)


def _pubrel(packet: Pubrel, v5: bool) -> bytes:
    return _acknowledgement(packet, v5, 0x62)


def _pubcomp(packet: Pubcomp, v5: bool) -> bytes:
    return _acknowledgement(packet, v5, 0x70)


def _subscribe(packet: Subscribe, v5: bool) -> bytes:
    if not packet.subscriptions:
        raise InvalidArgumentError("SUBSCRIBE takes at least one topic filter")
    body = _packet_id(packet.packet_id) + _request_properties(packet.properties, "subscribe", v5)
    return _frame(0x82, body + b"".join([_subscription(one, v5) for one in packet.subscriptions]))


def _subscription(one: Subscription, v5: bool) -> bytes:
    options = _qos(one.qos)
    if one.retain_handling not in (0, 1, 2):
        raise InvalidArgumentError(f"retain_handling is 0, 1 or 2, not {one.retain_handling!r}")
    if one.no_local:
        options |= 0x04
    if one.retain_as_published:
        options |= 0x08
    options |= one.retain_handling << 4
    if options > 2 and not v5:
        raise NotSupportedError(
            "MQTT 3.1.1 knows neither no_local, retain_as_published nor retain_handling; use MQTT 5"
        )
    return encode_string(one.topic_filter, "topic filter") + bytes((options,))


def _suback(packet: Suback, v5: bool) -> bytes:
    if not packet.reason_codes:
        raise InvalidArgumentError("SUBACK takes one reason code for each topic filter, so at least one")
    codes = bytes([_code("suback", code) for code in packet.reason_codes])
    body = _packet_id(packet.packet_id)
    if v5:
        return _frame(0x90, body + encode_properties(packet.properties, "suback") + codes)
    return _frame(0x90, body + bytes([min(code, UNSPECIFIED_ERROR) for code in codes]))


def _unsubscribe(packet: Unsubscribe, v5: bool) -> bytes:
    if not packet.topic_filters:
        raise InvalidArgumentError("UNSUBSCRIBE takes at least one topic filter")
    body = _packet_id(packet.packet_id) + _request_properties(packet.properties, "unsubscribe", v5)
    return _frame(0xA2, body + b"".join([encode_string(one, "topic filter") for one in packet.topic_filters]))


def _unsuback(packet: Unsuback, v5: bool) -> bytes:
    body = _packet_id(packet.packet_id)
    if v5:
        if not packet.reason_codes:
            raise InvalidArgumentError("UNSUBACK takes one reason code for each topic filter under MQTT 5")
        codes = bytes([_code("unsuback", code) for code in packet.reason_codes])
        body += encode_properties(packet.properties, "unsuback") + codes
    return _frame(0xB0, body)


def _pingreq(_packet: Pingreq, _v5: bool) -> bytes:
    return b"\xc0\0"


def _pingresp(_packet: Pingresp, _v5: bool) -> bytes:
    return b"\xd0\0"


def _disconnect(packet: Disconnect, v5: bool) -> bytes:
    if not v5:
        return b"\xe0\0"
    code = _code("disconnect", packet.reason_code)
    if packet.properties:
        return _frame(0xE0, bytes((code,)) + encode_properties(packet.properties, "disconnect"))
    return _frame(0xE0, bytes((code,)) if code else b"")


def _auth(packet: Auth, v5: bool) -> bytes:
    if not v5:
        raise NotSupportedError("MQTT 3.1.1 has no AUTH; use MQTT 5")
    code = _code("auth", packet.reason_code)
    if code and "authentication_method" not in packet.properties:
        raise InvalidArgumentError(f"AUTH with reason code 0x{code:02X} needs the authentication_method")
    if not code and not packet.properties:
        return b"\xf0\0"
    return _frame(0xF0, bytes((code,)) + encode_properties(packet.properties, "auth"))


# Any: each function takes its own packet, and a table cannot say which.
_ENCODERS: Final[dict[type, Callable[[Any, bool], bytes]]] = {
    Connect: _connect,
    Connack: _connack,
    Publish: _publish,
    Puback: _puback,
    Pubrec: _pubrec,
    Pubrel: _pubrel,
    Pubcomp: _pubcomp,
    Subscribe: _subscribe,
    Suback: _suback,
    Unsubscribe: _unsubscribe,
    Unsuback: _unsuback,
    Pingreq: _pingreq,
    Pingresp: _pingresp,
    Disconnect: _disconnect,
    Auth: _auth,
}
