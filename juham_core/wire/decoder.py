"""Bytes as they arrive, in pieces of any size, to packets: the receiving half of the codec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from juham_core.errors import InvalidArgumentError, MalformedPacketError
from juham_core.wire.bodies import (
    AUTH,
    CONNECT,
    DECODERS,
    NAMES,
    PUBLISH,
    decode_connect,
    decode_level,
    decode_publish,
)
from juham_core.wire.fields import Reader
from juham_core.wire.packets import MQTT_5, MQTT_311, Connect, Packet
from juham_core.wire.reasons import PACKET_TOO_LARGE, PROTOCOL_ERROR, UNSUPPORTED_PROTOCOL_VERSION
from juham_core.wire.terms import LARGEST_PACKET

# Section 2.1.3: the flags are fixed for every type but PUBLISH: 2 for these, 0 for the others.
_FLAGS: Final = {6: 2, 8: 2, 10: 2}


class Decoder:
    """Turns what one connection receives into packets. Not locked: it belongs to one thread or task.

    ``protocol`` is 4 (MQTT 3.1.1) or 5, or None until the CONNECT has said which: so a server makes one
    without it and a client with the version it asked for. ``max_packet_size`` bounds a whole packet, fixed
    header included, in bytes; a larger one is refused as soon as its length is known.

    Each packet is judged alone. Left to the owner is what depends on its role or state: packets and
    properties that only the other side may send, topic filters, and whether a payload is the text it claims
    to be (section 3.3.2.3.2). A second CONNECT is refused here.
    """

    def __init__(self, protocol: int | None = None, *, max_packet_size: int = LARGEST_PACKET) -> None:
        if protocol not in (None, MQTT_311, MQTT_5):
            raise InvalidArgumentError(
                f"there is no protocol {protocol!r} here: 4 is MQTT 3.1.1, 5 is MQTT 5, None learns it"
            )
        self.protocol = protocol
        self.max_packet_size = max_packet_size
        self._connected = False
        # Parsed is bytes; what arrives is gathered beside it and joined on only when a packet is whole, so
        # that no byte of a large packet in small pieces is copied more than a few times.
        self._data = b""
        self._position = 0
        self._arrived = bytearray()
        # Of the packet at _position, once its header was read: where its body begins and where it ends,
        # counted from _position. Both 0 until then.
        self._body = 0
        self._size = 0

    @property
    def idle(self) -> bool:
        """True between two packets: what :meth:`feed` takes in next begins one."""
        return not self._data and not self._arrived

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what arrived; it is looked at in :meth:`packets`."""
        self._arrived += data

    def packets(self) -> Iterator[Packet]:
        """The packets that are complete, in order; each comes once.

        Raises :class:`~juham_core.errors.MalformedPacketError` when its turn comes to a packet that MQTT
        forbids, and again whenever asked anew: what follows it has no meaning (MQTT 5 section 4.13).
        """
        while (self._size or self._read_header()) and self._have(self._size):
            packet = self._decode()
            self._position += self._size
            self._size = 0
            yield packet

    def _have(self, size: int) -> bool:
        """Tell whether this many bytes are there from _position on, and if so have them in _data."""
        available = len(self._data) - self._position
        if available >= size:
            return True
        if available + len(self._arrived) < size:
            return False
        self._join()
        return True

    def _join(self) -> None:
        self._data = self._data[self._position :] + self._arrived
        self._position = 0
        self._arrived.clear()

    def _read_header(self) -> bool:
        """Read the fixed header (section 2.1), refusing a bad one at once; False if it is incomplete."""
        if len(self._data) - self._position < 5 and self._arrived:
            self._join()
        data, position = self._data, self._position
        available = len(data) - position
        if not available:
            self._data, self._position = b"", 0  # an idle connection need not hold its last packets
            return False
        first = data[position]
        if first >> 4 != PUBLISH or self.protocol is None:
            self._check_first(first)
        size = 0
        for offset in (1, 2, 3, 4):
            if offset >= available:
                return False
            byte = data[position + offset]
            size |= (byte & 0x7F) << 7 * (offset - 1)
            if byte < 0x80:
                break
        else:
            raise MalformedPacketError("the remaining length has more than four bytes")
        if byte == 0 and offset > 1:
            raise MalformedPacketError("the remaining length is written with more bytes than it takes")
        total = offset + 1 + size
        if total > self.max_packet_size:
            raise MalformedPacketError(
                f"a packet of {total:,} bytes; max_packet_size={self.max_packet_size:,} is the most taken",
                reason_code=PACKET_TOO_LARGE,
            )
        self._body, self._size = offset + 1, total
        return True

    def _check_first(self, first: int) -> None:
        kind, flags = first >> 4, first & 15
        if self.protocol is None and kind != CONNECT:
            raise MalformedPacketError(
                f"the first packet is {NAMES[kind]}; it must be CONNECT", reason_code=PROTOCOL_ERROR
            )
        if kind == 0 or (kind == AUTH and self.protocol == MQTT_311):
            raise MalformedPacketError(f"packet type {kind} is reserved")
        if flags != _FLAGS.get(kind, 0):
            raise MalformedPacketError(f"{NAMES[kind]}: its flags are reserved, and {flags:04b} stands there")

    def _decode(self) -> Packet:
        data, end = self._data, self._position + self._size
        position = self._position + self._body
        kind = data[self._position] >> 4
        v5 = self.protocol == MQTT_5
        if kind == PUBLISH:
            return decode_publish(data, position, end, data[self._position] & 15, v5)
        reader = Reader(data, position, end, NAMES[kind])
        packet = self._decode_connect(reader) if kind == CONNECT else DECODERS[kind](reader, v5)
        reader.finish()
        return packet

    def _decode_connect(self, reader: Reader) -> Connect:
        if self._connected:
            raise reader.protocol_error("the second one on this connection")
        level = decode_level(reader)
        if self.protocol not in (None, level):
            raise MalformedPacketError(
                f"CONNECT: asks for protocol level {level} where {self.protocol} is spoken",
                reason_code=UNSUPPORTED_PROTOCOL_VERSION,
            )
        # Known even if the rest is refused: the CONNACK that says so is worded in this version.
        self.protocol = level
        packet = decode_connect(reader, level)
        self._connected = True
        return packet
