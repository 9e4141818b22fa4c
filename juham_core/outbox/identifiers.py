"""Packet identifiers that follow from a message's place in the outbox: it has the same one in every process.

By it a broker that keeps the session knows what was sent at QoS 2 by a process that was killed (MQTT 5
section 4.3.3).
"""

from __future__ import annotations

from juham_core.message import MqttMsg
from juham_core.wire.terms import WANTED


def identifier_of(number: int) -> int:
    """The packet identifier for the message of this number: 1 to 60,000, in turn."""
    return (number - 1) % WANTED + 1


class Identifiers:
    """Who has which, of the messages that are with the library. Whoever ends one gives its back."""

    def __init__(self) -> None:
        self._taken: dict[int, tuple[int, MqttMsg]] = {}

    def take(self, number: int, message: MqttMsg) -> int:
        """Take the identifier of a message; 0 if one that is 60,000 messages older still has it."""
        packet_id = identifier_of(number)
        return packet_id if self._taken.setdefault(packet_id, (number, message))[0] == number else 0

    def holder(self, packet_id: int) -> tuple[int, MqttMsg] | None:
        """The number and the message that have this identifier."""
        return self._taken.get(packet_id)

    def give_back(self, number: int) -> None:
        """The message of this number is done."""
        packet_id = identifier_of(number)
        if self._taken.get(packet_id, (0,))[0] == number:
            del self._taken[packet_id]

    def clear(self) -> None:
        """Nothing is with the library any more."""
        self._taken.clear()
