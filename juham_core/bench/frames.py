"""Packets in bulk: many PUBLISHes made, counted and acknowledged at once, without a loop over each.

What the bench sends is of one length, so a column of bytes, taken with a stride, is the same field of every
packet. What does not fit that is taken packet by packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from juham_core.wire import Publish, encode

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62
PUBCOMP: Final = 0x70
CYCLE: Final = 60_000
"""Packet identifiers go round from 1 to this."""
_ACKNOWLEDGING: Final = {PUBACK, PUBREC, PUBREL & 0xF0, PUBCOMP}
_ANSWERS: Final = {PUBREC: PUBREL, PUBREL: PUBCOMP}


def publishes(
    topics: Sequence[str], payload: bytes, messages: int, qos: int, piece: int, protocol: int = 4
) -> Iterator[bytes]:
    """So many PUBLISHes to the topics in turn, in pieces of so many packets."""
    if qos == 0:
        frames = [encode(Publish(topic, payload), protocol) for topic in topics]
        for start in range(0, messages, piece):
            count = min(piece, messages - start)
            if len(frames) == 1:
                yield frames[0] * count
            else:
                yield b"".join(frames[(start + number) % len(frames)] for number in range(count))
        return
    heads, tails = [], []
    for topic in topics:
        frame = encode(Publish(topic, payload, qos=qos, packet_id=1), protocol)
        place = len(frame) - len(payload) - (3 if protocol == 5 else 2)
        heads.append(frame[:place])
        tails.append(frame[place + 2 :])
    for start in range(0, messages, piece):
        parts: list[bytes] = []
        for number in range(start, min(start + piece, messages)):
            which = number % len(topics)
            parts += (heads[which], (number % CYCLE + 1).to_bytes(2, "big"), tails[which])
        yield b"".join(parts)


def acknowledgements(first: int, high: bytes, low: bytes) -> bytes:
    """Packets of four bytes, PUBACK and its like, for the identifiers in these two columns."""
    count = len(high)
    made = bytearray(4 * count)
    made[0::4] = bytes((first,)) * count
    made[1::4] = b"\x02" * count
    made[2::4] = high
    made[3::4] = low
    return bytes(made)


class Frames:
    """Takes received bytes apart: counts PUBLISHes, and gathers what is to be answered."""

    def __init__(self) -> None:
        self._rest = b""
        self._answers: list[bytes] = []
        self._acknowledged = 0
        self.others: list[bytes] = []
        """Whole packets of other kinds, in the order they came."""

    def feed(self, data: bytes) -> int:
        """Take in what has come, and return how many PUBLISHes that completes."""
        data = self._rest + data if self._rest else data
        found, place, end = 0, 0, len(data)
        while place < end:
            size = _size(data, place)
            if not size or place + size > end:
                break
            count = self._run(data, place, size, end)
            kind = data[place] & 0xF0
            stop = place + count * size
            if kind == PUBLISH:
                found += count
                self._answer_publishes(data, place, stop, size)
            elif kind in _ACKNOWLEDGING:
                self._answer(data[place], data[place + 2 : stop : size], data[place + 3 : stop : size])
            else:
                count = 1
                self.others.append(data[place : place + size])
            place += count * size
        self._rest = data[place:]
        return found

    def answers(self) -> bytes:
        """What is to be sent back for what has come so far."""
        made = b"".join(self._answers)
        self._answers.clear()
        return made

    def take_acknowledged(self) -> int:
        """How many publishes have been acknowledged for good since the last call."""
        count, self._acknowledged = self._acknowledged, 0
        return count

    @staticmethod
    def _run(data: bytes, place: int, size: int, end: int) -> int:
        """How many packets with this one's header follow each other; at least 1."""
        most = (end - place) // size
        if most < 2:
            return 1
        for column in range(size if size < 4 else 2 if size < 130 else 3):
            wanted = data[place + column : place + column + 1]
            run = data[place + column : place + most * size : size]
            rest = run.lstrip(wanted)
            most = min(most, len(run) - len(rest))
        return most

    def _answer_publishes(self, data: bytes, place: int, stop: int, size: int) -> None:
        qos = data[place] >> 1 & 3
        if not qos:
            return
        header = 2
        while data[place + header - 1] & 0x80:
            header += 1
        identifier = place + header + 2 + int.from_bytes(data[place + header : place + header + 2], "big")
        first = PUBACK if qos == 1 else PUBREC
        self._answers.append(
            acknowledgements(first, data[identifier:stop:size], data[identifier + 1 : stop : size])
        )

    def _answer(self, first: int, high: bytes, low: bytes) -> None:
        answer = _ANSWERS.get(first)
        if answer is None:
            self._acknowledged += len(high)
        else:
            self._answers.append(acknowledgements(answer, high, low))


def _size(data: bytes, place: int) -> int:
    """The length of the packet that begins here, header and all; 0 if that is not known yet."""
    length = shift = 0
    for position in range(place + 1, min(place + 5, len(data))):
        byte = data[position]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return position + 1 - place + length
        shift += 7
    return 0
