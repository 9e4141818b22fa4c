"""The error of bytes that are no MQTT, apart so that the codec's layers can all raise it."""

from __future__ import annotations

from juham_core.errors import JuhamError
from juham_core.wire.reasons import MALFORMED_PACKET


class MalformedPacketError(JuhamError, ValueError):
    """The other side sent what MQTT forbids; the connection cannot go on (MQTT 5 section 4.13).

    ``reason_code`` is what a DISCONNECT (or CONNACK, where it was the CONNECT that was bad) of MQTT 5 says
    about it: 0x81 malformed, 0x82 protocol error, 0x84 unsupported version (only for a CONNECT), 0x94 topic
    alias invalid, 0x95 packet too large.
    """

    def __init__(self, message: str, *, reason_code: int = MALFORMED_PACKET) -> None:
        super().__init__(message)
        self.reason_code = reason_code
