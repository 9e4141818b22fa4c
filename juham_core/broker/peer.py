"""One socket of the listener: bytes to packets and back, written together, and bounded for slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from juham_core.errors import InvalidArgumentError
from juham_core.wire import LARGEST_PACKET, MQTT_311, Decoder, MalformedPacketError, Packet, Publish

if TYPE_CHECKING:  # the listener makes peers
    from juham_core.broker.listener import Listener

LINGER: Final = 2.0
"""Seconds that a client has to take in what was sent before its connection was closed."""

TCP: Final = (socket.AF_INET, socket.AF_INET6)

log = logging.getLogger(__name__)


class Peer(asyncio.Protocol):
    """The broker's :class:`~juham_core.broker.Link` over a socket. Everything runs in the listener's loop."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._broker = listener.broker
        limits = self._broker.limits
        self._decoder = Decoder(max_packet_size=min(limits.max_packet_size or LARGEST_PACKET, LARGEST_PACKET))
        self._write_buffer = limits.write_buffer
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._deadline: asyncio.TimerHandle | None = None  # for CONNECT to come, later for the end to come
        self._closed = False
        self._unwritten: list[bytes] = []
        self._unwritten_size = 0
        self._is_slow = False
        self._excess = 0  # bytes written while the client was slow

    # --- the transport's side -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._write_buffer)
        sock: socket.socket = transport.get_extra_info("socket")
        self._socket = sock
        if sock.family in TCP:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.opened(self)
        timeout = self._broker.limits.connect_timeout
        self._deadline = asyncio.get_running_loop().call_later(timeout, self._abort, "no CONNECT in time")

    def data_received(self, data: bytes) -> None:
        self._decoder.feed(data)
        try:
            for packet in self._decoder.packets():
                if self._closed:
                    break  # by the packet before: the broker has forgotten this link
                if self._deadline is not None:
                    self._deadline.cancel()
                    self._deadline = None
                self._broker.received(self, packet)
        except MalformedPacketError as exc:
            log.info("a client sent a malformed packet: %s", exc)
            self._broker.malformed(self, exc.reason_code)
        self._listener.settle()

    def pause_writing(self) -> None:
        self._is_slow = True

    def resume_writing(self) -> None:
        self._is_slow = False
        if self._excess > self._write_buffer and self._transport is not None and not self._closed:
            self._transport.resume_reading()
        self._excess = 0

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None and not self._closed:
            self._transport.close()  # Python 3.10's TLS transports do not know that they are
        self._closed = True
        self._unwritten.clear()
        self._broker.lost(self)
        self._listener.gone(self)

    # --- the broker's side --------------------------------------------------------------------------------

    def send(self, packet: Packet, /) -> None:
        if self._closed:
            return
        if (self._is_slow or self._unwritten_size > self._write_buffer) and _is_qos_0(packet):
            self._broker.count_dropped("slow_reader")
            return
        try:
            data = self._listener.encoded(packet, self._decoder.protocol or MQTT_311)
        except InvalidArgumentError:
            # Nothing that came off a wire gets here, but an authenticate function may invent reason codes.
            log.exception("cannot send a %s packet; the connection is closed instead", packet.kind)
            self._closed = True
            asyncio.get_running_loop().call_soon(self.abort)
            return
        if not self._unwritten:
            # Whatever the broker sends in this turn of the loop goes out in one write.
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten.append(data)
        self._unwritten_size += len(data)

    def close(self) -> None:
        if self._closed or self._transport is None:
            return  # closing a TLS transport twice would break it
        self._flush()
        self._closed = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._transport.close()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(LINGER, self._abort, "the client reads no more")

    # --- for the listener ---------------------------------------------------------------------------------

    def abort(self) -> None:
        """Cut the connection: the client sees a reset, and what was not yet sent is lost."""
        if self._transport is None:
            return
        with contextlib.suppress(OSError):  # the socket of a TLS transport may be closed already
            if self._socket is not None and self._socket.family in TCP:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _abort(self, reason: str) -> None:
        log.info("cutting a connection: %s", reason)
        self.abort()

    def _flush(self) -> None:
        if not self._unwritten or self._transport is None:
            return
        if self._is_slow:
            self._excess += self._unwritten_size
            if self._excess > self._write_buffer and not self._closed:
                # It asks for answers faster than it reads them: hear no more of it until it does.
                self._transport.pause_reading()
        self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_size = 0


def _is_qos_0(packet: Packet) -> bool:
    return isinstance(packet, Publish) and packet.qos == 0
