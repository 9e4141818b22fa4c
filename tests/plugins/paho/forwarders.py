"""What stands between a client and a broker that has only TCP: a websocket, and a SOCKS5 proxy."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from abc import ABC, abstractmethod

from waiting import PATIENCE


class Forwarder(ABC):
    """Accepts connections, shakes hands in some protocol, and forwards bytes to a port of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()

    @abstractmethod
    def greet(self, near: socket.socket) -> None:
        """What comes before the bytes that are passed on."""

    def inward(self, near: socket.socket) -> bytes:
        return near.recv(65_536)

    def outward(self, data: bytes) -> bytes:
        return data

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                self.greet(near)
                far = socket.create_connection(("127.0.0.1", self.target))
                self._sockets.append(far)
                for forward in (self._in, self._out):
                    thread = threading.Thread(target=forward, args=(near, far), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _in(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self.inward(near):
                far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def _out(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65_536):
                near.sendall(self.outward(data))
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


class Websocket(Forwarder):
    """The least of RFC 6455 that lets a client speak MQTT to a broker that has only TCP."""

    def greet(self, near: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += near.recv(1)
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:-2])}
        self.requests.append((lines[0], headers))
        guid = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(guid.encode()).digest()).decode()
        near.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    def inward(self, near: socket.socket) -> bytes:
        head = exactly(near, 2)
        if not head or head[0] & 0x0F == 8:
            return b""
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", exactly(near, 2))
        elif size == 127:
            (size,) = struct.unpack("!Q", exactly(near, 8))
        mask = exactly(near, 4)
        return bytes(byte ^ mask[i % 4] for i, byte in enumerate(exactly(near, size)))

    def outward(self, data: bytes) -> bytes:
        if len(data) < 126:
            size = struct.pack("!B", len(data))
        elif len(data) < 65_536:
            size = struct.pack("!BH", 126, len(data))
        else:
            size = struct.pack("!BQ", 127, len(data))
        return b"\x82" + size + data


class Socks5(Forwarder):
    """A SOCKS5 proxy (RFC 1928) that takes everybody anywhere, which is always its target."""

    def greet(self, near: socket.socket) -> None:
        exactly(near, exactly(near, 2)[1])
        near.sendall(b"\x05\x00")
        kind = exactly(near, 4)[3]
        name = exactly(near, exactly(near, 1)[0]).decode() if kind == 3 else exactly(near, 4)
        (port,) = struct.unpack("!H", exactly(near, 2))
        self.requests.append((name, port))
        near.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01" + struct.pack("!H", self.target))
