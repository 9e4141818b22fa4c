"""What an outbox keeps of a message, on its way to the disk and back."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from juham_core.errors import JuhamError
from juham_core.message import MqttMsg
from juham_core.wire.fields import Reader
from juham_core.wire.property_codec import decode_properties, encode_properties

Removal = tuple[int, int, Callable[[], object] | None]
"""Number and size of a message that is done with, and whom to tell when it is struck out."""


class Entry:
    """A message on its way to the disk. Raises InvalidArgumentError for properties that cannot be sent."""

    __slots__ = ("error", "expires_at", "message", "mid", "number", "owner", "properties", "settled", "size")

    def __init__(self, message: MqttMsg, mid: int, owner: Any = None) -> None:
        self.message = message
        self.mid = mid
        self.owner = owner
        """Whatever the caller wants to find here again."""
        self.number = 0
        """Its place in the order of all that were ever stored here; 0 until it is stored."""
        properties = message._properties
        self.properties = encode_properties(properties, "publish") if properties else None
        self.size = len(message.topic.encode()) + len(message.payload) + len(self.properties or b"")
        expiry = properties.get("message_expiry_interval") if properties else None
        self.expires_at = None if expiry is None else time.time() + expiry
        self.settled = False
        self.error: JuhamError | None = None

    def row(self) -> tuple[Any, ...]:
        """The columns of the table."""
        message = self.message
        return (
            self.number,
            self.size,
            self.mid,
            message.qos,
            message.retain,
            time.time(),
            self.expires_at,
            _checksum(message.topic.encode(), self.properties, message.payload),
            message.topic,
            self.properties,
            message.payload,
        )


class Row(NamedTuple):
    """A message read back; ``message`` is None if it is damaged."""

    number: int
    size: int
    mid: int
    expires_at: float | None
    message: MqttMsg | None


def _checksum(topic: bytes, properties: bytes | None, payload: bytes) -> int:
    """SQLite finds out that a file's structure is damaged; that a payload is, it does not."""
    return zlib.crc32(payload, zlib.crc32(properties or b"", zlib.crc32(topic)))


def message_of(
    topic: bytes, payload: Any, qos: int, retain: int, properties: bytes | None, checksum: int
) -> MqttMsg | None:
    """Return the message of a row, or None if it is damaged."""
    if not isinstance(payload, bytes) or _checksum(topic, properties, payload) != checksum:
        return None
    message = MqttMsg(topic.decode(), payload, qos, bool(retain))
    if properties is not None:
        reader = Reader(properties, 0, len(properties), "outbox")
        message.properties = decode_properties(reader, "publish")
    return message
