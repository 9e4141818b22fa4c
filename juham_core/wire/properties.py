"""The properties of MQTT 5 (section 2.2.2): their names, identifiers, types and where they may stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from juham_core.errors import InvalidArgumentError


class PropertyType(Enum):
    """How a property's value is laid out on the wire (MQTT 5 section 1.5)."""

    BYTE = "byte"
    TWO_BYTES = "two-byte integer"
    FOUR_BYTES = "four-byte integer"
    VARIABLE = "variable byte integer"
    STRING = "UTF-8 string"
    BINARY = "binary data"
    PAIR = "UTF-8 string pair"


class PropertySpec(NamedTuple):
    """One row of the specification's table of properties."""

    identifier: int
    name: str
    type: PropertyType
    packets: frozenset[str]
    repeatable: bool = False


_ACKS = "connack puback pubrec pubrel pubcomp suback unsuback disconnect auth"
_ROWS: Final = (
    (0x01, "payload_format_indicator", PropertyType.BYTE, "publish will"),
    (0x02, "message_expiry_interval", PropertyType.FOUR_BYTES, "publish will"),
    (0x03, "content_type", PropertyType.STRING, "publish will"),
    (0x08, "response_topic", PropertyType.STRING, "publish will"),
    (0x09, "correlation_data", PropertyType.BINARY, "publish will"),
    (0x0B, "subscription_identifier", PropertyType.VARIABLE, "publish subscribe"),
    (0x11, "session_expiry_interval", PropertyType.FOUR_BYTES, "connect connack disconnect"),
    (0x12, "assigned_client_identifier", PropertyType.STRING, "connack"),
    (0x13, "server_keep_alive", PropertyType.TWO_BYTES, "connack"),
    (0x15, "authentication_method", PropertyType.STRING, "connect connack auth"),
    (0x16, "authentication_data", PropertyType.BINARY, "connect connack auth"),
    (0x17, "request_problem_information", PropertyType.BYTE, "connect"),
    (0x18, "will_delay_interval", PropertyType.FOUR_BYTES, "will"),
    (0x19, "request_response_information", PropertyType.BYTE, "connect"),
    (0x1A, "response_information", PropertyType.STRING, "connack"),
    (0x1C, "server_reference", PropertyType.STRING, "connack disconnect"),
    (0x1F, "reason_string", PropertyType.STRING, _ACKS),
    (0x21, "receive_maximum", PropertyType.TWO_BYTES, "connect connack"),
    (0x22, "topic_alias_maximum", PropertyType.TWO_BYTES, "connect connack"),
    (0x23, "topic_alias", PropertyType.TWO_BYTES, "publish"),
    (0x24, "maximum_qos", PropertyType.BYTE, "connack"),
    (0x25, "retain_available", PropertyType.BYTE, "connack"),
    (0x26, "user_property", PropertyType.PAIR, f"connect publish will subscribe unsubscribe {_ACKS}"),
    (0x27, "maximum_packet_size", PropertyType.FOUR_BYTES, "connect connack"),
    (0x28, "wildcard_subscription_available", PropertyType.BYTE, "connack"),
    (0x29, "subscription_identifier_available", PropertyType.BYTE, "connack"),
    (0x2A, "shared_subscription_available", PropertyType.BYTE, "connack"),
)
_REPEATABLE: Final = frozenset({"user_property", "subscription_identifier"})
# Narrower than the type of the property: the sections on each packet's properties say "protocol error".
_FLAGS: Final = frozenset(
    {
        "payload_format_indicator",
        "request_problem_information",
        "request_response_information",
        "maximum_qos",
        "retain_available",
        "wildcard_subscription_available",
        "subscription_identifier_available",
        "shared_subscription_available",
    }
)
_NEVER_ZERO: Final = frozenset(
    {"receive_maximum", "maximum_packet_size", "topic_alias", "subscription_identifier"}
)

SPECS: Final[dict[str, PropertySpec]] = {
    name: PropertySpec(identifier, name, kind, frozenset(packets.split()), name in _REPEATABLE)
    for identifier, name, kind, packets in _ROWS
}
SPECS_BY_ID: Final[dict[int, PropertySpec]] = {spec.identifier: spec for spec in SPECS.values()}


