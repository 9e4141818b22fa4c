"""Cases about a broker that means harm, or is broken: it cannot crash, hang or exhaust the client.

Whether a client ends the connection or ignores what came is its own choice; then it goes on.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from juham_core.errors import ConnectError, JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Inbox
from juham_core.wire import MQTT_5, Subscribe

_BUSY = 2.0
"""Seconds that a busy machine may add."""
_MEGABYTE = 1024 * 1024
_LARGEST = 268_435_455
"""The largest remaining length (section 2.1.4)."""
_NOT_UTF8 = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"a\xf5\x80\x80\x80", b"\xe2\x82")


class HostileCases:
    """The subject ``hostile``."""

    # --- what is no MQTT ----------------------------------------------------------------------------

    @case("hostile.garbage", on=FAULTS, seconds=60)
    def garbage(self, kit: Kit) -> None:
        """Bytes that are no MQTT, on a connection that stands, do not keep the client from going on."""
        victim = _Victim(kit)
        chance = random.Random(7)  # noqa: S311 - the same garbage every time
        for data in (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            b"\x15\x03\x01\x00\x02\x02\x16",
            b"\x00" * 64,
            b"\xff" * 64,
            b"\x30\x80\x80\x80\x80\x01",
            *(chance.randbytes(200) for _ in range(6)),
        ):
            victim.suffers(data)

    @case("hostile.garbage_for_connack", on=FAULTS, seconds=60)
    def garbage_for_connack(self, kit: Kit) -> None:
        """Bytes that are no CONNACK, in the place of one, do not keep the client from going on."""
        answers = (
            b"\x00" * 32,
            b"\xff" * 32,
            b"\x20\x00",
            b"\x20\x02\x02\x00" if kit.protocol != MQTT_5 else b"\x20\x03\x02\x00\x00",
            b"\x90\x03\x00\x01\x00",
            _publish(kit, b"too/soon"),
            b"\xd0\x00" * 10,
        )
        for number, answer in enumerate(answers, 2):
            kit.broker.on("connect", connection=number).answer(answer)
        victim = _Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()

    @case("hostile.endless_connack", on=FAULTS)
    def endless_connack(self, kit: Kit) -> None:
        """A CONNACK that never ends, byte by byte, is given up after connect_timeout."""
        beginnings = (b"\x20\xff\xff\xff\x7f\x00\x00", b"\x20", b"\x20\x7f\x00\x00\x7c")
        for number, beginning in enumerate(beginnings, 2):
            kit.broker.on("connect", connection=number).answer(beginning)
        victim = _Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        for number, beginning in enumerate(beginnings, 2):
            kit.broker.wait_for("connect", connection=number)
            began = time.monotonic()
            _drip(kit, number, b"\x80" if len(beginning) == 1 else b"\x00")
            assert time.monotonic() - began < 0.5 + _BUSY, beginning
        victim.goes_on()

    @case("hostile.text", on=FAULTS)
    def text(self, kit: Kit) -> None:
        """A topic that is not UTF-8, or has NUL in it, reaches no handler (section 1.5.4)."""
        victim = _Victim(kit)
        for topic in (*_NOT_UTF8, b"a\x00b"):
            victim.suffers(_publish(kit, topic))
        if kit.protocol == MQTT_5:
            for text in _NOT_UTF8:
                pair = b"\x26\x00\x01k" + len(text).to_bytes(2, "big") + text
                victim.suffers(_publish(kit, b"t", properties=pair))
        assert victim.strange == [], "what is no text has reached the handler"

    @case("hostile.topic", on=FAULTS)
    def topic(self, kit: Kit) -> None:
        """A message whose topic is empty or has wildcards reaches no handler (section 3.3.2.1)."""
        victim = _Victim(kit)
        for topic in (b"a/#", b"#", b"+", b"a/+/b", b""):
            victim.suffers(_publish(kit, topic))
        assert victim.strange == [], "a topic that MQTT forbids has reached the handler"

    # --- what is MQTT, at the wrong time ------------------------------------------------------------

    @case("hostile.packets", on=FAULTS, seconds=60)
    def packets(self, kit: Kit) -> None:
        """Packets that a broker may not send, or not now, do not keep the client from going on."""
        victim = _Victim(kit)
        five = b"\x00" if kit.protocol == MQTT_5 else b""
        for data in (
            _frame(0x10, b"\x00\x04MQTT" + bytes([kit.protocol, 2, 0, 10]) + five + b"\x00\x00"),
            _frame(0x20, b"\x00\x00" + five),
            _frame(0x20, b"\x00\x05" + five),
            _frame(0x82, b"\x00\x01" + five + b"\x00\x01#\x00"),
            _frame(0xA2, b"\x00\x01" + five + b"\x00\x01#"),
            b"\xc0\x00",
            b"\xd0\x00",
            b"\xe0\x00",
            b"\xf0\x00",
            b"\x00\x00",
            _frame(0x36, b"\x00\x01t\x00\x01" + five),
            _frame(0x32, b"\x00\x01t\x00\x00" + five),
            _frame(0x4F, b"\x00\x01"),
            _frame(0x60, b"\x00\x01"),
            _frame(0x40, b""),
            _frame(0x90, b"\x00\x01" + five),
        ):
            victim.suffers(data)

    @case("hostile.unknown_identifiers", on=FAULTS)
    def unknown_identifiers(self, kit: Kit) -> None:
        """Answers to what was never sent are ignored, or end the connection."""
        victim = _Victim(kit)
        five = b"\x00" if kit.protocol == MQTT_5 else b""
        for kind in (0x40, 0x50, 0x62, 0x70):
            victim.suffers(_frame(kind, b"\x77\x77"))
        victim.suffers(_frame(0x90, b"\x77\x77" + five + b"\x00"))
        victim.suffers(_frame(0xB0, b"\x77\x77" + five + (b"\x00" if five else b"")))

    @case("hostile.pubrec_flood", on=FAULTS)
    def pubrec_flood(self, kit: Kit) -> None:
        """Twenty thousand PUBRECs for what was never sent are survived, in bounded memory."""
        victim = _Victim(kit, ack_timeout=20.0)
        flood = b"".join(_frame(0x50, number.to_bytes(2, "big")) for number in range(30_000, 50_000))
        with _modest(kit, 64):
            victim.suffers(flood)

    @case("hostile.suback_count", on=FAULTS)
    def suback_count(self, kit: Kit) -> None:
        """A SUBACK with more or fewer codes than filters leaves no receipt without an answer."""
        victim = _Victim(kit)
        for codes in (b"", b"\x00\x00", b"\x80\x00\x01"):
            victim.subscribes(codes)

    @case("hostile.reason_codes", on=FAULTS)
    def reason_codes(self, kit: Kit) -> None:
        """Reason codes that do not exist do not keep the client from going on."""
        five = kit.protocol == MQTT_5
        codes = (0x01, 0x7F, 0x92, 0xFF) if five else (6, 0x7F, 0xFF)
        for number, code in enumerate(codes, 2):
            kit.broker.on("connect", connection=number).answer(
                _frame(0x20, bytes([0, code]) + (b"\x00" if five else b""))
            )
        victim = _Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()
        if five:
            for code in (0x01, 0x42, 0xEE):
                victim.suffers(_frame(0xE0, bytes([code, 0])))
        for code in (0x03, 0x55, 0xFE):
            victim.subscribes(bytes([code]))

    @case("hostile.refusal_unknown", on=FAULTS)
    def refusal_unknown(self, kit: Kit) -> None:
        """A CONNACK that refuses for a reason that does not exist raises ConnectError."""
        code = 0xFD if kit.protocol == MQTT_5 else 0x7D
        answer = _frame(0x20, bytes([0, code]) + (b"\x00" if kit.protocol == MQTT_5 else b""))
        kit.broker.on("connect").answer(answer)
        client = kit.create(reconnect=False, connect_timeout=1.0)
        with kit.raises(ConnectError):
            client.connect_to_server()
            client.wait_until_connected(kit.patience)

    @case("hostile.topic_alias", on=FAULTS, needs="mqtt_5")
    def topic_alias(self, kit: Kit) -> None:
        """Topic aliases that were not allowed, or never set, reach no handler (section 3.3.2.3.4)."""
        victim = _Victim(kit, properties={"topic_alias_maximum": 2})
        for alias in (0, 1, 3, 0xFFFF):
            properties = b"\x23" + alias.to_bytes(2, "big")
            victim.suffers(_publish(kit, b"", properties=properties))
            if alias != 1:
                victim.suffers(_publish(kit, b"aliased", properties=properties))
        assert victim.strange == [], "a message under a wrong alias has reached the handler"

    @case("hostile.connack_values", on=FAULTS, needs="mqtt_5")
    def connack_values(self, kit: Kit) -> None:
        """Limits of 0, which CONNACK may not name, do not stop the client for good (section 3.2.2.3)."""
        answers = (b"\x21\x00\x00", b"\x27\x00\x00\x00\x00", b"\x24\x03", b"\x21\x00\x01\x21\x00\x01")
        for number, properties in enumerate(answers, 2):
            body = b"\x00\x00" + bytes([len(properties)]) + properties
            kit.broker.on("connect", connection=number).answer(_frame(0x20, body))
        victim = _Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        for _ in answers:
            victim.client.publish(kit.topic, b"through", qos=1)
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()

    # --- what is too much ---------------------------------------------------------------------------

    @case("hostile.announced", on=FAULTS)
    def announced(self, kit: Kit) -> None:
        """A packet of 256 MiB that is announced costs no more than what comes of it."""
        victim = _Victim(kit)
        with _modest(kit, 32):
            victim.suffers(_begin(0x30, _LARGEST) + bytes(_MEGABYTE))

    @case("hostile.too_large", on=FAULTS, needs="packet_limit")
    def too_large(self, kit: Kit) -> None:
        """A packet larger than max_packet_size ends the connection, and reaches no handler."""
        victim = _Victim(kit, max_packet_size=10_000)
        victim.suffers(_publish(kit, b"t", bytes(5_000)))
        assert victim.strange == ["t"]
        victim.strange.clear()
        kit.broker.send(_publish(kit, b"t", bytes(10_000)))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        for _ in range(3):
            victim.suffers(_publish(kit, b"t", bytes(_MEGABYTE)))
        assert victim.strange == [], "a packet that is too large has reached the handler"

    @case("hostile.just_large_enough", on=FAULTS, needs="packet_limit")
    def just_large_enough(self, kit: Kit) -> None:
        """A packet of max_packet_size bytes is delivered, one byte more ends the connection."""
        victim = _Victim(kit, max_packet_size=10_000)
        empty = len(_publish(kit, b"t", bytes(9_000))) - 9_000
        victim.suffers(_publish(kit, b"t", bytes(10_000 - empty)))
        assert victim.strange == ["t"]
        kit.broker.send(_publish(kit, b"t", bytes(10_001 - empty)))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        assert victim.strange == ["t"], "a packet that is too large has reached the handler"

    @case("hostile.too_large_announced", on=FAULTS, needs=("packet_limit", "early_packet_limit"))
    def too_large_announced(self, kit: Kit) -> None:
        """A packet larger than max_packet_size ends the connection once its length is known."""
        victim = _Victim(kit, max_packet_size=10_000)
        kit.broker.send(_begin(0x30, 20_000))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()

    @case("hostile.too_large_memory", on=FAULTS, needs="packet_limit", seconds=60)
    def too_large_memory(self, kit: Kit) -> None:
        """A packet of 256 MiB that comes in full ends the connection, and costs less than 128 MB."""
        victim = _Victim(kit)
        with _modest(kit, 128):
            kit.broker.send(_begin(0x30, _LARGEST))
            kit.broker.pour(bytes(_MEGABYTE), 256, connection=1)
            kit.broker.wait_for("lost", connection=1)
            victim.goes_on()

    @case("hostile.too_large_by_default", on=FAULTS, needs=("packet_limit", "early_packet_limit"))
    def too_large_by_default(self, kit: Kit) -> None:
        """A packet of 64 MiB ends the connection where nobody has asked for such; MQTT 5 says so before."""
        victim = _Victim(kit)
        kit.broker.send(_begin(0x30, 64 * _MEGABYTE))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        if kit.protocol == MQTT_5:
            assert kit.broker.wait_for("connect").properties.maximum_packet_size < 64 * _MEGABYTE

    @case("hostile.limit_announced", on=FAULTS, needs=("mqtt_5", "packet_limit"))
    def limit_announced(self, kit: Kit) -> None:
        """The option max_packet_size goes into CONNECT as Maximum Packet Size (section 3.1.2.11.4)."""
        kit.connect(protocol=MQTT_5, max_packet_size=12_345)
        packet = kit.broker.wait_for("connect")
        assert packet.properties.maximum_packet_size == 12_345


class _Victim:
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
        kit.broker.send(_frame(0x90, packet.packet_id.to_bytes(2, "big") + five + codes))
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


def _frame(first: int, body: bytes) -> bytes:
    return _begin(first, len(body)) + body


def _begin(first: int, size: int) -> bytes:
    """A fixed header (section 2.1)."""
    header = bytearray([first])
    while True:
        size, byte = size >> 7, size & 0x7F
        header.append(byte | 0x80 if size else byte)
        if not size:
            return bytes(header)


def _publish(kit: Kit, topic: bytes, payload: bytes = b"x", properties: bytes = b"") -> bytes:
    """PUBLISH of QoS 0, with whatever for a topic; the properties encoded and short."""
    five = bytes([len(properties)]) + properties if kit.protocol == MQTT_5 else b""
    return _frame(0x30, len(topic).to_bytes(2, "big") + topic + five + payload)


def _drip(kit: Kit, connection: int, byte: bytes) -> None:
    """Send a byte every 50 ms for as long as the client stays."""
    pause = threading.Event()
    deadline = time.monotonic() + kit.patience
    while time.monotonic() < deadline:
        try:
            kit.broker.send(byte, connection=connection)
        except AssertionError:  # the connection has ended
            return
        pause.wait(0.05)
    raise AssertionError(f"the client still waits for the end of CONNACK after {kit.patience} s")


@contextlib.contextmanager
def _modest(kit: Kit, megabytes: int) -> Iterator[None]:
    """Fail if the process takes that much more memory meanwhile, at any time that is looked at."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        kit.not_applicable("only Linux tells how much memory a process takes")
    done = threading.Event()
    most = 0.0

    def resident() -> float:
        return int(statm.read_text().split()[1]) * 4096 / _MEGABYTE

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
