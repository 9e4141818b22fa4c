"""The client's half of the QoS 1 and 2 exchanges (MQTT 5 section 4.3), without I/O."""

from __future__ import annotations

from typing import NamedTuple

from juham_core.errors import QueueFullError
from juham_core.wire.packets import Packet, Puback, Pubcomp, Publish, Pubrec, Pubrel
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND, SUCCESS, UNSPECIFIED_ERROR
from juham_core.wire.terms import past_wanted


class Finished(NamedTuple):
    """An exchange that ended: its packet identifier, the broker's reason code and properties."""

    packet_id: int
    reason_code: int
    properties: Properties


class Exchanges:
    """Packet identifiers in use, what awaits an answer, and which QoS 2 messages have been received.

    Not locked: its owner serializes.
    """

    def __init__(self) -> None:
        self._last_id = 0
        self._requests: set[int] = set()
        self._outgoing: dict[int, Publish | Pubrel] = {}
        self._received: set[int] = set()

    def take_id(self) -> int:
        """An identifier for SUBSCRIBE or UNSUBSCRIBE, in use until :meth:`free_id`."""
        packet_id = self._next_id()
        self._requests.add(packet_id)
        return packet_id

    def free_id(self, packet_id: int) -> None:
        """The answer has come."""
        self._requests.discard(packet_id)

    def start(self, packet: Publish, wanted: int = 0) -> int:
        """Give a PUBLISH of QoS 1 or 2 its identifier, and keep it until it is acknowledged."""
        if wanted:
            self._last_id = past_wanted(self._last_id)
        packet.packet_id = wanted if wanted and wanted not in self._requests else self._next_id()
        self._outgoing[packet.packet_id] = packet
        return packet.packet_id

    def awaits_pubrec(self, packet_id: int) -> bool:
        """True if PUBREC is what comes next for a message of ours."""
        return isinstance(self._outgoing.get(packet_id), Publish)

    def release(self, packet_id: int) -> Pubrel:
        """What ends the exchange of a message that the broker has, of this process or an earlier one."""
        release = self._outgoing[packet_id] = Pubrel(packet_id)
        return release

    def answered(self, packet: Puback | Pubrec | Pubcomp) -> Packet | Finished | None:
        """Take an answer: what to send next, or that the exchange is over, or None if there was none."""
        packet_id = packet.packet_id
        current = self._outgoing.get(packet_id)
        if isinstance(packet, Pubrec) and packet.reason_code < UNSPECIFIED_ERROR:
            if current is None:
                return Pubrel(packet_id, PACKET_IDENTIFIER_NOT_FOUND)
            self._outgoing[packet_id] = Pubrel(packet_id)
            return Pubrel(packet_id)
        if current is None:
            return None
        del self._outgoing[packet_id]
        if isinstance(packet, Pubcomp):
            # Not found: the broker has finished before a reconnect, and forgotten (section 3.7.2.1).
            return Finished(packet_id, SUCCESS, packet.properties)
        return Finished(packet_id, packet.reason_code, packet.properties)

    def is_new(self, packet: Publish) -> bool:
        """False for a QoS 2 message that has been received before (section 4.3.3)."""
        if packet.qos < 2:
            return True
        if packet.packet_id in self._received:
            return False
        self._received.add(packet.packet_id)
        return True

    def released(self, packet: Pubrel) -> Pubcomp:
        """The broker has taken note; the identifier may come again with another message."""
        known = packet.packet_id in self._received
        self._received.discard(packet.packet_id)
        return Pubcomp(packet.packet_id, 0 if known else PACKET_IDENTIFIER_NOT_FOUND)

    def resume(self) -> list[Publish | Pubrel]:
        """What a resumed session begins with (section 4.4): the unanswered, in order, PUBLISH marked DUP."""
        self._requests.clear()
        for packet in self._outgoing.values():
            if isinstance(packet, Publish):
                packet.dup = True
        return list(self._outgoing.values())

    def forget(self) -> None:
        """The broker has no session: nothing of the old one is to be finished."""
        self._requests.clear()
        self._outgoing.clear()
        self._received.clear()

    def _next_id(self) -> int:
        for _ in range(65_535):
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self._outgoing and self._last_id not in self._requests:
                return self._last_id
        raise QueueFullError("all 65,535 packet identifiers are in use: lower max_inflight")