class Properties(dict[str, Any]):
    """MQTT 5 properties by name: ``Properties(content_type="text/plain", user_property=[("a", "b")])``.

    A dict whose keys are the specification's names in snake case, readable as attributes too
    (``message.properties.content_type``; None where absent). ``user_property`` is a list of pairs of str, in
    order and with duplicates; ``subscription_identifier`` a list of int; everything else a single int, str
    or bytes. Raises :class:`~juham_core.errors.InvalidArgumentError` for a name or value MQTT does not know.
    """

    def __init__(self, values: Mapping[str, Any] | None = None, **named: Any) -> None:
        super().__init__()
        # Most messages have none: worth a look before anything is built.
        if values or named:
            self.update(values or {}, **named)

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any) -> None:  # type: ignore[override]  # dict has overloads for keys that are no str
        """Set several, each checked."""
        for name, value in {**dict(values), **named}.items():
            self[name] = value

    def __repr__(self) -> str:
        """Without what authenticates somebody, for properties are in logs and errors."""
        if "authentication_data" not in self:
            return super().__repr__()
        return repr({name: "***" if name == "authentication_data" else value for name, value in self.items()})

    def copy(self) -> Properties:
        """A copy with lists of its own."""
        return Properties(self)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, _checked(name, value))

    def __setattr__(self, name: str, value: Any) -> None:
        # Without this, properties.content_type = "x" would be an attribute that never reaches the wire.
        self[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in SPECS:
            return self.get(name)
        raise AttributeError(f"MQTT 5 has no property {name!r}; it has: {', '.join(SPECS)}")

    def check_allowed(self, packet: str) -> None:
        """Raise InvalidArgumentError unless every property, as it is, may stand in this kind of packet."""
        for name, value in self.items():
            if packet not in SPECS[name].packets:
                raise InvalidArgumentError(
                    f"the property {name!r} does not belong in {packet.upper()}; "
                    f"it belongs in: {', '.join(sorted(SPECS[name].packets)).upper()}"
                )
            for item in value if SPECS[name].repeatable else (value,):
                problem = value_problem(name, item)
                if problem:
                    raise InvalidArgumentError(problem)

    def check_sendable(self, packet: str) -> None:
        """As :meth:`check_allowed`, and no text for which a broker may end the connection."""
        self.check_allowed(packet)
        from juham_core.text import refusable  # noqa: PLC0415  # making a client does without

        for name, value in self.items():
            kind = SPECS[name].type
            if kind is PropertyType.STRING:
                texts = [value]
            elif kind is PropertyType.PAIR:
                texts = [part for pair in value for part in pair]
            else:
                continue
            refused = next(filter(None, map(refusable, texts)), None)
            if refused is not None:
                raise InvalidArgumentError(
                    f"the property {name!r} contains {refused}, for which a broker may end the connection "
                    "(MQTT 5 section 1.5.4); the payload may have any"
                )


_LIMITS: Final[dict[PropertyType, int]] = {
    PropertyType.BYTE: 0xFF,
    PropertyType.TWO_BYTES: 0xFFFF,
    PropertyType.FOUR_BYTES: 0xFFFF_FFFF,
    PropertyType.VARIABLE: 268_435_455,
}


def value_problem(name: str, value: Any) -> str | None:
    """What is wrong with a value that has its property's type; None if nothing is."""
    if name in _FLAGS and value > 1:
        return f"the property {name} is 0 or 1, not {value}"
    if name in _NEVER_ZERO and value == 0:
        return f"the property {name} is 0, which MQTT forbids"
    if name == "response_topic" and ("#" in value or "+" in value or not value):
        return "the property response_topic is a topic, so neither empty nor with the wildcards '#' or '+'"
    return None


def _checked(name: str, value: Any) -> Any:
    spec = SPECS.get(name)
    if spec is None:
        raise InvalidArgumentError(f"MQTT 5 has no property {name!r}; it has: {', '.join(SPECS)}")
    if not spec.repeatable:
        return _checked_one(spec, value)
    if spec.type is PropertyType.PAIR and isinstance(value, Mapping):
        value = list(value.items())
    elif isinstance(value, int) or (value and isinstance(value, tuple) and isinstance(value[0], str)):
        value = [value]  # a single one, written without its list
    if not isinstance(value, Iterable):
        raise InvalidArgumentError(f"the property {name!r} takes a list, not {type(value).__name__}")
    return [_checked_one(spec, item) for item in value]


def _checked_one(spec: PropertySpec, value: Any) -> Any:
    if spec.type in _LIMITS:
        if isinstance(value, int) and 0 <= value <= _LIMITS[spec.type]:
            return int(value)
    elif spec.type is PropertyType.STRING:
        if isinstance(value, str) and _is_mqtt_string(value):
            return value
    elif spec.type is PropertyType.BINARY:
        if isinstance(value, bytes | bytearray | memoryview) and len(bytes(value)) <= 0xFFFF:
            return bytes(value)
    elif (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(part, str) and _is_mqtt_string(part) for part in value)
    ):
        return tuple(value)
    # The value is not shown: it may be a secret (authentication data).
    raise InvalidArgumentError(
        f"the property {spec.name!r} takes a {spec.type.value}; got {type(value).__name__}, or out of range"
    )


def _is_mqtt_string(text: str) -> bool:
    """MQTT 5 section 1.5.4: well-formed UTF-8 without NUL, of at most 65,535 bytes."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return False
    return len(encoded) <= 0xFFFF and "\0" not in text
