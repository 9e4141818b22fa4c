"""The control packets of MQTT (section 3) as plain data, the same for 3.1.1 and 5.

What a version lacks stays at its default: under 3.1.1 properties are empty and most reason codes are 0.
CONNACK reason codes are always MQTT 5's here; the codec translates for 3.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from juham_core.wire.properties import Properties
from juham_core.wire.terms import MAX_PAYLOAD, MQTT_5, MQTT_311, Subscription, Will

__all__ = [
    "MAX_PAYLOAD",
    "MQTT_5",
    "MQTT_311",
    "Auth",
    "Connack",
    "Connect",
    "Disconnect",
    "Packet",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "Suback",
    "Subscribe",
    "Subscription",
    "Unsuback",
    "Unsubscribe",
    "Will",
]


@dataclass(slots=True)
class Connect:
    """CONNECT, section 3.1."""

    kind: ClassVar[str] = "connect"
    client_id: str = ""
    clean_start: bool = True
    keepalive: int = 60
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    protocol: int = MQTT_311
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Connack:
    """CONNACK, section 3.2."""

    kind: ClassVar[str] = "connack"
    session_present: bool = False
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Publish:
    """PUBLISH, section 3.3. ``packet_id`` is 0 at QoS 0."""

    kind: ClassVar[str] = "publish"
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Puback:
    """PUBACK, section 3.4."""

    kind: ClassVar[str] = "puback"
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Pubrec:
    """PUBREC, section 3.5."""

    kind: ClassVar[str] = "pubrec"
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Pubrel:
    """PUBREL, section 3.6."""

    kind: ClassVar[str] = "pubrel"
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Pubcomp:
    """PUBCOMP, section 3.7."""

    kind: ClassVar[str] = "pubcomp"
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Subscribe:
    """SUBSCRIBE, section 3.8."""

    kind: ClassVar[str] = "subscribe"
    packet_id: int
    subscriptions: list[Subscription]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Suback:
    """SUBACK, section 3.9: one code for each filter, in order."""

    kind: ClassVar[str] = "suback"
    packet_id: int
    reason_codes: list[int]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Unsubscribe:
    """UNSUBSCRIBE, section 3.10."""

    kind: ClassVar[str] = "unsubscribe"
    packet_id: int
    topic_filters: list[str]
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Unsuback:
    """UNSUBACK, section 3.11; under 3.1.1 it carries no codes."""

    kind: ClassVar[str] = "unsuback"
    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Pingreq:
    """PINGREQ, section 3.12."""

    kind: ClassVar[str] = "pingreq"


@dataclass(slots=True)
class Pingresp:
    """PINGRESP, section 3.13."""

    kind: ClassVar[str] = "pingresp"


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT, section 3.14; under 3.1.1 only a client sends it, without a code."""

    kind: ClassVar[str] = "disconnect"
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(slots=True)
class Auth:
    """AUTH, section 3.15, MQTT 5 only."""

    kind: ClassVar[str] = "auth"
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
