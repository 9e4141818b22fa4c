"""A broker played by the test itself, packet by packet: for what no real broker does on purpose."""

from __future__ import annotations

import socket
from typing import TypeVar

from juham_core.wire import MQTT_5, Connack, Connect, Decoder, Packet, Pingreq, Pingresp, Properties, encode

P = TypeVar("P")


class Listener:
    """Listens on a port of its own; each connection is accepted and answered by the test."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.port = self._socket.getsockname()[1]
        self._peers: list[Peer] = []

    def accept(self) -> Peer:
        connection, _ = self._socket.accept()
        self._peers.append(Peer(connection))
        return self._peers[-1]

    def welcome(self, session_present=False, **properties) -> Peer:
        """Accept a connection and its CONNECT."""
        peer = self.accept()
        peer.connect = peer.expect(Connect)
        peer.send(Connack(session_present, 0, Properties(properties)))
        return peer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        for peer in self._peers:
            peer.close()


class Peer:
    """One connection, seen from the broker's end."""

    def __init__(self, connection):
        self.connect: Connect | None = None
        self._socket = connection
        self._socket.settimeout(10)
        self._decoder = Decoder()
        self._waiting: list[Packet] = []

    def receive(self) -> Packet | None:
        """The next packet; None once the client has closed the connection."""
        while not self._waiting:
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._decoder.feed(data)
            self._waiting += self._decoder.packets()
        return self._waiting.pop(0)

    def expect(self, kind: type[P]) -> P:
        """The next packet but PINGREQs, which is of this kind."""
        packet = self.receive()
        while isinstance(packet, Pingreq) and kind is not Pingreq:
            self.send(Pingresp())
            packet = self.receive()
        assert isinstance(packet, kind), packet
        return packet

    def send(self, *packets: Packet | bytes) -> None:
        protocol = self._decoder.protocol or MQTT_5
        encoded = [each if isinstance(each, bytes) else encode(each, protocol) for each in packets]
        self._socket.sendall(b"".join(encoded))

    def close(self) -> None:
        self._socket.close()
