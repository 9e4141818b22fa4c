"""The other end of a measurement: an MQTT client that costs next to nothing, on a blocking socket.

It knows what it will send and receive, so it encodes once, sends thousands of packets in one piece, and
counts what arrives by comparing bytes. The broker and the client under test have the machine to themselves.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final

from juham_core.bench.frames import Frames, publishes
from juham_core.errors import ConnectError, NotSupportedError
from juham_core.options import Options
from juham_core.wire import Connack, Connect, Decoder, Suback, Subscribe, Subscription, encode

PIECE: Final = 256
"""Packets sent in one piece."""
UNACKNOWLEDGED: Final = 1024
"""Publishes that may be unacknowledged: enough never to wait for the broker, and no more than it bears."""
READ: Final = 256 * 1024


class LeanClient:
    """Connects at once. Its methods block; they are called on one thread."""

    def __init__(self, options: Options, client_id: str) -> None:
        self._socket = _open(options)
        self._send(
            encode(
                Connect(
                    client_id,
                    keepalive=0,
                    username=options.username,
                    password=options.password_bytes,
                )
            )
        )
        connack = self._answer(Connack)
        if connack.reason_code:
            raise ConnectError(f"the broker refuses the bench's counterpart: {connack.reason_code:#04x}")

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Return once the broker has granted it."""
        self._send(encode(Subscribe(65_535, [Subscription(topic_filter, qos)])))
        suback = self._answer(Suback)
        if suback.reason_codes != [qos]:
            raise ConnectError(f"the broker grants {suback.reason_codes}, not QoS {qos}, on {topic_filter}")

    def count(self, messages: int, patience: float, pause: float = 0.0) -> tuple[int, float]:
        """Receive so many messages, or until none has come for ``patience`` seconds.

        Return how many came, and when the last did. ``pause``: seconds between looks at the socket, where
        only the number matters, so that what comes by ones costs no more than what comes by thousands.
        """
        frames = Frames()
        found, last = 0, time.perf_counter()
        while found < messages:
            if pause:
                time.sleep(pause)
            data = self._receive(patience)
            if not data:
                break
            arrived = frames.feed(data)
            answer = frames.answers()
            if answer:
                self._send(answer)
            if arrived:
                found += arrived
                last = time.perf_counter()
        return found, last

    def blast(self, topics: Sequence[str], payload: bytes, messages: int, qos: int) -> float:
        """Publish to the topics in turn, as fast as the broker takes it; return when it began."""
        started = time.perf_counter()
        sent = acknowledged = 0
        frames = Frames()
        for piece in publishes(topics, payload, messages, qos, PIECE):
            sent += min(PIECE, messages - sent)
            self._send(piece, frames)
            while qos and sent - acknowledged > (UNACKNOWLEDGED if sent < messages else 0):
                data = self._receive(10.0)
                if not data:
                    raise ConnectError(f"the broker acknowledged {acknowledged} of {messages} publishes")
                frames.feed(data)
                self._send(frames.answers())
                acknowledged += frames.take_acknowledged()
        return started

    def echo(self, topic: str, payload: bytes, messages: int, qos: int, patience: float) -> int:
        """Answer so many messages, each with one; until none has come for ``patience`` seconds: how many."""
        frames = Frames()
        found = 0
        pieces = publishes([topic], payload, messages, qos, 1)
        while found < messages:
            data = self._receive(patience)
            if not data:
                break
            arrived = frames.feed(data)
            answers = frames.answers()
            if arrived or answers:
                self._send(b"".join(next(pieces) for _ in range(arrived)) + answers)
            found += arrived
        return found

    def drain(self) -> None:
        """Throw away what has come since the last round: acknowledgements, and messages that were late."""
        frames = Frames()
        while data := self._receive(0.0):
            frames.feed(data)
            self._send(frames.answers())

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _answer(self, kind: type[Any]) -> Any:
        decoder = Decoder(4)
        while True:
            data = self._receive(10.0)
            if not data:
                raise ConnectError("the broker does not answer the bench's counterpart")
            decoder.feed(data)
            for packet in decoder.packets():
                if isinstance(packet, kind):
                    return packet

    def _receive(self, patience: float) -> bytes:
        """What has come; nothing if that takes longer than so many seconds."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return self._socket.recv(READ)
        ready, _, _ = select.select([self._socket], [], [], patience)
        if not ready:
            return b""
        data = self._socket.recv(READ)
        if not data:
            raise ConnectError("the broker has closed the connection of the bench's counterpart")
        return data

    def _send(self, data: bytes, frames: Frames | None = None) -> None:
        if not data:
            return
        if frames is None or isinstance(self._socket, ssl.SSLSocket):
            self._socket.sendall(data)
            return
        # A broker that waits for us to read would otherwise never read what we send.
        rest = memoryview(data)
        while rest:
            readable, writable, _ = select.select([self._socket], [self._socket], [], 10.0)
            if not readable and not writable:
                raise ConnectError("the broker does not read what the bench's counterpart sends")
            if readable:
                arrived = self._socket.recv(READ)
                if not arrived:
                    raise ConnectError("the broker has closed the connection of the bench's counterpart")
                frames.feed(arrived)
            if writable:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]


def _open(options: Options) -> socket.socket:
    where = options.describe()
    try:
        if options.transport == "unix":
            made = socket.socket(socket.AF_UNIX)
            made.connect(options.host)
            return made
        if options.transport != "tcp":
            raise NotSupportedError(f"the bench's counterpart speaks mqtt, mqtts and unix, not {where}")
        made = socket.create_connection((options.host, options.effective_port), options.connect_timeout)
        made.settimeout(None)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = options.make_ssl_context()
        return context.wrap_socket(made, server_hostname=options.host) if context else made
    except OSError as exc:
        raise ConnectError(f"the bench's counterpart cannot connect to {where}: {exc}") from exc

