"""A client that a broker sends what is no MQTT, the bytes for it, and the memory that it may cost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Inbox
from juham_core.wire import MQTT_5, Subscribe

MEGABYTE = 1024 * 1024


class Victim:
    """A client that is subscribed, and suffers what the broker sends.

    What looks like the beginning of a packet it may wait for the rest of: until ack_timeout.
    """

    def __init__(self, kit: Kit, **options: Any) -> None:
        self._kit = kit
        self._sent = 0
        self.strange: list[str] = []
        """Topics of messages that are not the trial's own."""
        self.client: JMqtt = kit.create(**{"ack_timeout": 0.25, **options})
        kit.connect(self.client)
        self._inbox: Inbox = kit.inbox(self.client, kit.topic)

    def suffers(self, data: bytes) -> None:
        """Send the client these bytes, and see to it that it goes on."""
        self._kit.eventually(lambda: self._send(data), "a connection")
        self.goes_on(data)

    def subscribes(self, codes: bytes) -> None:
        """Have it subscribe, answer with these codes, and see to it that there is an outcome."""
        kit, topic = self._kit, f"{self._kit.topic}/{codes.hex()}"
        wanted = kit.broker.on("subscribe", nth=1, where=lambda packet: _asks_for(packet, topic)).withhold()
        receipt = self.client.subscribe(topic, 1)
        wanted.wait()
        packet = kit.broker.wait_for("subscribe", where=lambda packet: _asks_for(packet, topic))
        five = b"\x00" if kit.protocol == MQTT_5 else b""
        kit.broker.send(frame(0x90, packet.packet_id.to_bytes(2, "big") + five + codes))
        with contextlib.suppress(JuhamError):
            receipt.wait(kit.patience)
        assert receipt.done(), f"no answer after a SUBACK with {codes!r}"
        self.goes_on()

    def goes_on(self, after: bytes = b"") -> None:
        """Fail unless the client, on this connection or the next, publishes and receives."""
        deadline = time.monotonic() + self._kit.patience
        while not self._comes_back():
            assert time.monotonic() < deadline, f"the client does not go on after {after[:40]!r}"

    def _send(self, data: bytes) -> bool:
        try:
            self._kit.broker.send(data)
        except AssertionError:  # it is between two connections
            return False
        return True

    def _comes_back(self) -> bool:
        """Publish and receive: in vain if the connection ends just then."""
        self._sent += 1
        payload = b"%d" % self._sent
        with contextlib.suppress(AssertionError, JuhamError):
            self.client.publish(self._kit.topic, payload, qos=1).wait(self._kit.patience / 5)
            while True:
                message = self._inbox.next(0.5)
                if message.topic != self._kit.topic:
                    self.strange.append(message.topic)
                elif message.payload == payload:
                    return True
        return False


def _asks_for(packet: Subscribe, topic_filter: str) -> bool:
    return any(each.topic_filter == topic_filter for each in packet.subscriptions)


def frame(first: int, body: bytes) -> bytes:
    return begin(first, len(body)) + body


def begin(first: int, size: int) -> bytes:
    """A fixed header (section 2.1)."""
    header = bytearray([first])
    while True:
        size, byte = size >> 7, size & 0x7F
        header.append(byte | 0x80 if size else byte)
        if not size:
            return bytes(header)


def publish(kit: Kit, topic: bytes, payload: bytes = b"x", properties: bytes = b"") -> bytes:
    """PUBLISH of QoS 0, with whatever for a topic; the properties encoded and short."""
    five = bytes([len(properties)]) + properties if kit.protocol == MQTT_5 else b""
    return frame(0x30, len(topic).to_bytes(2, "big") + topic + five + payload)


@contextlib.contextmanager
def modest(kit: Kit, megabytes: int) -> Iterator[None]:
    """Fail if the process takes that much more memory meanwhile, at any time that is looked at."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        kit.not_applicable("only Linux tells how much memory a process takes")
    done = threading.Event()
    most = 0.0

    def resident() -> float:
        return int(statm.read_text().split()[1]) * 4096 / MEGABYTE

    before = resident()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, resident() - before)

    watcher = threading.Thread(target=watch, name="memory-watcher")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert most < megabytes, f"it took {most:.0f} MB"
