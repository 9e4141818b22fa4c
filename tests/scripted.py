"""A broker that the test plays itself, packet by packet: for faults that no real broker makes to order."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque

from waiting import PATIENCE

from juham_core.wire import (
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    encode,
)


class Conversation:
    """One connection of the client under test; the test says what the broker says."""

    def __init__(self, sock):
        self._sock = sock
        self._decoder = Decoder()
        self._packets: deque[Packet] = deque()
        self.began = time.monotonic()

    @property
    def client_address(self):
        return self._sock.getpeername()[0]

    def next(self, timeout=PATIENCE):
        """The next packet, pings aside (they are answered); None if the client has closed the connection."""
        self._sock.settimeout(timeout)
        try:
            while True:
                while self._packets:
                    packet = self._packets.popleft()
                    if not isinstance(packet, Pingreq):
                        return packet
                    self.send(Pingresp())
                data = self._sock.recv(65_536)
                if not data:
                    return None
                self._decoder.feed(data)
                self._packets.extend(self._decoder.packets())
        except TimeoutError:
            raise AssertionError(f"the client sent nothing within {timeout} s") from None
        except ConnectionError:
            return None

    def expect(self, kind, timeout=PATIENCE):
        """The next packet, which is of this kind."""
        packet = self.next(timeout)
        assert isinstance(packet, kind), packet
        return packet

    def send(self, *packets):
        for packet in packets:
            self.send_bytes(encode(packet, self._decoder.protocol or 4))

    def send_bytes(self, data):
        """Send packets that are encoded already."""
        self._sock.sendall(data)

    def accept(self, *, session_present=False, **properties):
        """Let the client in; its CONNECT."""
        connect = self.expect(Connect)
        self.send(Connack(session_present, 0, Properties(properties)))
        return connect

    def refuse(self, reason_code):
        """Refuse the connection, and close it as brokers do; the CONNECT."""
        connect = self.expect(Connect)
        self.send(Connack(reason_code=reason_code))
        self.close()
        return connect

    def grant(self):
        """Grant what the client subscribes to next; its filters."""
        packet = self.expect(Subscribe)
        self.send(Suback(packet.packet_id, [each.qos for each in packet.subscriptions]))
        return [each.topic_filter for each in packet.subscriptions]

    def take(self):
        """Acknowledge the next message, which is of QoS 1; its payload as text."""
        packet = self.expect(Publish)
        self.send(Puback(packet.packet_id))
        return packet.payload.decode()

    def ended(self, timeout=PATIENCE):
        """True if the client goes without a further word but DISCONNECT."""
        packet = self.next(timeout)
        return packet is None or (isinstance(packet, Disconnect) and self.next(timeout) is None)

    def close(self):
        self._sock.close()

    def reset(self):
        """Cut the connection: the client sees a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class ScriptedPeer:
    """Listens for the client under test; TCP connections stand before anybody takes them up."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.options = {"host": "127.0.0.1", "port": self.port}
        self._conversations = []

    def take_up(self, timeout=PATIENCE):
        """The next connection."""
        self._server.settimeout(timeout)
        try:
            sock, _ = self._server.accept()
        except TimeoutError:
            raise AssertionError(f"the client did not connect within {timeout} s") from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._conversations.append(Conversation(sock))
        return self._conversations[-1]

    def nobody_comes(self, seconds):
        """True if no further connection is made within this time."""
        self._server.settimeout(seconds)
        try:
            sock, _ = self._server.accept()
        except TimeoutError:
            return True
        sock.close()
        return False

    def close(self):
        self._server.close()
        for conversation in self._conversations:
            conversation.close()


@contextlib.contextmanager
def black_hole():
    """An address where a connection is neither made nor refused: its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        threading.Event().wait(0.01)
        yield {"host": "127.0.0.1", "port": server.getsockname()[1]}
