"""Properties to bytes and back (MQTT 5 section 2.2.2), the same for every packet that carries them."""

from __future__ import annotations

from typing import Any

from juham_core.errors import InvalidArgumentError, MalformedPacketError
from juham_core.wire.fields import (
    MAX_VARINT,
    U16,
    U32,
    Reader,
    encode_binary,
    encode_string,
    encode_varint,
)
from juham_core.wire.properties import (
    SPECS,
    SPECS_BY_ID,
    Properties,
    PropertySpec,
    PropertyType,
    value_problem,
)
from juham_core.wire.reasons import PROTOCOL_ERROR, TOPIC_ALIAS_INVALID


def encode_properties(properties: Properties, packet: str) -> bytes:
    """The property length and the properties, as they stand in the given kind of packet ("will" is one).

    Raises :class:`~juham_core.errors.InvalidArgumentError` for properties or values that may not stand there.
    """
    if not properties:
        return b"\0"
    # Checked anew: the lists in it, and the methods of dict, let values in that nobody looked at.
    properties = Properties(properties)
    properties.check_allowed(packet)
    parts: list[bytes] = []
    for name, value in properties.items():
        spec = SPECS[name]
        if name == "subscription_identifier" and packet == "subscribe" and len(value) > 1:
            raise InvalidArgumentError(f"SUBSCRIBE takes one subscription_identifier, not {len(value)}")
        items = value if spec.repeatable else (value,)
        parts.extend(encode_varint(spec.identifier) + _encode_value(spec, item) for item in items)
    problem = _combination_problem(properties)
    if problem:
        raise InvalidArgumentError(problem)
    encoded = b"".join(parts)
    if len(encoded) > MAX_VARINT:
        raise InvalidArgumentError(f"the properties take {len(encoded):,} bytes; MQTT carries {MAX_VARINT:,}")
    return encode_varint(len(encoded)) + encoded


def decode_properties(reader: Reader, packet: str) -> Properties:
    """Read the property length and the properties of the given kind of packet ("will" is one).

    Raises :class:`~juham_core.errors.MalformedPacketError` (section 2.2.2.2).
    """
    properties = Properties()
    size = reader.varint("property length")
    if size == 0:
        return properties
    if size > reader.remaining:
        raise reader.malformed(f"the properties claim {size} bytes, {reader.remaining} are left")
    inner = Reader(reader.data, reader.position, reader.position + size, reader.packet)
    while inner.remaining:
        identifier = inner.varint("property identifier")
        spec = SPECS_BY_ID.get(identifier)
        if spec is None:
            raise reader.malformed(f"there is no property 0x{identifier:02X}")
        name = spec.name
        if packet not in spec.packets:
            raise reader.malformed(f"the property {name} does not belong in {packet.upper()}")
        value = _decode_value(spec, inner)
        problem = value_problem(name, value)
        if problem:
            code = TOPIC_ALIAS_INVALID if name == "topic_alias" else PROTOCOL_ERROR
            raise MalformedPacketError(f"{reader.packet}: {problem}", reason_code=code)
        if name in properties:
            if not spec.repeatable or (name == "subscription_identifier" and packet == "subscribe"):
                raise reader.protocol_error(f"the property {name} stands there twice")
            properties[name].append(value)
        else:
            # Past the check of Properties: a value that was read has its type already.
            dict.__setitem__(properties, name, [value] if spec.repeatable else value)
    problem = _combination_problem(properties)
    if problem:
        raise reader.protocol_error(problem)
    reader.position = inner.end
    return properties


def _combination_problem(properties: Properties) -> str | None:
    if "authentication_data" in properties and "authentication_method" not in properties:
        return "the property authentication_data needs authentication_method beside it"
    return None


def _encode_value(spec: PropertySpec, value: Any) -> bytes:
    kind = spec.type
    if kind is PropertyType.STRING:
        return encode_string(value, spec.name)
    if kind is PropertyType.PAIR:
        return encode_string(value[0], spec.name) + encode_string(value[1], spec.name)
    if kind is PropertyType.BYTE:
        return bytes((value,))
    if kind is PropertyType.TWO_BYTES:
        return U16.pack(value)
    if kind is PropertyType.FOUR_BYTES:
        return U32.pack(value)
    if kind is PropertyType.VARIABLE:
        return encode_varint(value)
    return encode_binary(value, spec.name)


def _decode_value(spec: PropertySpec, reader: Reader) -> Any:
    kind, name = spec.type, spec.name
    if kind is PropertyType.STRING:
        return reader.string(name)
    if kind is PropertyType.PAIR:
        return reader.string(name), reader.string(name)
    if kind is PropertyType.BYTE:
        return reader.byte(name)
    if kind is PropertyType.TWO_BYTES:
        return reader.two_bytes(name)
    if kind is PropertyType.FOUR_BYTES:
        return reader.four_bytes(name)
    if kind is PropertyType.VARIABLE:
        return reader.varint(name)
    return reader.binary(name)
