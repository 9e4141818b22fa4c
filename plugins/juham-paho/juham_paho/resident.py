"""paho's client in the event loop of whoever uses it: no thread, and nobody to be woken for each burst.

What paho's own thread would do is done here by the loop's callbacks, on the same socket: it reads when there
is something to read, writes what has been published in one turn together, and looks at the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.enums import MQTTErrorCode

from juham_core.errors import ConnectError
from juham_paho import sockets

TICK: Final = 1.0
"""Seconds between two looks at the clock, at most; and no more than a quarter of the keepalive."""
STREAM: Final = 50
"""Messages of QoS 0 within ``NAP`` seconds, or in one read, after which more are expected."""
NAP: Final = 0.001
"""Seconds for which they may gather: to be told of each few costs more than to read them."""
GRACE: Final = 1.0
"""Seconds that a loop gets to notice that a connection is to end, beyond those it has for sending."""

SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS


def can_host(loop: asyncio.AbstractEventLoop) -> bool:
    """True for a loop that tells of sockets, which Windows' proactor does not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


class Resident:
    """One connection of one client, from CONNECT to the end of the socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        home: int,
        client: Any,
        owes_too_much: Callable[[], bool],
        ended: Callable[[Exception | None], None],
    ) -> None:
        """``home`` is the identifier of the loop's thread; ``ended`` is told there of the end, and why."""
        self.home = home
        self.streamed = 0
        """Messages of QoS 0 within ``NAP`` seconds, or in this read: counted by whoever handles them."""
        self._loop = loop
        self._client = client
        self._owes_too_much = owes_too_much
        self._report_end: Callable[[Exception | None], None] | None = ended
        self._sock: Any = None
        self._fd = -1
        self._reading = self._writing = False
        self._gathering: asyncio.TimerHandle | None = None  # instead of reading
        self._since = 0.0  # that is counted
        self._due = False
        self._over = self._forsaken = False
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._last: socket.socket | None = None

    def check_may_open(self) -> None:
        """Raise ConnectError in the loop's thread: connecting waits."""
        if threading.get_ident() == self.home:
            raise ConnectError(
                "connect_to_server would wait for the event loop it is called in: await AsyncMqtt.connect()"
            )

    def begin(self) -> None:
        """Run the connection, whose CONNECT is on its way.

        Raises ConnectError if it has ended already, or if the loop is closed.
        """
        sock = self._client._sock
        if sock is None:
            raise ConnectError("the connection ended before CONNECT was sent")
        self._sock, self._fd = sock, sock.fileno()
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError as exc:
            raise ConnectError("the event loop of this client is closed") from exc

    def write_soon(self, thread: int) -> bool:
        """Have what waits written, together with what else comes in this turn; False if the loop is closed.

        ``thread`` is the identifier of the calling thread.
        """
        if self._due:
            return True
        self._due = True
        try:
            if thread == self.home:
                self._loop.call_soon(self._write)
            else:
                self._loop.call_soon_threadsafe(self._write)
        except RuntimeError:
            self._due = False  # the next one is to be told, too
            return False
        return True

    def hold(self) -> None:
        """Read no further, and leave the packet that is being handled for later."""
        self._client._held = True

    def let_go(self) -> None:
        """End :meth:`hold`; called as a handler is, of which what is read then must be no part."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._go_on)

    def unwatch(self) -> None:
        """Before the socket is closed: have the loop forget it."""
        if self._fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
        self._reading = self._writing = False
        self._fd = -1

    def keep(self, sock: socket.socket) -> None:
        """Keep the connection, whose socket is about to be closed, for whoever leaves to linger over."""
        with contextlib.suppress(OSError):
            self._last = socket.fromfd(sock.fileno(), sock.family, sock.type)
        if self._forsaken:
            self._drop_last()

    def leave(self, goodbye: Callable[[], object] | None, patience: float) -> None:
        """End the connection: after ``goodbye``, which queues DISCONNECT, and what is to be sent before it.

        Blocks until nothing is left of it, for about ``patience`` seconds; the loop goes on meanwhile, unless
        this is called in it.
        """
        if self._sock is None:
            return  # it never came about
        if threading.get_ident() == self.home:
            self._part(goodbye, patience)
            self._write_until(time.monotonic() + patience)
            self._finish()
        else:
            self._leave_from_outside(goodbye, patience if goodbye else 0.0)
        last = self._last
        if last is not None:
            sockets.linger(last)
        self._forsaken = True  # before dropping it: a loop that was kept from running may do so only now
        self._drop_last()

    def _drop_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.close()

    def _leave_from_outside(self, goodbye: Callable[[], object] | None, patience: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._part, goodbye, patience)
            if self._ended.wait(GRACE + patience):
                return
            self._loop.call_soon_threadsafe(self._finish)
            if self._ended.wait(GRACE):
                return
        # The loop runs no more, or is kept from it. Should it go on, it closes this socket and nobody else's.
        self._report_end = None
        self._client._sock = None
        sockets.cut(self._sock)
        if self._loop.is_closed():
            self._sock.close()

    # --- in the loop ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._tick()
        self._run(self._client.loop_read)  # what came with the end of a handshake nobody would tell of

    def _tick(self) -> None:
        if self._over:
            return
        pause = min(TICK, self._client._keepalive / 4 or TICK)  # the broker may have set another one
        self._timer = self._loop.call_later(pause, self._tick)
        self._run(self._look_at_the_clock)

    def _look_at_the_clock(self) -> Any:
        if self._client._held:
            self._client._ping_t = 0.0  # the broker may well have answered: nobody has read it
        elif self._reading:
            # The same, where others have kept the loop from running until just now.
            rc = self._client.loop_read()
            if rc != SUCCESS or self._client._sock is not self._sock:
                return rc
        return self._client.loop_misc()

    def _read(self) -> None:
        self._gathering = None
        self._run(self._read_and_rest)

    def _read_and_rest(self) -> Any:
        client, now = self._client, time.monotonic()
        if client._held:
            return SUCCESS
        if now - self._since > NAP:
            self._since, self.streamed = now, 0
        rc = client.loop_read()
        if self.streamed >= STREAM and client._drained and not self._over:
            self._gathering = self._loop.call_later(NAP, self._read)
        return rc

    def _write(self) -> None:
        self._due = False  # before looking: what comes from now on is written in another turn
        self._run(self._client.loop_write)

    def _go_on(self) -> None:
        if self._client._sock is self._sock:
            self._client._held = False
            self._run(self._client.loop_read)

    def _part(self, goodbye: Callable[[], object] | None, patience: float) -> None:
        if goodbye is None:
            self._finish()
            return

        def part() -> Any:
            goodbye()
            return self._client.loop_write()

        self._run(part)
        if not (self._over or self._loop.is_closed()):
            self._patience = self._loop.call_later(patience, self._finish)

    def _run(self, step: Callable[[], Any]) -> None:
        """Have paho do something, and see what there is to wait for next."""
        if self._over:
            return
        if self._client._sock is not self._sock:
            self._finish()
            return
        try:
            rc = step()
        except Exception as exc:  # noqa: BLE001 - what it was becomes the reason that the connection ended
            self._finish(exc)
            return
        if rc != SUCCESS or self._client._sock is not self._sock:
            self._finish()
        else:
            self._watch()

    def _watch(self) -> None:
        if self._loop.is_closed():
            return
        client, fd = self._client, self._fd
        wants_write = bool(client._out_packet) and not self._due
        if wants_write is not self._writing:
            self._writing = wants_write
            if wants_write:
                self._loop.add_writer(fd, self._write)
            else:
                self._loop.remove_writer(fd)
        may_read = not (client._held or self._gathering is not None or self._owes_too_much())
        if may_read is not self._reading:
            self._reading = may_read
            if may_read:
                self._loop.add_reader(fd, self._read)
            else:
                self._loop.remove_reader(fd)

    def _write_until(self, deadline: float) -> None:
        """In the loop's thread, which somebody blocks by closing: send what waits."""
        while not self._over and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(OSError, ValueError):
                select.select([], [self._fd], [], min(left, TICK))
            self._run(self._client.loop_write)

    def _finish(self, error: Exception | None = None) -> None:
        """The connection has ended: let go of everything, and tell."""
        if self._over:
            return
        self._over = True
        for timer in (self._timer, self._gathering, self._patience):
            if timer is not None:
                timer.cancel()
        self.unwatch()
        with contextlib.suppress(Exception):  # a callback of the application for sockets
            if self._client._sock is self._sock:
                self._client._sock_close()
            else:  # closed already, unless somebody could not wait for this loop
                self._sock.close()
        try:
            if self._report_end is not None:
                self._report_end(error)
        finally:
            self._ended.set()
