"""What the tests of the broker's listener share: a client of nothing but a socket and the codec."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

from juham_core.wire import MQTT_5, Connack, Connect, Decoder, Publish, Subscribe, Subscription, encode

PATIENCE = 10.0


class RawClient:
    """A blocking client; what does not come within :data:`PATIENCE` seconds raises TimeoutError."""

    def __init__(self, broker, client_id="raw", *, protocol=MQTT_5, sock=None, connect=True, **options):
        self.protocol = protocol
        self.sock = sock or socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = Decoder(protocol)
        if connect:
            self.send(Connect(client_id, protocol=protocol, **options))
            self.connack = self.receive(Connack)

    def send(self, *packets):
        self.sock.sendall(b"".join(encode(packet, self.protocol) for packet in packets))

    def send_until_stalled(self, data):
        """Send the data over and over until the broker takes no more for half a second; the bytes sent."""
        sent = 0
        self.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                sent += self.sock.send(data[sent % len(data) :])
        self.sock.settimeout(PATIENCE)
        return sent

    def packets(self):
        """Every packet until the broker closes the connection."""
        while True:
            yield from self._decoder.packets()
            try:
                data = self.sock.recv(65_536)
            except ConnectionResetError:
                return
            if not data:
                return
            self._decoder.feed(data)

    def receive(self, kind):
        """The next packet, which is of this kind."""
        packet = next(self.packets())
        assert isinstance(packet, kind), packet
        return packet

    def subscribe(self, topic_filter, qos=0):
        self.send(Subscribe(1, [Subscription(topic_filter, qos)]))
        assert next(self.packets()).reason_codes == [qos]

    def exchange(self, topic, payload):
        """Publish what this client is subscribed to, and see it come back."""
        self.send(Publish(topic, payload))
        assert self.receive(Publish).payload == payload

    def is_cut(self):
        """Whether the broker ends the connection; waits for it."""
        return list(self.packets()) == []

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def eventually(condition):
    """Wait for what another thread brings about and tells nobody."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.001)


def held():
    """How many threads and file descriptors this process has."""
    files = Path("/proc/self/fd")
    return threading.active_count(), len(list(files.iterdir())) if files.exists() else 0


@contextlib.contextmanager
def leaves_nothing():
    """What is started within must be gone at the end."""
    threads, files = held()
    yield
    threads_left, files_left = held()
    assert threads_left <= threads
    assert files_left <= files
