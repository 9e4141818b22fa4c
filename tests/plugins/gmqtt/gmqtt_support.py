"""What the tests of the gmqtt backend share: brokers, a scripted peer, and quick clients."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from brokers import FOUND, free_port, require_mosquitto
from clients import SECONDS, clients_of
from juham_gmqtt import JGmqtt

from juham_core.wire import Connack, Connect, Decoder, Pingreq, Pingresp, encode

client, connected = clients_of(JGmqtt, "gmqtt-test")


def threads():
    return {thread for thread in threading.enumerate() if "gmqtt" in thread.name}


class Mosquitto:
    """A real Mosquitto on a free port, which keeps its port over restarts, and its sessions too."""

    def __init__(self, folder: Path, *lines: str) -> None:
        require_mosquitto(pytest.skip, pytest.fail)
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        basic = ["user root", "max_queued_messages 0", "max_inflight_messages 0"]
        allowed = [] if "allow_anonymous false" in lines else ["allow_anonymous true"]
        listener = f"listener {self.port} 127.0.0.1"
        self._config.write_text("\n".join([*basic, listener, *allowed, *lines]) + "\n")
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            [FOUND, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + SECONDS
        while not self._listens():
            assert time.monotonic() < deadline
            assert self._process.poll() is None, "mosquitto did not start"
        return self

    def _listens(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self._process.terminate()
        self._process.wait(SECONDS)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Peer:
    """A broker that does what the test says, packet by packet: connections wait in the listener's backlog."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(SECONDS)
        self.port = self.listener.getsockname()[1]
        self.protocol = 4
        self._sock = None

    def accept(self, **connack):
        """Take the next connection and answer its CONNECT; return that."""
        connect = self.accept_silently()
        self.send(Connack(**connack))
        return connect

    def accept_silently(self):
        self.cut()
        self._sock, _ = self.listener.accept()
        self._sock.settimeout(SECONDS)
        self._decoder = Decoder()
        self._packets = []
        connect = self.expect(Connect)
        self.protocol = connect.protocol
        return connect

    def read(self):
        """The next packet that is no ping; None at the end of the connection."""
        packet = self._read()
        while isinstance(packet, Pingreq):
            self.send(Pingresp())
            packet = self._read()
        return packet

    def packets_until_ping(self):
        packets = []
        while not isinstance(packet := self._read(), Pingreq):
            packets.append(packet)
        self.send(Pingresp())
        return packets

    def _read(self):
        while not self._packets:
            data = self._sock.recv(65536)
            if not data:
                return None
            self._decoder.feed(data)
            self._packets += self._decoder.packets()
        return self._packets.pop(0)

    def expect(self, kind):
        packet = self.read()
        assert isinstance(packet, kind), packet
        return packet

    def send(self, *packets):
        self.send_bytes(b"".join(encode(packet, self.protocol) for packet in packets))

    def send_bytes(self, data):
        self._sock.sendall(data)

    def cut(self):
        if self._sock is not None:
            self._sock.close()

    def reset(self):
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        self.listener.close()
