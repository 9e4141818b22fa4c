"""One connection: the coroutine that gmqtt lives in, and the way there from other threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from juham_core.dial import Attempt, dial
from juham_core.errors import ConnectTimeoutError, MalformedPacketError, NotConnectedError
from juham_core.locks import Event
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire import Decoder, Packet
from juham_core.wire.aliases import TopicAliases
from juham_core.wire.packets import MQTT_5, Publish
from juham_gmqtt import library
from juham_gmqtt.descriptor import Dialled
from juham_gmqtt.home import Home
from juham_gmqtt.outbox import Outbox

_WRITE_BUFFER: Final = 256 * 1024
_PIECE: Final = 1024 * 1024
"""Bytes that are joined and written at once: in larger pieces the copies cost more than the calls."""
_FAREWELL: Final = 0.5
"""Seconds a broker has to close the connection after DISCONNECT, before we do."""

_PUBACK: Final = b"\x40\x02"
"""How PUBACK begins if it holds nothing but a packet identifier."""

log = logging.getLogger("juham.gmqtt")


class Link:
    """A coroutine that runs in a home of its own from :meth:`open` to :meth:`close`.

    ``receive`` is called with each packet (``messages`` with those of QoS 0 that come together, ``pubacks``
    with the identifiers of PUBACKs that say success and no more) and ``lost`` once if the connection ends by
    itself, all in the home's loop; none once :meth:`close` has been called. Making one raises for options
    that gmqtt cannot use.
    """

    def __init__(
        self,
        home: Home,
        client: Any,
        options: Options,
        receive: Callable[[Link, Packet], None],
        messages: Callable[[list[MqttMsg]], None],
        pubacks: Callable[[list[int]], None],
        lost: Callable[[Exception | None], None],
        attempt: Attempt,
    ) -> None:
        self.options = options
        self._attempt = attempt
        self.protocol: Any = None
        self.accepted = False
        self.late: deque[int] = deque()
        """Packet identifiers of messages that are acknowledged once they are handled."""
        self.aliases = TopicAliases(options.properties.get("topic_alias_maximum", 0))
        self._client = client
        self._receive = receive
        self._messages = messages
        self._pubacks = pubacks
        self._lost = lost
        self._connect_arguments = library.connect_arguments(options)
        self._decoder = Decoder(options.protocol, max_packet_size=options.largest_packet)
        self._home = home
        self._opened = Event()  # with what went wrong, if anything did:
        self._failure: BaseException | None = None
        self._connection: Any = None
        self._transport: Any = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._uncongested = asyncio.Event()
        self._uncongested.set()
        self._deliberate = False
        self._begun = False
        self._ended = False
        self._closing = False
        self._congested = False
        self._held = False
        self._stalled = False
        self._outbox = Outbox(options.most_answer_bytes)

    # --- from other threads -------------------------------------------------------------------------

    def open(self) -> None:
        """Connect; return once TLS stands and CONNECT is written. Raises what went wrong."""
        options = self.options
        deadline = time.monotonic() + options.connect_timeout
        context = options.make_ssl_context()
        sock = dial(options.host, options.effective_port, options.bind_address, deadline, self._attempt)
        self._dialled, self._context, self._deadline = Dialled(sock), context, deadline
        try:
            self._home.start(self._main)
        except BaseException:
            self._attempt.over()
            self._dialled.close()
            raise
        self._begun = True
        # The handshake has the deadline; a caller's loop may be too busy to notice.
        if not self._opened.wait(max(0.0, deadline - time.monotonic()) + _FAREWELL):
            raise ConnectTimeoutError(f"the event loop did not connect to {options.describe()}")
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else it holds this frame, which holds it
        self._attempt.check()

    def close(self, deliberate: bool) -> None:
        """End the coroutine and all that belongs to it. ``deliberate``: send what waits, then DISCONNECT."""
        self._outbox.close()
        self._closing = True
        self._deliberate = deliberate
        if self._begun:
            with contextlib.suppress(NotConnectedError):  # the loop is closed already
                self._home.call(self._stopping.set)
            self._home.join(self.options.close_timeout + 2 * _FAREWELL)

    def send(self, package: bytes | bytearray, bounded: bool = False, answer: bool = False) -> None:
        """Have a packet written, after those that were handed over before; from any thread.

        ``answer``: it is one that the broker is owed; while too many of them wait, nothing is read. Raises
        NotConnectedError, and QueueFullError if too much waits already and ``bounded`` is set.
        """
        if self._outbox.put(package, bounded, answer):
            self._home.call(self._flush)

    # --- in the loop, from whoever receives ----------------------------------------------------------

    def accept(self) -> None:
        """The broker has accepted the connection."""
        self.accepted = True
        library.set_accepted(self._client, accepted=True)

    def keep_alive(self, seconds: int) -> None:
        """The broker wants another keepalive (MQTT 5 section 3.2.2.3.14)."""
        self._connection.keep_alive(seconds)

    @property
    def held(self) -> bool:
        """True while nothing is read: then a silent broker says nothing about the connection."""
        return self._held

    def hold(self) -> None:
        """Read nothing more until :meth:`release`; what has been read waits too."""
        if not self._held and not self._is_over():
            self._held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again; from any thread."""
        with contextlib.suppress(NotConnectedError):  # the loop is closed already
            self._home.call(self._read_on)

    def end(self, error: Exception | None, *, report: bool = True) -> None:
        """End the connection because of what came, or what did not."""
        if self._ended:
            return
        self._ended = True
        self._outbox.close()
        library.set_accepted(self._client, accepted=False)
        if isinstance(error, MalformedPacketError) and self.options.protocol == MQTT_5 and self.accepted:
            self._connection.send_disconnect(error.reason_code)
            self._transport.close()
        else:
            self._transport.abort()
        if report and not self._closing:
            self._lost(error)

    # --- from gmqtt's side --------------------------------------------------------------------------

    def made(self, transport: Any, protocol: Any) -> None:
        """The transport stands, TLS included."""
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._transport = transport
        self.protocol = protocol
        self._connection = library.WireConnection(transport, protocol, self._client, self.options, self)
        library.attach(self._client, self._connection)

    def arrived(self, data: bytes) -> None:
        """Bytes have come."""
        if self._is_over():
            return
        self._connection.received()
        if self.accepted and data[:2] == _PUBACK and self._decoder.idle:
            acknowledged = _plain_pubacks(data)
            if acknowledged:
                self._guarded(partial(self._pubacks, acknowledged))
                return
        self._decoder.feed(data)
        self._guarded(self._take_packets)

    def _take_packets(self) -> None:
        messages: list[MqttMsg] = []
        try:
            for packet in self._decoder.packets():
                if type(packet) is Publish and packet.qos == 0 and _is_plain(packet) and self.accepted:
                    messages.append(
                        MqttMsg(packet.topic, packet.payload, 0, packet.retain, False, 0, packet.properties)
                    )
                    continue
                messages = self._report(messages)
                if self._is_over():
                    return
                self._receive(self, packet)
                if self._held:
                    return
        finally:
            self._report(messages)  # what came before a packet that is refused is in order

    def _report(self, messages: list[MqttMsg]) -> list[MqttMsg]:
        """Report those, if there are any; return a list for the next ones."""
        if not messages:
            return messages
        if not self._is_over():
            self._messages(messages)
        return []

    def _guarded(self, take: Callable[[], None]) -> None:
        """Have what has come dealt with, and send what that has led to."""
        self._outbox.promise()  # what is sent meanwhile goes at the end, at once
        try:
            take()
        except MalformedPacketError as exc:
            self.end(exc)
        except Exception as exc:
            if self._is_over():
                return  # nothing can be sent any more
            # Whoever failed: a connection that looks alive and is deaf would be worse than none.
            log.exception("a packet could not be dealt with; ending the connection")
            self.end(exc)
        self._flush()
        if self._outbox.owes_too_much and not self._stalled and not self._is_over():
            # It may well not read at all, and its silence has no excuse.
            self._stalled = True
            self._transport.pause_reading()

    def gone(self, error: Exception | None) -> None:
        """The transport is closed."""
        self.end(error)
        self._gone.set()
        self._uncongested.set()

    def write(self, data: bytes | bytearray) -> None:
        """Write what gmqtt itself sends: CONNECT, pings."""
        self._connection.sent()
        self._transport.write(data)

    def congested(self, yes: bool) -> None:
        """The transport's buffer is full, or no longer is."""
        self._congested = yes
        if yes:
            self._uncongested.clear()
        else:
            self._uncongested.set()
            self._flush()

    def silent(self, seconds: float) -> None:
        """The broker has answered no ping."""
        self.end(TimeoutError(f"the broker has been silent for {seconds:.1f} s"))

    # --- the inside ---------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._closing or self._ended

    def _read_on(self) -> None:
        if self._held and not self._ended and not self._transport.is_closing():
            self._held = False
            if not self._stalled:
                self._transport.resume_reading()
            self.arrived(b"")

    def _flush(self) -> None:
        if self._congested:
            return  # the end of the congestion flushes
        batch = self._outbox.take(_PIECE)
        if batch and not self._transport.is_closing():
            self.write(batch)
            if self._outbox.waiting and not self._congested:
                asyncio.get_running_loop().call_soon(self._flush)
        if self._stalled and not self._outbox.owes_too_much and not self._is_over():
            self._stalled = False
            self._connection.received()  # whatever has come meanwhile was not read
            if not self._held:
                self._transport.resume_reading()

    async def _main(self) -> None:
        try:
            await self._connect()
        except BaseException as exc:  # noqa: BLE001 - raised again by open()
            self._closing = True
            self._failure = exc
            self._opened.set()
        else:
            self._opened.set()
            await self._stopping.wait()
            if self._deliberate and not self._ended:
                await self._say_goodbye()
        finally:
            if self._transport is not None:
                if not self._gone.is_set():
                    self._transport.abort()
                # Of a transport whose making was cancelled, uvloop says nothing any more.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._gone.wait(), _FAREWELL)
                self._connection.release()
                library.attach(self._client, None)
            self._attempt.over()
            self._dialled.close()

    async def _connect(self) -> None:
        context, deadline = self._context, self._deadline
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: library.WireProtocol(self._client, self),
                sock=self._dialled.sock,
                ssl=context,
                server_hostname=self.options.host if context else None,
                ssl_handshake_timeout=max(0.001, deadline - time.monotonic()) if context else None,
            )
        except ConnectionAbortedError as exc:
            if time.monotonic() < deadline:
                raise
            where = self.options.describe()
            raise ConnectTimeoutError(f"the TLS handshake with {where} was not finished in time") from exc
        await self._connection.auth(**self._connect_arguments)
        self._connection.keep_alive(self.options.keepalive)

    async def _say_goodbye(self) -> None:
        """Get what waits and DISCONNECT on the wire, and let the broker close the connection."""
        transport = self._transport
        if not transport.is_closing():
            transport.resume_reading()  # else the end of the connection might not be seen
        batch = self._outbox.take()
        transport.set_write_buffer_limits(high=0)  # uncongested shall mean: all is written
        with contextlib.suppress(asyncio.TimeoutError, OSError):  # OSError: the broker was faster
            if batch:
                self.write(batch)
            self._connection.send_disconnect()
            await asyncio.wait_for(self._uncongested.wait(), self.options.close_timeout)
            # To close with bytes unread would reset the connection, and the broker might not read DISCONNECT.
            if self._gone.is_set():
                return
            if transport.can_write_eof():
                transport.write_eof()
            elif not transport.is_closing():  # asyncio's TLS cannot be aborted once it was closed twice
                transport.close()
            await asyncio.wait_for(self._gone.wait(), _FAREWELL)


def _is_plain(packet: Publish) -> bool:
    """True if the topic is in the packet, as it is without properties."""
    return not packet.properties or "topic_alias" not in packet.properties


def _plain_pubacks(data: bytes) -> list[int]:
    """The packet identifiers, if there is nothing else than such PUBACKs; none otherwise.

    They are most of what comes to a client that publishes, and the decoder would make an object of each.
    """
    count, rest = divmod(len(data), 4)
    if rest or data[0::4] != _PUBACK[:1] * count or data[1::4] != _PUBACK[1:] * count:
        return []
    keys = [high << 8 | low for high, low in zip(data[2::4], data[3::4], strict=True)]
    return [] if 0 in keys else keys
