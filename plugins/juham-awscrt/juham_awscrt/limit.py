"""A limit to the packets of one connection, which awscrt would gather and deliver whatever their size.

It has no option for that, and tells nothing of a packet before all of it has come. But Linux tells how many
bytes were read, of a TCP connection or by a thread. If they are more than a packet may have since awscrt last
reported anything that had come, then one that is larger is on its way, and the connection is ended. What is
read of it by then is somewhat more than the limit: 1/8 and 64 KiB for what lies around MQTT (TLS, websockets)
and what is not parsed yet, and what comes between two looks. A message that is just a little too large is
found out when it is whole.
"""

from __future__ import annotations

import array
import contextlib
import re
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from juham_awscrt.descriptors import LOOK, Descriptor, watched
from juham_awscrt.looking import PAUSE, look_at, look_away
from juham_core.errors import InvalidArgumentError, MalformedPacketError
from juham_core.wire.properties import Properties
from juham_core.wire.property_codec import encode_properties
from juham_core.wire.reasons import PACKET_TOO_LARGE

with contextlib.suppress(ImportError):  # Windows has neither, nor what is asked of them
    import fcntl
    import termios

if TYPE_CHECKING:
    from juham_awscrt.link import Link

AROUND: Final = 64 * 1024
"""Bytes that may be read and not parsed, beside those of a packet."""
QUIET: Final = 256
"""Bytes a second that come and are never reported: PINGRESP, and what keeps websockets and TLS alive.

A packet cannot hide behind it for long: while it comes there is no PINGRESP, which ends the connection."""
BEGUN: Final = 0.005
"""Seconds until the next look at something of which nothing has become yet."""
CLOSELY: Final = 0.001
"""Seconds between two looks at something large."""
FASTEST: Final = 1_000_000_000
"""Bytes a second that may come, as over loopback: between two looks no more of them than a packet may have.

But no connection is looked at more often than every LOOK seconds for that."""
HEADER: Final = 65_600
"""Bytes that a PUBLISH without properties may have beside its payload, at most."""

_TCP_INFO_BYTES_RECEIVED: Final = 128
_ESTABLISHED: Final = 1


class PacketLimit:
    """What one connection reads, and whether anything has become of it."""

    def __init__(self, link: Link) -> None:
        self.heard = False
        """To be set by whoever is told by awscrt of a packet that has come."""
        self.surely = link.options.largest_packet - HEADER
        """Bytes of a payload that make no packet too large, if there are no properties."""
        self._link = link
        self._largest = link.options.largest_packet
        self._most = self._largest + self._largest // 8 + AROUND
        self._pause = min(PAUSE, max(LOOK, self._most / FASTEST))
        self._descriptor: Descriptor | None = None
        self._changing = threading.Lock()
        self._nothing_new()

    def watch(self) -> bool:
        """Watch the connection that awscrt has by now; on any thread, and again when it has another.

        False if it has one and cannot be seen just now: awscrt hands it from who connects to who reads.
        """
        with self._changing:
            if self._link.client is None:  # closed meanwhile
                return True
            found = self._standing()
            if found is None or found != self._descriptor:
                self._look_away()
                self._nothing_new()
                if found is not None and look_at(found, self):
                    self._descriptor = found
            return self._descriptor is not None or not _is_told(self._link.options.transport)

    def end(self) -> None:
        """Watch no more."""
        with self._changing:
            self._look_away()

    def _standing(self) -> Descriptor | None:
        """The connection; of several, as awscrt tries addresses, the one that brings the most."""
        found = []
        for descriptor in watched(self._link.loop.epoll):
            with descriptor.opened() as sock:
                read = None if sock is None else self._read_of(sock)
                if read is not None:
                    found.append((read, descriptor))
        return max(found)[1] if found else None

    def _read_of(self, sock: socket.socket) -> int | None:
        """How many bytes of a connection were read, or a few less; None if it does not stand."""
        if sock.family == socket.AF_UNIX:
            return _read_by(self._link.task)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return _read_from(sock)
        return None

    def _look_away(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            look_away(descriptor, self)

    def _nothing_new(self, read: int = 0) -> None:
        self._told_at, self._when = read, time.monotonic()

    def look(self) -> float | None:
        """Look how much was read, and end the connection if it is too much; on the looker's thread."""
        descriptor = self._descriptor
        if descriptor is None:
            return self._pause
        with descriptor.opened() as sock:
            if sock is None:
                return None
            read = self._read_of(sock)
            heard = self.heard
            if heard and read is not None:
                self.heard = False
                # Anew: of what was read before it was cleared nobody will say again that it was reported.
                read = self._read_of(sock)
            if read is None:
                return None
            unheard = read - self._told_at - int(QUIET * (time.monotonic() - self._when))
            if heard or unheard < 0:  # what a quiet connection may bring is not saved up
                self._nothing_new(read)
                unheard = 0
            if unheard > self._most:
                self._end_it(f"{unheard:,} bytes of a packet, and there are more", sock)
                return None
        return self._pause if heard else CLOSELY if unheard > AROUND else BEGUN

    def exceeded(self, topic: str, payload: bytes, qos: int, properties: Properties | None) -> bool:
        """True if a message has come in a packet that is too large: then this ends the connection."""
        size = len(topic.encode()) + len(payload) + (4 if qos else 2)
        try:
            size += len(encode_properties(properties, "publish")) if properties else 1
        except InvalidArgumentError:  # they are counted by JMqtt's own limits
            size += 1
        size += 2 + sum(size >= 128**power for power in (1, 2, 3))
        if size <= self._largest:
            return False
        self._end_it(f"a packet of {size:,} bytes", None)
        return True

    def _end_it(self, what: str, sock: socket.socket | None) -> None:
        text = f"{what}; max_packet_size={self._largest:,} is the most that is taken"
        self._link.break_off(MalformedPacketError(text, reason_code=PACKET_TOO_LARGE))
        if sock is not None:
            with contextlib.suppress(OSError):  # the broker was first
                # RST: a broker that is still sending would wait a minute for us to read on.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)


def _is_told(transport: str) -> bool:
    """True if Linux says how much of such a connection was read; some do not, of threads."""
    return transport != "unix" or _read_by(threading.get_native_id()) is not None


def _read_from(sock: socket.socket) -> int | None:
    """What was read of a TCP connection, or one or two bytes less.

    What waits is asked for last: what is read meanwhile is not counted, and what has come was waiting.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES_RECEIVED + 8)
    if info[0] != _ESTABLISHED:
        return None
    waiting = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, waiting)
    received: int = struct.unpack_from("=Q", info, _TCP_INFO_BYTES_RECEIVED)[0]
    return received - waiting[0]


def _read_by(task: int | None) -> int | None:
    """What a thread has read, but for eight bytes of each time: that is what it is woken with.

    In the unix domain Linux does not tell it of the connection, but the event loop's thread reads no other.
    """
    try:
        told = Path(f"/proc/self/task/{task}/io").read_text()
    except OSError:  # it has ended, or the system does not tell
        return None
    read, times = re.findall(r"(?:rchar|syscr): (\d+)", told)
    return int(read) - 8 * int(times)
