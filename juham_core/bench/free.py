"""A broker that costs nothing: it answers in bulk and delivers what it has encoded before.

With a real broker, the broker is the limit of the faster clients. This one speaks just enough MQTT for one
client: it accepts, grants, acknowledges, counts what it is sent, and sends what the bench orders. It is the
other end at the same time, and takes the same orders as ``counterpart``.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, Final

from juham_core.bench.frames import Frames, publishes
from juham_core.bench.pipes import own_output, say
from juham_core.wire import Connack, Connect, Decoder, Pingreq, Pingresp, Suback, Subscribe, encode
from juham_core.wire.packets import Unsuback, Unsubscribe

PIECE: Final = 256
UNACKNOWLEDGED: Final = 16_384
"""Publishes that may be unacknowledged: less than there are packet identifiers."""
READ: Final = 256 * 1024


class FreeClient:
    """The client that is connected, as the broker sees it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.protocol = 4
        self.waiting: list[bytes | memoryview] = []
        self._frames = Frames()
        self._decoder = Decoder()
        self.acknowledged = 0

    def read(self) -> int | None:
        """Answer what has come, and return how many PUBLISHes were among it; None at the end."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return None
        if not data:
            return None
        found = self._frames.feed(data)
        self.acknowledged += self._frames.take_acknowledged()
        answers = self._frames.answers()
        if answers:
            self.waiting.append(answers)
        for packet in self._frames.others:
            self._decoder.feed(packet)
            for one in self._decoder.packets():
                self._answer(one)
        self._frames.others.clear()
        return found

    def _answer(self, packet: Any) -> None:
        if isinstance(packet, Connect):
            self.protocol = packet.protocol
            self.waiting.append(encode(Connack(), self.protocol))
        elif isinstance(packet, Subscribe):
            codes = [one.qos for one in packet.subscriptions]
            self.waiting.append(encode(Suback(packet.packet_id, codes), self.protocol))
        elif isinstance(packet, Unsubscribe):
            self.waiting.append(
                encode(Unsuback(packet.packet_id, [0] * len(packet.topic_filters)), self.protocol)
            )
        elif isinstance(packet, Pingreq):
            self.waiting.append(encode(Pingresp(), self.protocol))

    def write(self) -> None:
        """Send what the socket takes."""
        while self.waiting:
            data = self.waiting[0]
            try:
                sent = self.socket.send(data)
            except (BlockingIOError, ConnectionError):
                return
            if sent < len(data):
                self.waiting[0] = memoryview(data)[sent:]
                return
            del self.waiting[0]


class FreeBroker:
    """Serves until its orders end."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._client: FreeClient | None = None
        self._order: dict[str, Any] = {}
        self._found = 0
        self._last = 0.0
        self._pieces: Iterator[bytes] = iter(())
        self._total = 0
        self._unsent = 0
        self._qos = 0
        self._deadline = 0.0
        self._orders = b""

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self) -> None:
        """Until standard input ends."""
        orders = sys.stdin.fileno()  # select sees nothing of what a file object has read ahead
        while True:
            client = self._client
            reading: list[Any] = [orders, self._listener, *([client.socket] if client else [])]
            writing = [client.socket] if client and client.waiting else []
            ready, _, _ = select.select(reading, writing, [], 0.2 if self._order else None)
            if orders in ready and not self._take_orders(os.read(orders, 65_536)):
                return
            if self._listener in ready:
                self._client = FreeClient(self._listener.accept()[0])
                continue
            if client is not None:
                if client.socket in ready:
                    self._read(client)
                self._send_more(client)
                client.write()
            if self._order and time.perf_counter() > self._deadline:
                self._finish()

    def _read(self, client: FreeClient) -> None:
        found = client.read()
        if found is None:
            client.socket.close()
            self._client = None
        elif found and self._order:
            self._last = time.perf_counter()
            self._deadline = self._last + self._order["patience"]
            self._found += found
            if self._order["do"] == "echo":
                client.waiting += itertools.islice(self._pieces, found)
            if self._found >= self._order["messages"]:
                self._finish()

    def _send_more(self, client: FreeClient) -> None:
        while self._unsent and not client.waiting:
            sent = self._total - self._unsent
            if self._qos and sent - client.acknowledged > UNACKNOWLEDGED:
                return
            client.waiting.append(next(self._pieces))
            self._unsent -= min(PIECE, self._unsent)
            client.write()

    def _finish(self) -> None:
        self._order = {}
        say(self._output, count=self._found, last=self._last)

    def _take_orders(self, data: bytes) -> bool:
        if not data:
            return False
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        client = self._client
        if "do" not in order:
            say(self._output, ready=True, url=f"mqtt://127.0.0.1:{self.port}")
            return
        messages, self._qos = order["messages"], order["qos"]
        protocol = client.protocol if client is not None else 4
        payload = b"x" * order["size"]
        self._found, self._last = 0, time.perf_counter()
        if order["do"] == "blast":
            self._pieces = publishes(order["topics"], payload, messages, self._qos, PIECE, protocol)
            self._total = self._unsent = messages
            if client is not None:
                client.acknowledged = 0
            say(self._output, started=time.perf_counter())
            return
        if order["do"] == "echo":
            self._pieces = publishes(order["topics"], payload, messages, self._qos, 1, protocol)
        self._order = order
        self._deadline = time.perf_counter() + order["patience"]
        say(self._output, ready=True)


def main() -> None:
    """Serve one client after the other, until there are no more orders."""
    output = own_output()
    with suppress(KeyboardInterrupt):
        FreeBroker(output).serve()


if __name__ == "__main__":
    main()
