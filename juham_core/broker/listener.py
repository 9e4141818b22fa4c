"""The embedded broker's ears: it accepts connections over TCP, TLS and unix sockets, and minds the clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl as tls
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from juham_core.broker.peer import Peer
from juham_core.broker.state import Broker
from juham_core.errors import ConnectError
from juham_core.wire import Packet, encode

FAREWELL: Final = 1.0
"""Seconds that clients have to go when the listener stops."""

log = logging.getLogger(__name__)


class Listener:
    """Sockets for a :class:`~juham_core.broker.Broker`, all served in the event loop that ran :meth:`start`.

    ``port`` 0 takes a free one. ``ssl`` makes the TCP port speak TLS; ``unix_path`` adds a unix socket.
    Not for other threads: :class:`~juham_core.broker.EmbeddedBroker` is.
    """

    def __init__(
        self,
        broker: Broker,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl: tls.SSLContext | None = None,
        unix_path: str | None = None,
    ) -> None:
        self.broker = broker
        self.host = host
        self.port = port
        self._ssl = ssl
        self._unix_path = unix_path
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: set[Peer] = set()
        self._empty = asyncio.Event()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._encoded: tuple[Packet | None, int, bytes] = (None, 0, b"")

    async def start(self) -> None:
        """Listen; afterwards ``port`` is the one in use. Raises ConnectError if an address cannot be had."""
        try:
            self._listen()
        except OSError as exc:
            self._close_sockets()
            where = f"{self.host}:{self.port}" + (f" and {self._unix_path}" if self._unix_path else "")
            raise ConnectError(
                f"the broker cannot listen on {where}: {exc}; "
                "give it another address, or port 0 for a free one"
            ) from exc
        self._empty.set()
        self._tick()

    async def stop(self) -> None:
        """Tell the clients, close everything, and return when no socket and no task is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_sockets()
        self.broker.shutdown()
        for peer in list(self._peers):
            peer.close()  # those that had sent no CONNECT yet
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._empty.wait(), FAREWELL)
        self.drop_connections()
        await self._empty.wait()
        if self._timer is not None:
            self._timer.cancel()

    def drop_connections(self) -> int:
        """Cut every connection without a word, as a failing network would; return how many there were."""
        for peer in list(self._peers):
            peer.abort()
        return len(self._peers)

    # --- for the peers ------------------------------------------------------------------------------------

    def opened(self, peer: Peer) -> None:
        """A connection is there."""
        self._peers.add(peer)
        self._empty.clear()

    def gone(self, peer: Peer) -> None:
        """A connection has ended."""
        self._peers.discard(peer)
        if not self._peers:
            self._empty.set()
        self.settle()

    def settle(self) -> None:
        """After anything that told the broker something: see to it that its clock is minded."""
        if self.broker.deadline != self._deadline:
            self._tick()

    def encoded(self, packet: Packet, protocol: int) -> bytes:
        """The packet's bytes; those of a message that goes to many clients are made once."""
        last, last_protocol, data = self._encoded
        if last is not packet or last_protocol != protocol:
            data = encode(packet, protocol)
            self._encoded = (packet, protocol, data)
        return data

    # --- inside -------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        delay = self.broker.tick()
        self._deadline = self.broker.deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _listen(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        tcp = socket.create_server((self.host, self.port), family=family, backlog=512)
        self.port = tcp.getsockname()[1]
        self._sockets.append(tcp)
        if self._unix_path is not None:
            if not hasattr(socket, "AF_UNIX"):
                raise OSError("this system has no unix sockets")
            local = socket.socket(socket.AF_UNIX)
            self._sockets.append(local)
            _remove_socket(self._unix_path)
            local.bind(self._unix_path)
            local.listen(512)
            self._spawn(self._accept(local, None))
        self._spawn(self._accept(tcp, self._ssl))

    async def _accept(self, sock: socket.socket, ssl: tls.SSLContext | None) -> None:
        sock.setblocking(False)
        while True:
            await self._accept_one(sock, ssl)

    async def _accept_one(self, sock: socket.socket, ssl: tls.SSLContext | None) -> None:
        try:
            accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
        except OSError as exc:
            # Out of file descriptors, say: those who are connected go on, and some may leave.
            log.warning("the broker cannot accept a connection: %s", exc)
            await asyncio.sleep(0.1)
        else:
            self._spawn(self._open(accepted, ssl))

    async def _open(self, accepted: socket.socket, ssl: tls.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        timeout = self.broker.limits.connect_timeout if ssl else None
        try:
            await loop.connect_accepted_socket(
                lambda: Peer(self), accepted, ssl=ssl, ssl_handshake_timeout=timeout
            )
        except OSError as exc:
            log.info("a client's TLS handshake failed: %s", exc)
            accepted.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._unix_path is not None:
            _remove_socket(self._unix_path)


def _remove_socket(path: str) -> None:
    """Remove a socket that an earlier run left behind; anything else of that name is not ours to remove."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()
