"""Messages whose MQTT 5 properties are read when somebody asks for them, and the look that allows it."""

from __future__ import annotations

from typing import Final

from juham_core.message import MqttMsg
from juham_core.wire.fields import Reader
from juham_core.wire.properties import Properties
from juham_core.wire.property_codec import decode_properties

_FLAG, _FOUR, _STRING, _TOPIC, _BINARY, _NUMBER, _PAIR = range(7)
# What a message may carry without anything to be done about it (MQTT 5 section 3.3.2.3): all but the topic
# alias, which changes the topic.
_KINDS: Final = {
    0x01: _FLAG,  # payload_format_indicator
    0x02: _FOUR,  # message_expiry_interval
    0x03: _STRING,  # content_type
    0x08: _TOPIC,  # response_topic
    0x09: _BINARY,  # correlation_data
    0x0B: _NUMBER,  # subscription_identifier
    0x26: _PAIR,  # user_property
}


class LazyMessage(MqttMsg):
    """A message that came with properties; they have been found well-formed, and are read when asked for."""

    __slots__ = ("_encoded", "_read")

    def __init__(
        self, topic: str, payload: bytes, qos: int, retain: bool, dup: bool, mid: int, encoded: bytes
    ) -> None:
        self._read: Properties | None = None
        super().__init__(topic, payload, qos, retain, dup, mid)
        self._encoded: bytes | None = encoded

    @property
    def _properties(self) -> Properties | None:  # the slot of the base, which all read
        encoded = self._encoded
        if encoded is not None:
            self._read = decode_properties(Reader(encoded, 0, len(encoded), "PUBLISH"), "publish")
            self._encoded = None
        return self._read

    @_properties.setter
    def _properties(self, properties: Properties | None) -> None:
        self._encoded = None
        self._read = properties


def end_of_properties(data: bytes, position: int, end: int) -> int:  # noqa: C901 - one kind a branch
    """Where the properties of a PUBLISH end that begin at ``position``; 0 if they want a closer look.

    A closer look, the core's decoder, is due to whatever is malformed, and to what is rare.
    """
    size = data[position] if position < end else 0x80
    position += 1
    stop = position + size
    if size > 0x7F or stop > end:
        return 0
    once = 0
    while position < stop:
        identifier = data[position]
        kind = _KINDS.get(identifier, -1)
        position += 1
        if kind < _NUMBER:  # those that may stand there once
            if once >> identifier & 1:
                return 0
            once |= 1 << identifier
        if kind == _PAIR:
            position = _end_of_string(data, position, stop)
            position = _end_of_string(data, position, stop) if position else 0
        elif kind == _FOUR:
            position += 4
        elif kind == _STRING:
            position = _end_of_string(data, position, stop)
        elif kind == _NUMBER:
            position = _end_of_number(data, position, stop)
        elif kind == _TOPIC:
            start, position = position + 2, _end_of_string(data, position, stop)
            if position == start or b"+" in data[start:position] or b"#" in data[start:position]:
                return 0
        elif kind == _FLAG and position < stop and data[position] < 2:
            position += 1
        elif kind == _BINARY and position + 2 <= stop:
            position += 2 + (data[position] << 8 | data[position + 1])
        else:
            return 0
        if not position:
            return 0
    return stop if position == stop else 0


def _end_of_number(data: bytes, position: int, stop: int) -> int:
    """Where the subscription identifier ends that begins here; 0 unless it is in order."""
    for end in range(position, min(position + 4, stop)):
        if data[end] < 0x80:
            return end + 1 if data[end] else 0  # 0 itself, or a number written too long
    return 0


def _end_of_string(data: bytes, position: int, stop: int) -> int:
    """Where the string ends that begins here; 0 unless it is plain ASCII without NUL, and whole."""
    if position + 2 > stop:
        return 0
    start = position + 2
    end = start + (data[position] << 8 | data[position + 1])
    text = data[start:end]
    return end if end <= stop and text.isascii() and 0 not in text else 0
