"""The data types of section 1.5: integers, strings and binary data, written and read with every check."""

from __future__ import annotations

from struct import Struct
from typing import Final

from juham_core.errors import InvalidArgumentError, MalformedPacketError
from juham_core.wire.reasons import PROTOCOL_ERROR

MAX_VARINT: Final = 268_435_455
"""The largest variable byte integer: four bytes of seven bits (section 1.5.5)."""
MAX_FIELD: Final = 0xFFFF
"""The largest string or binary field, in bytes: its length is a two-byte integer."""

U16: Final = Struct(">H")
U32: Final = Struct(">I")


def encode_varint(value: int) -> bytes:
    """A variable byte integer in as few bytes as it takes; the caller has checked the range."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(text: str, what: str) -> bytes:
    """A UTF-8 string with its length; InvalidArgumentError where MQTT has no such string (section 1.5.4).

    The text is not shown in the error: it may be a secret.
    """
    if not isinstance(text, str):
        raise InvalidArgumentError(f"the {what} is a str, not {type(text).__name__}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgumentError(f"the {what} holds a lone surrogate, which UTF-8 cannot carry") from exc
    if b"\0" in encoded:
        raise InvalidArgumentError(f"the {what} contains NUL, which MQTT forbids in strings")
    return encode_binary(encoded, what)


def encode_binary(data: bytes, what: str) -> bytes:
    """Binary data with its length; InvalidArgumentError above 65,535 bytes (section 1.5.6)."""
    if not isinstance(data, bytes):
        raise InvalidArgumentError(f"the {what} is bytes, not {type(data).__name__}")
    if len(data) > MAX_FIELD:
        raise InvalidArgumentError(f"the {what} has {len(data):,} bytes; MQTT carries at most {MAX_FIELD:,}")
    return U16.pack(len(data)) + data


class Reader:
    """Reads fields one after the other from one packet, never beyond its end.

    Raises :class:`~juham_core.errors.MalformedPacketError`, which names ``packet`` and the field.
    """

    __slots__ = ("data", "end", "packet", "position")

    def __init__(self, data: bytes, position: int, end: int, packet: str) -> None:
        self.data = data
        self.position = position
        self.end = end
        self.packet = packet

    def malformed(self, problem: str) -> MalformedPacketError:
        """The error for what cannot be parsed (reason code 0x81)."""
        return MalformedPacketError(f"{self.packet}: {problem}")

    def protocol_error(self, problem: str) -> MalformedPacketError:
        """The error for what can be parsed but is not allowed (reason code 0x82)."""
        return MalformedPacketError(f"{self.packet}: {problem}", reason_code=PROTOCOL_ERROR)

    def _advance(self, size: int, what: str) -> int:
        start = self.position
        if start + size > self.end:
            raise self.malformed(f"the {what} is cut short by the end of the packet")
        self.position = start + size
        return start

    def byte(self, what: str) -> int:
        """One byte."""
        return self.data[self._advance(1, what)]

    def two_bytes(self, what: str) -> int:
        """A two-byte integer."""
        start = self._advance(2, what)
        return self.data[start] << 8 | self.data[start + 1]

    def four_bytes(self, what: str) -> int:
        """A four-byte integer."""
        start = self._advance(4, what)
        return int.from_bytes(self.data[start : start + 4], "big")

    def varint(self, what: str) -> int:
        """A variable byte integer, refused if longer than it need be."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise self.malformed(f"the {what} is a number written with more bytes than it takes")
                return value
        raise self.malformed(f"the {what} is a number of more than four bytes")

    def binary(self, what: str) -> bytes:
        """Binary data with its length in front."""
        size = self.two_bytes(what)
        start = self._advance(size, what)
        return self.data[start : start + size]

    def string(self, what: str) -> str:
        """A UTF-8 string with its length in front."""
        encoded = self.binary(what)
        try:
            text = encoded.decode()
        except UnicodeDecodeError as exc:
            raise self.malformed(f"the {what} is not valid UTF-8 ({exc.reason})") from None
        if "\0" in text:
            raise self.malformed(f"the {what} contains NUL")
        return text

    def packet_id(self) -> int:
        """A packet identifier, which is never 0 (section 2.2.1)."""
        value = self.two_bytes("packet identifier")
        if value == 0:
            raise self.protocol_error("the packet identifier is 0")
        return value

    def rest(self) -> bytes:
        """All that is left."""
        start, self.position = self.position, self.end
        return self.data[start : self.end]

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self.end - self.position

    def finish(self) -> None:
        """Raise unless everything was read."""
        if self.position != self.end:
            raise self.malformed(f"{self.remaining} bytes follow the last field")
