"""The reason codes of MQTT 5 (section 2.4), where each may stand, and how those of MQTT 3.1.1 translate."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0x00
GRANTED_QOS_1: Final = 0x01
GRANTED_QOS_2: Final = 0x02
DISCONNECT_WITH_WILL: Final = 0x04
NO_MATCHING_SUBSCRIBERS: Final = 0x10
NO_SUBSCRIPTION_EXISTED: Final = 0x11
UNSPECIFIED_ERROR: Final = 0x80
MALFORMED_PACKET: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
IMPLEMENTATION_SPECIFIC: Final = 0x83
UNSUPPORTED_PROTOCOL_VERSION: Final = 0x84
CLIENT_IDENTIFIER_NOT_VALID: Final = 0x85
BAD_USER_NAME_OR_PASSWORD: Final = 0x86
NOT_AUTHORIZED: Final = 0x87
SERVER_UNAVAILABLE: Final = 0x88
SERVER_BUSY: Final = 0x89
BANNED: Final = 0x8A
SERVER_SHUTTING_DOWN: Final = 0x8B
BAD_AUTHENTICATION_METHOD: Final = 0x8C
KEEP_ALIVE_TIMEOUT: Final = 0x8D
SESSION_TAKEN_OVER: Final = 0x8E
TOPIC_FILTER_INVALID: Final = 0x8F
TOPIC_NAME_INVALID: Final = 0x90
PACKET_IDENTIFIER_IN_USE: Final = 0x91
PACKET_IDENTIFIER_NOT_FOUND: Final = 0x92
RECEIVE_MAXIMUM_EXCEEDED: Final = 0x93
TOPIC_ALIAS_INVALID: Final = 0x94
PACKET_TOO_LARGE: Final = 0x95
MESSAGE_RATE_TOO_HIGH: Final = 0x96
QUOTA_EXCEEDED: Final = 0x97
ADMINISTRATIVE_ACTION: Final = 0x98
PAYLOAD_FORMAT_INVALID: Final = 0x99
RETAIN_NOT_SUPPORTED: Final = 0x9A
QOS_NOT_SUPPORTED: Final = 0x9B
USE_ANOTHER_SERVER: Final = 0x9C
SERVER_MOVED: Final = 0x9D
SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Final = 0x9E
CONNECTION_RATE_EXCEEDED: Final = 0x9F
MAXIMUM_CONNECT_TIME: Final = 0xA0
SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Final = 0xA1
WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: Final = 0xA2

_NAMES: Final[dict[int, str]] = {
    0x00: "Success",
    0x01: "Granted QoS 1",
    0x02: "Granted QoS 2",
    0x04: "Disconnect with will message",
    0x10: "No matching subscribers",
    0x11: "No subscription existed",
    0x18: "Continue authentication",
    0x19: "Re-authenticate",
    0x80: "Unspecified error",
    0x81: "Malformed packet",
    0x82: "Protocol error",
    0x83: "Implementation specific error",
    0x84: "Unsupported protocol version",
    0x85: "Client identifier not valid",
    0x86: "Bad user name or password",
    0x87: "Not authorized",
    0x88: "Server unavailable",
    0x89: "Server busy",
    0x8A: "Banned",
    0x8B: "Server shutting down",
    0x8C: "Bad authentication method",
    0x8D: "Keep alive timeout",
    0x8E: "Session taken over",
    0x8F: "Topic filter invalid",
    0x90: "Topic name invalid",
    0x91: "Packet identifier in use",
    0x92: "Packet identifier not found",
    0x93: "Receive maximum exceeded",
    0x94: "Topic alias invalid",
    0x95: "Packet too large",
    0x96: "Message rate too high",
    0x97: "Quota exceeded",
    0x98: "Administrative action",
    0x99: "Payload format invalid",
    0x9A: "Retain not supported",
    0x9B: "QoS not supported",
    0x9C: "Use another server",
    0x9D: "Server moved",
    0x9E: "Shared subscriptions not supported",
    0x9F: "Connection rate exceeded",
    0xA0: "Maximum connect time",
    0xA1: "Subscription identifiers not supported",
    0xA2: "Wildcard subscriptions not supported",
}

_PUBLISH_ANSWERS: Final = "00 10 80 83 87 90 91 97 99"
_RELEASE_ANSWERS: Final = "00 92"

ALLOWED: Final[dict[str, frozenset[int]]] = {
    packet: frozenset(bytes.fromhex(codes))
    for packet, codes in {
        "connack": "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
        "puback": _PUBLISH_ANSWERS,
        "pubrec": _PUBLISH_ANSWERS,
        "pubrel": _RELEASE_ANSWERS,
        "pubcomp": _RELEASE_ANSWERS,
        "suback": "00 01 02 80 83 87 8F 91 97 9E A1 A2",
        "unsuback": "00 11 80 83 87 8F 91",
        "disconnect": (
            "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
        ),
        "auth": "00 18 19",
    }.items()
}
"""The codes that may stand in each kind of packet: both directions of the codec hold to it."""

# MQTT 3.1.1 section 3.2.2.3 against MQTT 5 section 3.2.2.2.
_CONNACK_3_TO_5: Final[dict[int, int]] = {
    0: SUCCESS,
    1: UNSUPPORTED_PROTOCOL_VERSION,
    2: CLIENT_IDENTIFIER_NOT_VALID,
    3: SERVER_UNAVAILABLE,
    4: BAD_USER_NAME_OR_PASSWORD,
    5: NOT_AUTHORIZED,
}
_CONNACK_5_TO_3: Final[dict[int, int]] = {five: three for three, five in _CONNACK_3_TO_5.items()}


class ReasonCode(int):
    """A reason code: an int that prints its name and knows whether it is a refusal.

    It compares equal to the number and to the name, as handlers written for paho expect.
    """

    @property
    def value(self) -> int:
        """The number itself."""
        return int(self)

    @property
    def is_failure(self) -> bool:
        """True from 0x80 upwards (MQTT 5 section 2.4)."""
        return self >= UNSPECIFIED_ERROR

    def getName(self) -> str:  # noqa: N802 - paho's name for it, which handlers call
        """The name in MQTT 5's table, or the number in hexadecimal where the table has none."""
        return _NAMES.get(int(self), f"0x{int(self):02X}")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.getName().lower() == other.lower()
        return int(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __str__(self) -> str:
        return self.getName()

    def __repr__(self) -> str:
        return f"<{self.getName()} (0x{int(self):02X})>"


def connack_to_v5(code: int) -> int:
    """The MQTT 5 reason code that says what the CONNACK return code of MQTT 3.1.1 says."""
    return _CONNACK_3_TO_5.get(code, UNSPECIFIED_ERROR)


def connack_to_v3(code: int) -> int:
    """The CONNACK return code of MQTT 3.1.1 for a reason code; 3 (unavailable) where it has no closer one."""
    return _CONNACK_5_TO_3.get(code, 3)


def code_problem(packet: str, code: int) -> str | None:
    """What is wrong with this reason code in this kind of packet; None if nothing is."""
    if code in ALLOWED[packet]:
        return None
    allowed = ", ".join(f"0x{known:02X}" for known in sorted(ALLOWED[packet]))
    return f"{packet.upper()} has no reason code 0x{code:02X}; it has: {allowed}"
