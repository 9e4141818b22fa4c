"""One connection of the fault broker: bytes to packets and back, each past the rules of the script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from juham_core.testing.script import Anything
from juham_core.testing.wirelog import Entry, kind_of
from juham_core.wire import MQTT_311, Decoder, MalformedPacketError, Packet, encode

if TYPE_CHECKING:
    from juham_core.testing.faults import FaultBroker

_PACE: Final = 0.001
"""Seconds between fragments."""


class FaultLink(asyncio.Protocol):
    """The broker's :class:`~juham_core.broker.Link`, and the :class:`Target` of a script's steps.

    Everything runs in the broker's event loop.
    """

    def __init__(self, owner: FaultBroker, number: int) -> None:
        self.number = number
        self.received_bytes = 0
        self._owner = owner
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._ended = False  # nothing is read or sent any more
        self._broker_is_done = False  # it has closed the link and forgotten it
        self._silent = False
        self.frozen = False
        self._holds = 0
        self._held: list[bytes] = []
        self._fragments = bytearray()
        self._eof = False
        self._room = asyncio.Event()
        self._room.set()

    # --- the transport's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.opened(self)
        self._log("accept", transport.get_extra_info("peername"), sent=False)
        self._pass("accept", None, lambda: None, sent=False)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf():
            return
        self.received_bytes += len(data)
        self._pass("bytes", self.received_bytes, lambda: None, sent=False)
        if self._is_deaf():
            return
        self._decoder.feed(data)
        try:
            for packet in self._decoder.packets():
                if self._is_deaf():
                    return
                self._log(packet.kind, packet, sent=False)
                self._pass(packet.kind, packet, partial(self._to_broker, packet), sent=False)
        except MalformedPacketError as exc:
            self._log("malformed", exc, sent=False)
            self._owner.state.malformed(self, exc.reason_code)
        self._owner.settle()

    def eof_received(self) -> bool:
        self._eof = True
        return False

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        how = f"reset: {exc}" if exc else "closed by the client" if self._eof else "closed by the broker"
        self._ended = True
        if self._transport is not None:
            self._transport.close()  # Python 3.10's TLS transports do not know that they are
        self._log("lost", how, sent=False)
        self._owner.state.lost(self)
        self._owner.gone(self)

    # --- the broker's side ----------------------------------------------------------------------------

    def send(self, packet: Packet, /) -> None:
        """Send a packet, if no rule has it otherwise."""
        if not self._ended:
            self._pass(packet.kind, packet, partial(self.write, packet), sent=True)

    def close(self) -> None:
        """End the connection; a half-open one stays as it is."""
        self._broker_is_done = True
        if not self._silent:
            self.hang_up()

    # --- the steps ------------------------------------------------------------------------------------

    def write(self, what: Anything, /) -> None:
        """Send past all rules."""
        if self._is_deaf() or self._transport is None:
            return
        self._log(kind_of(what), what, sent=True)
        self._write(what if isinstance(what, bytes) else self._encoded(what))

    async def pour(self, data: bytes, times: int) -> None:
        """Send the same so many times, each once there is room for it."""
        for _ in range(times):
            await self._room.wait()
            await asyncio.sleep(0)  # for what the peer says
            if self._is_deaf():
                return
            self.write(data)

    def write_part(self, packet: Packet, size: int, /) -> None:
        """Send the first bytes of a packet."""
        data = self._encoded(packet)[:size]
        self._log("bytes", data, sent=True)
        self._write(data)

    def reset(self) -> None:
        """End with RST."""
        self._ended = True
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it may be gone already, and with TLS there is none then
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def hang_up(self) -> None:
        """End with FIN, once all that was written has gone out."""
        self._ended = True
        if self._transport is not None and not self._fragments:
            self._transport.close()

    def fall_silent(self) -> None:
        """Take no notice and send nothing from now on."""
        self._silent = True

    def freeze(self) -> None:
        """Not even read from now on."""
        self._silent = self.frozen = True
        if self._transport is not None:
            self._transport.pause_reading()

    def stop_reading(self) -> None:
        """Read nothing more, and go on sending."""
        if self._transport is not None:
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def hold(self, seconds: float | None = None, /) -> Callable[[], None]:
        """Keep back what is sent from now on."""
        self._holds += 1
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._let_go)
        return partial(self._owner.call, self._let_go)

    # --- inside ---------------------------------------------------------------------------------------

    def _is_deaf(self) -> bool:
        return self._ended or self._silent

    def _let_go(self) -> None:
        self._holds -= 1
        if not self._holds and self._transport is not None and not self._ended:
            self._transport.write(b"".join(self._held))
            self._held.clear()

    def _pass(
        self, kind: str, packet: Packet | int | None, onwards: Callable[[], None], *, sent: bool
    ) -> None:
        rule = self._owner.rule_for(kind, packet, self.number, sent)
        if rule is None:
            onwards()
        else:
            rule.apply(self, packet, onwards)

    def _to_broker(self, packet: Packet) -> None:
        if not self._broker_is_done:
            self._owner.state.received(self, packet)

    def _encoded(self, packet: Packet) -> bytes:
        return encode(packet, self._decoder.protocol or MQTT_311)

    def _write(self, data: bytes) -> None:
        if self._holds:
            self._held.append(data)
            return
        if self._transport is None or self._transport.is_closing():
            return
        if self._owner.fragment is None:
            self._transport.write(data)
            return
        self._fragments += data
        if len(self._fragments) == len(data):
            self._write_fragment()

    def _write_fragment(self) -> None:
        """Write some bytes now, and the next when the client has had the time to read them on their own."""
        size = self._owner.fragment or len(self._fragments)
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(bytes(self._fragments[:size]))
        del self._fragments[:size]
        if self._fragments:
            asyncio.get_running_loop().call_later(_PACE, self._write_fragment)
        elif self._ended:
            self._transport.close()

    def _log(self, kind: str, packet: Any, *, sent: bool) -> None:
        self._owner.wire.add(Entry(self.number, kind, sent, packet))
