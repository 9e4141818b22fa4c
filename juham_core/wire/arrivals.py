"""The receiving half of a session: which messages are known, and what is owed for them, without I/O."""

from __future__ import annotations

from typing import Final

from juham_core.wire.encoder import encode
from juham_core.wire.packets import Pubcomp, Publish, Pubrel
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND

# Not left to the encoder, for there is one for each message. Success goes without a code (section 3.4.2.1).
_PUBACK: Final = b"\x40\x02"
_PUBREC: Final = b"\x50\x02"


class Arrivals:
    """What the broker has sent and is owed an answer for (MQTT 5 section 4.3), each answer as its bytes.

    For libraries that leave acknowledging to their plugin. Messages come on one thread, acknowledging is for
    any; what both touch is a dict or a set, whose single operations are atomic.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        # QoS 2 messages received and not yet released; True where PUBREC may be sent.
        self._received: dict[int, bool] = {}
        # What this connection brought and is acknowledged later.
        self._unacknowledged: set[int] = set()

    def is_new(self, packet: Publish, later: bool) -> bool:
        """Take note of a message; False for one of QoS 2 that has been received before (section 4.3.3).

        ``later``: :meth:`acknowledge` will say when it may be acknowledged.
        """
        packet_id = packet.packet_id
        known = self._received.get(packet_id) if packet.qos == 2 else None
        if later or known is False:
            self._unacknowledged.add(packet_id)
        if packet.qos == 2 and known is None:
            self._received[packet_id] = not later
        return known is None

    def accepted(self, packet_id: int, qos: int) -> bytes | None:
        """The PUBACK or PUBREC that is due for a message; None if it is not to be sent (any more)."""
        if qos == 2 and not self._received.get(packet_id, False):
            return None  # one of QoS 2 that comes again before it may be acknowledged
        self._unacknowledged.discard(packet_id)
        return (_PUBACK if qos == 1 else _PUBREC) + packet_id.to_bytes(2, "big")

    def acknowledge(self, packet_id: int, qos: int) -> bytes | None:
        """A message that was to be acknowledged later now may be; from any thread."""
        if qos == 2 and packet_id in self._received:
            self._received[packet_id] = True  # also if PUBREC cannot go now: the message will come again
        if packet_id not in self._unacknowledged:
            return None  # of an earlier connection: the broker will send the message again
        return self.accepted(packet_id, qos)

    def released(self, packet: Pubrel) -> bytes:
        """The broker has taken note; the identifier may come again with another message."""
        known = self._received.pop(packet.packet_id, None) is not None
        return encode(Pubcomp(packet.packet_id, 0 if known else PACKET_IDENTIFIER_NOT_FOUND), self._protocol)

    def disconnected(self) -> None:
        """The connection is gone, and with it what it was owed."""
        self._unacknowledged.clear()

    def forget(self) -> None:
        """The broker has no session: nothing of the old one is to be finished."""
        self._received.clear()
