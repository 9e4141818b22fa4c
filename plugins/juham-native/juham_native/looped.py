"""The link for programs with an event loop: it lives in the loop, and has no thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from juham_core.errors import ConnectError, ConnectTimeoutError, NotConnectedError
from juham_native.link import FAREWELL, Link

_BURST: Final = 30e-6
"""Seconds between two packets below which they are taken for a burst, and gathered."""
_WRITE_BUFFER: Final = 256 * 1024


class LoopedLink(Link, asyncio.Protocol):
    """A transport of the caller's loop, asyncio's or uvloop's.

    Connecting and the handshakes block; they are for another thread. All that is reported, is in the loop's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, home: int, *args: Any) -> None:
        """``home`` is the identifier of the loop's thread; the rest is the :class:`Link`'s."""
        super().__init__(*args)
        self._loop = loop
        self._home = home
        self._transport: Any = None
        self._gone = threading.Event()
        self._plain = b""  # what came with the end of the handshakes
        self._early = b""  # and what came before we could take it
        self._stopping = False
        self._farewell = False
        self._congested = False
        self._stalled = False  # nothing is read until less is owed
        self._last_flush = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- opening and closing, on another thread -----------------------------------------------------

    def open(self) -> None:
        """Connect; return once TLS and the websocket stand and CONNECT is on its way. Raises OSError."""
        if threading.get_ident() == self._home:
            raise ConnectError(
                "connect_to_server would wait for the event loop it is called in: await AsyncMqtt.connect()"
            )
        super().open()

    def _begin(self, sock: socket.socket, early: bytes, deadline: float) -> None:
        self._plain = early
        made: Future[None] = Future()
        try:
            self._loop.call_soon_threadsafe(self._connect, sock, made)
        except RuntimeError as exc:
            raise ConnectError("the event loop of this client is closed") from exc
        try:
            made.result(max(0.0, deadline - time.monotonic()) + FAREWELL)
        except FutureTimeoutError as exc:
            self._stopping = True
            raise ConnectTimeoutError(
                f"the event loop did not connect to {self.options.describe()} in time"
            ) from exc

    def close(self, deliberate: bool) -> None:
        """End the connection. ``deliberate``: send what waits, then DISCONNECT."""
        if self._transport is None:
            self._stopping = True
            return  # it never came about
        self._stopping = True
        self._close_outgoing(deliberate)
        try:
            self._loop.call_soon_threadsafe(self._leave, deliberate)
        except RuntimeError:  # the loop is closed
            return
        if threading.get_ident() == self._home:
            return
        patience = self.options.close_timeout if deliberate else 0.0
        if not self._gone.wait(patience + FAREWELL):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._transport.abort)
                self._gone.wait(FAREWELL)

    def _is_closing(self) -> bool:
        return self._stopping

    # --- in the loop --------------------------------------------------------------------------------

    def _connect(self, sock: socket.socket, made: Future[None]) -> None:
        unix = sock.family == getattr(socket, "AF_UNIX", None)
        connect = self._loop.create_unix_connection if unix else self._loop.create_connection
        task = self._loop.create_task(connect(lambda: self, sock=sock))

        def connected(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                made.set_exception(ConnectError("the event loop ended while it was connecting"))
            elif (error := task.exception()) is not None:
                made.set_exception(error)
            else:
                self._take_over(sock, task.result()[0], made)

        task.add_done_callback(connected)

    def _take_over(self, sock: socket.socket, transport: Any, made: Future[None]) -> None:
        """What is sent before create_connection has returned might end the transport too early."""
        if self._gone.is_set():
            # uvloop has closed the descriptor, but not the object, which would close it once more.
            sock.detach()
            made.set_exception(ConnectError(f"{self.options.describe()} ended the connection at once"))
            return
        if self._stopping:
            transport.abort()
            made.set_exception(ConnectError("the client was closed while it was connecting"))
            return
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._transport = transport
        with contextlib.suppress(NotConnectedError):
            self.send(self.protocol.connect())
        made.set_result(None)
        if self._plain:
            self._arrived(self._plain, plain=True)
            self._flush_now()
        if self._early:
            self.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes have come."""
        if self._transport is None:
            self._early += data
            return
        if self._ended or self._stopping:
            return
        was_accepted = self.protocol.accepted
        self._arrived(data)
        self._flush_now()
        if self._owes_too_much and not self._transport.is_closing():
            self._stalled = True
            self._transport.pause_reading()
        if self.protocol.accepted and not was_accepted:
            self._look_at_the_clock()  # the broker may have set a keepalive of its own

    def eof_received(self) -> bool:
        """asyncio's: the broker sends no more; the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the transport is closed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._end(exc)
        self._gone.set()

    def pause_writing(self) -> None:
        """asyncio's: the transport's buffer is full."""
        self._congested = True

    def resume_writing(self) -> None:
        """asyncio's: the transport's buffer has room again."""
        self._congested = False
        self._flush_now()
        if self._farewell:
            self._half_close()

    def push(self) -> None:
        """Nobody goes on before the event loop comes to it, and then all is sent."""

    def _flush_at_once(self) -> bool:
        if threading.get_ident() != self._home or time.perf_counter() - self._last_flush < _BURST:
            return False
        return self._flush()

    def _flush(self) -> bool:
        """With the lock held: give the transport all that waits; False while it is congested."""
        if self._congested:
            self._flush_is_due = True  # the end of the congestion flushes
            return True
        self._flush_is_due = False
        try:
            data = self._take()
        except OSError:
            self._closed = True
            self._transport.abort()
            return True
        if data and not self._transport.is_closing():
            self._transport.write(data)
            self._last_flush = time.perf_counter()
            self._last_sent = time.monotonic()
        self._unsent = 0
        return True

    def _flush_now(self) -> None:
        with self._lock:
            self._flush()
        if self._stalled and not self._owes_too_much:
            self._stalled = False
            self._read_on()

    def _wake(self) -> None:
        try:
            if threading.get_ident() == self._home:
                self._loop.call_soon(self._flush_now)
            else:
                self._loop.call_soon_threadsafe(self._flush_now)
        except RuntimeError as exc:
            raise NotConnectedError("the event loop of this client is closed") from exc

    def _cut(self) -> None:
        if self._transport.is_closing():
            return
        if self._packages and not self._congested:
            self._flush_now()
            self._transport.close()
        else:
            self._transport.abort()

    def _pause_reading(self) -> None:
        self._transport.pause_reading()

    def _resume_reading(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._read_on)

    def _read_on(self) -> None:
        if not self._held and not self._stalled and not self._transport.is_closing():
            self._transport.resume_reading()

    def _look_at_the_clock(self) -> None:
        pause = self._mind_the_clock()
        if pause is not None and not self._stopping:
            self._timer = self._loop.call_later(pause, self._look_at_the_clock)

    def _leave(self, deliberate: bool) -> None:
        """Close; after what waits and DISCONNECT, if it is deliberate and the connection stands."""
        transport = self._transport
        if self._ended or not deliberate or transport.is_closing():
            transport.abort()
            return
        self._ended = True
        self._farewell = True
        transport.resume_reading()  # else the end of the connection might not be seen
        self._flush_now()
        if self._layer is not None and not self._congested:
            transport.write(self._layer.closing())
        transport.set_write_buffer_limits(high=0)  # uncongested shall mean: all is written
        if not transport.get_write_buffer_size():
            self._half_close()
        self._loop.call_later(self.options.close_timeout + FAREWELL, transport.abort)

    def _half_close(self) -> None:
        """Let the broker close: to close with bytes unread would reset, and it might not read DISCONNECT."""
        self._farewell = False
        transport = self._transport
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(FAREWELL, transport.abort)
        else:
            transport.close()
