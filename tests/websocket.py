"""A websocket endpoint before a broker that has none: it takes the frames apart and forwards the bytes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_CONTINUATION, _BINARY, _CLOSE, _PING = 0, 2, 8, 9


class WebsocketProxy:
    """Forwards websocket connections to ``target``; ``requests`` are their paths and headers."""

    def __init__(self, target):
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.requests = []
        self._open = []
        self._threads = [threading.Thread(target=self._listen, name="websocket proxy")]
        self._threads[0].start()

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        for sock in self._open:
            with contextlib.suppress(OSError):  # its client has closed it
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _listen(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self._open.append(near)
            thread = threading.Thread(target=self._serve, args=(near,), name="websocket proxy")
            self._threads.append(thread)
            thread.start()

    def _serve(self, near):
        with near, near.makefile("rb") as stream:
            path, headers = _request(stream)
            self.requests.append((path, headers))
            key = hashlib.sha1(headers["sec-websocket-key"].encode() + _MAGIC).digest()
            near.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\r\n\r\n"
            )
            with socket.create_connection(self._target) as far:
                back = threading.Thread(target=_forward_back, args=(far, near), name="websocket proxy")
                back.start()
                for opcode, data in _frames(stream):
                    if opcode in (_CONTINUATION, _BINARY):
                        far.sendall(data)
                with contextlib.suppress(OSError):  # the broker has closed it
                    far.shutdown(socket.SHUT_RDWR)
                back.join()


def _request(stream):
    path = stream.readline().decode().split()[1]
    headers = {}
    while (line := stream.readline().decode().strip()):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return path, headers


def _frames(stream):
    """Opcode and data of each frame until the client closes (RFC 6455 section 5.2)."""
    try:
        while head := stream.read(2):
            opcode, size = head[0] & 0x0F, head[1] & 0x7F
            if size > 125:
                size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
            mask = stream.read(4)
            data = stream.read(size)
            if opcode == _CLOSE:
                return
            yield opcode, _xor(data, (mask * (size // 4 + 1))[:size])
    except OSError:
        return


def _xor(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _forward_back(far, near):
    try:
        while data := far.recv(65_535):
            size = len(data)
            near.sendall(b"\x82" + (bytes([size]) if size < 126 else struct.pack("!BH", 126, size)) + data)
    except OSError:
        return
