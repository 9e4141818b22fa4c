"""Cases about a broker that means harm, or is broken: it cannot crash, hang or exhaust the client.

Whether a client ends the connection or ignores what came is its own choice; then it goes on.
"""

from __future__ import annotations

import random
import threading
import time

from juham_core.errors import ConnectError
from juham_core.testing.cases.victim import Victim, frame, modest, publish
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import MQTT_5

_BUSY = 2.0
"""Seconds that a busy machine may add."""
_NOT_UTF8 = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"a\xf5\x80\x80\x80", b"\xe2\x82")


class HostileCases:
    """The subject ``hostile``."""

    # --- what is no MQTT ----------------------------------------------------------------------------

    @case("hostile.garbage", on=FAULTS, seconds=60)
    def garbage(self, kit: Kit) -> None:
        """Bytes that are no MQTT, on a connection that stands, do not keep the client from going on."""
        victim = Victim(kit)
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
            publish(kit, b"too/soon"),
            b"\xd0\x00" * 10,
        )
        for number, answer in enumerate(answers, 2):
            kit.broker.on("connect", connection=number).answer(answer)
        victim = Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()

    @case("hostile.endless_connack", on=FAULTS)
    def endless_connack(self, kit: Kit) -> None:
        """A CONNACK that never ends, byte by byte, is given up after connect_timeout."""
        beginnings = (b"\x20\xff\xff\xff\x7f\x00\x00", b"\x20", b"\x20\x7f\x00\x00\x7c")
        for number, beginning in enumerate(beginnings, 2):
            kit.broker.on("connect", connection=number).answer(beginning)
        victim = Victim(kit, connect_timeout=0.5)
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
        victim = Victim(kit)
        for topic in (*_NOT_UTF8, b"a\x00b"):
            victim.suffers(publish(kit, topic))
        if kit.protocol == MQTT_5:
            for text in _NOT_UTF8:
                pair = b"\x26\x00\x01k" + len(text).to_bytes(2, "big") + text
                victim.suffers(publish(kit, b"t", properties=pair))
        assert victim.strange == [], "what is no text has reached the handler"

    @case("hostile.topic", on=FAULTS)
    def topic(self, kit: Kit) -> None:
        """A message whose topic is empty or has wildcards reaches no handler (section 3.3.2.1)."""
        victim = Victim(kit)
        for topic in (b"a/#", b"#", b"+", b"a/+/b", b""):
            victim.suffers(publish(kit, topic))
        assert victim.strange == [], "a topic that MQTT forbids has reached the handler"

    # --- what is MQTT, at the wrong time ------------------------------------------------------------

    @case("hostile.packets", on=FAULTS, seconds=60)
    def packets(self, kit: Kit) -> None:
        """Packets that a broker may not send, or not now, do not keep the client from going on."""
        victim = Victim(kit)
        five = b"\x00" if kit.protocol == MQTT_5 else b""
        for data in (
            frame(0x10, b"\x00\x04MQTT" + bytes([kit.protocol, 2, 0, 10]) + five + b"\x00\x00"),
            frame(0x20, b"\x00\x00" + five),
            frame(0x20, b"\x00\x05" + five),
            frame(0x82, b"\x00\x01" + five + b"\x00\x01#\x00"),
            frame(0xA2, b"\x00\x01" + five + b"\x00\x01#"),
            b"\xc0\x00",
            b"\xd0\x00",
            b"\xe0\x00",
            b"\xf0\x00",
            b"\x00\x00",
            frame(0x36, b"\x00\x01t\x00\x01" + five),
            frame(0x32, b"\x00\x01t\x00\x00" + five),
            frame(0x4F, b"\x00\x01"),
            frame(0x60, b"\x00\x01"),
            frame(0x40, b""),
            frame(0x90, b"\x00\x01" + five),
        ):
            victim.suffers(data)

    @case("hostile.unknown_identifiers", on=FAULTS)
    def unknown_identifiers(self, kit: Kit) -> None:
        """Answers to what was never sent are ignored, or end the connection."""
        victim = Victim(kit)
        five = b"\x00" if kit.protocol == MQTT_5 else b""
        for kind in (0x40, 0x50, 0x62, 0x70):
            victim.suffers(frame(kind, b"\x77\x77"))
        victim.suffers(frame(0x90, b"\x77\x77" + five + b"\x00"))
        victim.suffers(frame(0xB0, b"\x77\x77" + five + (b"\x00" if five else b"")))

    @case("hostile.pubrec_flood", on=FAULTS)
    def pubrec_flood(self, kit: Kit) -> None:
        """Twenty thousand PUBRECs for what was never sent are survived, in bounded memory."""
        victim = Victim(kit, ack_timeout=20.0)
        flood = b"".join(frame(0x50, number.to_bytes(2, "big")) for number in range(30_000, 50_000))
        with modest(kit, 64):
            victim.suffers(flood)

    @case("hostile.suback_count", on=FAULTS)
    def suback_count(self, kit: Kit) -> None:
        """A SUBACK with more or fewer codes than filters leaves no receipt without an answer."""
        victim = Victim(kit)
        for codes in (b"", b"\x00\x00", b"\x80\x00\x01"):
            victim.subscribes(codes)

    @case("hostile.reason_codes", on=FAULTS)
    def reason_codes(self, kit: Kit) -> None:
        """Reason codes that do not exist do not keep the client from going on."""
        five = kit.protocol == MQTT_5
        codes = (0x01, 0x7F, 0x92, 0xFF) if five else (6, 0x7F, 0xFF)
        for number, code in enumerate(codes, 2):
            kit.broker.on("connect", connection=number).answer(
                frame(0x20, bytes([0, code]) + (b"\x00" if five else b""))
            )
        victim = Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()
        if five:
            for code in (0x01, 0x42, 0xEE):
                victim.suffers(frame(0xE0, bytes([code, 0])))
        for code in (0x03, 0x55, 0xFE):
            victim.subscribes(bytes([code]))

    @case("hostile.refusal_unknown", on=FAULTS)
    def refusal_unknown(self, kit: Kit) -> None:
        """A CONNACK that refuses for a reason that does not exist raises ConnectError."""
        code = 0xFD if kit.protocol == MQTT_5 else 0x7D
        answer = frame(0x20, bytes([0, code]) + (b"\x00" if kit.protocol == MQTT_5 else b""))
        kit.broker.on("connect").answer(answer)
        client = kit.create(reconnect=False, connect_timeout=1.0)
        with kit.raises(ConnectError):
            client.connect_to_server()
            client.wait_until_connected(kit.patience)

    @case("hostile.topic_alias", on=FAULTS, needs="mqtt_5")
    def topic_alias(self, kit: Kit) -> None:
        """Topic aliases that were not allowed, or never set, reach no handler (section 3.3.2.3.4)."""
        victim = Victim(kit, properties={"topic_alias_maximum": 2})
        for alias in (0, 1, 3, 0xFFFF):
            properties = b"\x23" + alias.to_bytes(2, "big")
            victim.suffers(publish(kit, b"", properties=properties))
            if alias != 1:
                victim.suffers(publish(kit, b"aliased", properties=properties))
        assert victim.strange == [], "a message under a wrong alias has reached the handler"

    @case("hostile.connack_values", on=FAULTS, needs="mqtt_5")
    def connack_values(self, kit: Kit) -> None:
        """Limits of 0, which CONNACK may not name, do not stop the client for good (section 3.2.2.3)."""
        answers = (b"\x21\x00\x00", b"\x27\x00\x00\x00\x00", b"\x24\x03", b"\x21\x00\x01\x21\x00\x01")
        for number, properties in enumerate(answers, 2):
            body = b"\x00\x00" + bytes([len(properties)]) + properties
            kit.broker.on("connect", connection=number).answer(frame(0x20, body))
        victim = Victim(kit, connect_timeout=0.5)
        kit.broker.reset()
        for _ in answers:
            victim.client.publish(kit.topic, b"through", qos=1)
        kit.broker.wait_for("connack", sent=True, nth=2, timeout=2 * kit.patience)
        victim.goes_on()

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
