"""PUBLISH to bytes, fast: the core encodes the first of its kind, and the others begin as that one did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from juham_core.message import MqttMsg
from juham_core.wire import MQTT_5, Publish, encode

_KINDS: Final = 4096
"""Beginnings that are remembered, of all topics together; then it starts over."""
_LONGEST: Final = 256
"""Bytes of the longest beginning that is worth a place."""
_Kind: TypeAlias = tuple[str, int, int, bool]
"""Topic, size of the payload, QoS and retain flag: what a beginning is made of."""


class PublishEncoder:
    """Encodes the messages of one connection; from any thread.

    All of a packet that comes before its identifier (the fixed header with the length, and the topic) is the
    same for every message with the same topic, QoS, retain flag and size of payload.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._no_properties = b"\0" if protocol == MQTT_5 else b""
        self._beginnings: dict[_Kind, bytes] = {}

    def encode(self, message: MqttMsg, packet_id: int = 0) -> bytes:
        """The packet; what :func:`juham_core.wire.encode` makes of it, with the errors that it raises."""
        payload, qos = message.payload, message.qos
        beginning = self._beginnings.get((message.topic, len(payload), qos, message.retain))
        if beginning is None or message._properties:
            return self._encode_anew(message, packet_id)
        if qos == 0:
            return beginning + payload
        return beginning + packet_id.to_bytes(2, "big") + self._no_properties + payload

    def encode_many(self, messages: Sequence[MqttMsg], packet_ids: Sequence[int]) -> list[bytes]:
        """As :meth:`encode`, of messages of QoS 1 and 2."""
        packages = []
        known, rest = self._beginnings.get, self._no_properties
        for message, packet_id in zip(messages, packet_ids, strict=True):
            payload = message.payload
            beginning = known((message.topic, len(payload), message.qos, message.retain))
            if beginning is None or message._properties:
                packages.append(self._encode_anew(message, packet_id))
            else:
                packages.append(beginning + packet_id.to_bytes(2, "big") + rest + payload)
        return packages

    def _encode_anew(self, message: MqttMsg, packet_id: int) -> bytes:
        payload, qos, properties = message.payload, message.qos, message._properties
        packet = Publish(message.topic, payload, qos, bool(message.retain), packet_id=packet_id)
        if properties:
            packet.properties = properties
        package = encode(packet, self._protocol)
        if not properties:
            rest = len(payload) + (2 + len(self._no_properties) if qos else 0)
            kind = message.topic, len(payload), qos, message.retain
            self._remember(kind, package[: len(package) - rest])
        return package

    def _remember(self, kind: _Kind, beginning: bytes) -> None:
        if len(beginning) > _LONGEST:
            return
        if len(self._beginnings) >= _KINDS:
            self._beginnings.clear()
        self._beginnings[kind] = beginning
