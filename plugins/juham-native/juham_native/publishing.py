"""PUBLISH to bytes, fast: the core encodes the first of its kind, and the others begin as that one did."""

from __future__ import annotations

from typing import Final

from juham_core.message import MqttMsg
from juham_core.wire import MQTT_5, Publish, encode

_KINDS: Final = 4096
"""Beginnings that are remembered, of all topics together; then it starts over."""
_LONGEST: Final = 256
"""Bytes of the longest beginning that is worth a place."""


class PublishEncoder:
    """Encodes the messages of one connection; from any thread.

    All of a packet that comes before its identifier (the fixed header with the length, and the topic) is the
    same for every message with the same topic, QoS, retain flag and size of payload.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._no_properties = b"\0" if protocol == MQTT_5 else b""
        self._beginnings: dict[str, dict[int, bytes]] = {}
        self._count = 0

    def encode(self, message: MqttMsg, packet_id: int = 0) -> bytes:
        """The packet; what :func:`juham_core.wire.encode` makes of it, with the errors that it raises."""
        payload, qos = message.payload, message.qos
        kinds = self._beginnings.get(message.topic)
        if kinds is not None and not message._properties:
            beginning = kinds.get(len(payload) << 3 | qos << 1 | (1 if message.retain else 0))
            if beginning is not None:
                if qos == 0:
                    return beginning + payload
                return beginning + packet_id.to_bytes(2, "big") + self._no_properties + payload
        return self._encode_anew(message, packet_id)

    def _encode_anew(self, message: MqttMsg, packet_id: int) -> bytes:
        payload, qos, properties = message.payload, message.qos, message._properties
        packet = Publish(message.topic, payload, qos, bool(message.retain), packet_id=packet_id)
        if properties:
            packet.properties = properties
        package = encode(packet, self._protocol)
        if not properties:
            rest = len(payload) + (2 + len(self._no_properties) if qos else 0)
            key = len(payload) << 3 | qos << 1 | (1 if message.retain else 0)
            self._remember(message.topic, key, package[: len(package) - rest])
        return package

    def _remember(self, topic: str, key: int, beginning: bytes) -> None:
        if len(beginning) > _LONGEST:
            return
        if self._count >= _KINDS:
            self._beginnings = {}  # anew, for another thread may be reading the old ones
            self._count = 0
        self._beginnings.setdefault(topic, {})[key] = beginning
        self._count += 1
