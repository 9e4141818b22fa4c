"""Which reason codes may stand in which packet of MQTT 5 (section 2.4): both directions hold to it."""

from __future__ import annotations

from typing import Final

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


def code_problem(packet: str, code: int) -> str | None:
    """What is wrong with this reason code in this kind of packet; None if nothing is."""
    if code in ALLOWED[packet]:
        return None
    allowed = ", ".join(f"0x{known:02X}" for known in sorted(ALLOWED[packet]))
    return f"{packet.upper()} has no reason code 0x{code:02X}; it has: {allowed}"
