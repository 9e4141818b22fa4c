"""A websocket in front of a broker: what a client sends in binary frames goes on as bytes, and back.

Just what MQTT needs (MQTT 5 section 6, RFC 6455): one subprotocol, no extensions, frames of any size.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Self

_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3 of the RFC
_BINARY, _CLOSE, _PING, _PONG = 0x2, 0x8, 0x9, 0xA


class WebsocketBridge:
    """Listens on 127.0.0.1 and leads every websocket to the broker at ``target``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.requests: list[tuple[str, str]] = []
        """Of each websocket: path, and the subprotocols asked for."""
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()
        self._open: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes whoever blocks on it
        for thread in list(self._threads):
            thread.join()
        for sock in self._open:
            sock.close()

    def _spawn(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, name="websocket-bridge", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                web, _ = self._server.accept()
                self._open.append(web)
                self._spawn(self._serve, web)

    def _serve(self, web: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), web.makefile("rb") as reader:
            web.sendall(self._answer(_read_request(reader)))
            plain = socket.create_connection(self._target)
            self._open.append(plain)
            self._spawn(self._pass_back, plain, web)
            while True:
                kind, data = _read_frame(reader)
                if kind == _CLOSE:
                    break
                if kind == _PING:
                    web.sendall(_frame(_PONG, data))
                elif kind != _PONG:
                    plain.sendall(data)
            plain.shutdown(socket.SHUT_RDWR)

    def _answer(self, lines: list[bytes]) -> bytes:
        pairs = (line.partition(b":") for line in lines[1:])
        headers = {name.lower().strip(): value.strip() for name, _, value in pairs}
        protocol = headers.get(b"sec-websocket-protocol", b"")
        self.requests.append((lines[0].split()[1].decode(), protocol.decode()))
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + _KEY).digest()  # noqa: S324 - the RFC says so
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    @staticmethod
    def _pass_back(plain: socket.socket, web: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := plain.recv(1 << 16):
                web.sendall(_frame(_BINARY, data))
            web.sendall(_frame(_CLOSE, b""))
            web.shutdown(socket.SHUT_RDWR)
        plain.close()  # what the broker goes on sending nobody reads: it gets RST


def _frame(kind: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | kind, size)) + data
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | kind, 126, size) + data
    return struct.pack(">BBQ", 0x80 | kind, 127, size) + data


def _read_request(reader: BinaryIO) -> list[bytes]:
    """The lines of a request; EOFError if it is not finished."""
    lines = []
    while (line := reader.readline()).strip():
        lines.append(line.strip())
    if not line or not lines:
        raise EOFError
    return lines


def _read_frame(reader: BinaryIO) -> tuple[int, bytes]:
    """Kind and data of the next frame; a fragment counts as one of its own."""

    def read(size: int) -> bytes:
        data = reader.read(size)
        if len(data) < size:
            raise EOFError
        return data

    first, second = read(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", read(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", read(8))
    mask = read(4)  # a client always masks: section 5.1
    data = read(size)
    key = (mask * (size // 4 + 1))[:size]
    return first & 0x0F, (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
