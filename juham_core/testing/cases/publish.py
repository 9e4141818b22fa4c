"""Cases about publishing: what arrives, in what order, and what is refused at the call."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from juham_core.errors import PayloadError, QosError, TopicError
from juham_core.testing.brief import brief
from juham_core.testing.definition import FAULTS, NONE, case
from juham_core.testing.kit import Kit


class PublishCases:
    """The subject ``publish``."""

    # --- payloads -----------------------------------------------------------------------------------

    @case("publish.payload_bytes")
    def payload_bytes(self, kit: Kit) -> None:
        """Bytes that are no UTF-8 arrive whole (MQTT 5 section 3.3.3)."""
        _arrives(kit, b"\xff\xfe\x00\x80", b"\xff\xfe\x00\x80")

    @case("publish.payload_empty")
    def payload_empty(self, kit: Kit) -> None:
        """An empty payload arrives as empty bytes, and is not None to a handler (MQTT 5 section 3.3.3)."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        for empty in ("", b"", None):
            client.publish(kit.topic, empty, qos=1).wait(kit.patience)
            payload = inbox.next().payload
            assert payload == b""
            assert isinstance(payload, bytes)

    @case("publish.payload_str")
    def payload_str(self, kit: Kit) -> None:
        """A str is sent as UTF-8."""
        _arrives(kit, "grün ✓", "grün ✓".encode())

    @case("publish.payload_bytearray")
    def payload_bytearray(self, kit: Kit) -> None:
        """A bytearray is sent as it was at the call, whatever becomes of it afterwards."""
        client = kit.connect()
        observer = kit.observer(kit.topic)
        payload = bytearray(b"before")
        receipt = client.publish(kit.topic, payload, qos=1)
        payload[:] = b"after!"
        receipt.wait(kit.patience)
        assert observer.message().payload == b"before"

    @case("publish.payload_memoryview")
    def payload_memoryview(self, kit: Kit) -> None:
        """A memoryview is sent as the bytes it shows, and no more of what it is a view of."""
        _arrives(kit, memoryview(b"a long view")[2:6], b"long")

    @case("publish.payload_int")
    def payload_int(self, kit: Kit) -> None:
        """An int is sent as its decimal digits."""
        _arrives(kit, -42, b"-42")

    @case("publish.payload_float")
    def payload_float(self, kit: Kit) -> None:
        """A float is sent as Python writes it."""
        _arrives(kit, 21.5, b"21.5")

    @case("publish.payload_1_mib")
    def payload_1_mib(self, kit: Kit) -> None:
        """A payload of 1 MiB arrives whole, in both directions."""
        _there_and_back(kit, 1 << 20)

    @case("publish.payload_16_mib", seconds=60)
    def payload_16_mib(self, kit: Kit) -> None:
        """A payload of 16 MiB arrives whole, in both directions."""
        _there_and_back(kit, 16 << 20)

    @case("publish.topic_unicode")
    def topic_unicode(self, kit: Kit) -> None:
        """A topic is any text: letters of all alphabets, spaces and empty levels (section 4.7)."""
        client = kit.connect()
        observer = kit.observer(f"{kit.topic}/#")
        for topic in (f"{kit.topic}/küche/温度", f"{kit.topic}/a b//c/", f"{kit.topic}/😀"):
            client.publish(topic, b"x", qos=1).wait(kit.patience)
            assert observer.message().topic == topic

    @case("publish.payload_wrong_type", on=NONE)
    def payload_wrong_type(self, kit: Kit) -> None:
        """Whatever is neither text, bytes nor a number raises PayloadError at the call."""
        client = kit.create()
        for payload in ({"a": 1}, [1], object()):
            with kit.raises(PayloadError):
                client.publish(kit.topic, payload, qos=1)

    # --- what is refused ----------------------------------------------------------------------------

    @case("publish.topic_refused", on=FAULTS)
    def topic_refused(self, kit: Kit) -> None:
        """A topic that MQTT forbids raises TopicError at the call, and nothing is sent (section 4.7)."""
        client = kit.connect()
        for topic in ("", "a/+/b", "a/#", "a\0b", "a\nb", "x" * 65_536, "\ud800"):
            with kit.raises(TopicError):
                client.publish(topic, b"x", qos=1)
        client.publish(kit.topic, b"last", qos=1).wait(kit.patience)
        assert [packet.payload for packet in kit.broker.packets("publish")] == [b"last"]

    @case("publish.qos_refused", on=NONE)
    def qos_refused(self, kit: Kit) -> None:
        """A quality of service other than 0, 1 and 2 raises QosError at the call."""
        client = kit.create()
        for qos in (3, -1, "1", None, 0.0, 1.0):
            with kit.raises(QosError):
                client.publish(kit.topic, b"x", qos=qos)  # type: ignore[arg-type]  # that is the point

    # --- many ---------------------------------------------------------------------------------------

    @case("publish.order")
    def order(self, kit: Kit) -> None:
        """Messages of one topic and QoS arrive in the order in which they were published (section 4.6)."""
        client = kit.connect()
        observer = kit.observer(f"{kit.topic}/#")
        qoses = (0, 1, 2) if kit.capabilities.qos_2 else (0, 1)
        for n in range(100):
            for qos in qoses:
                last = client.publish(f"{kit.topic}/{qos}", str(n), qos=qos)
        last.wait(kit.patience)
        messages = observer.messages(100 * len(qoses))
        for qos in qoses:
            came = [int(message.payload) for message in messages if message.topic.endswith(f"/{qos}")]
            assert came == list(range(100)), f"QoS {qos} out of order"

    @case("publish.threads")
    def threads(self, kit: Kit) -> None:
        """32 threads may publish at once: nothing is lost, doubled or mixed, each thread's order is kept."""
        client = kit.connect()
        observer = kit.observer(f"{kit.topic}/#")

        def publish(number: int) -> list[Any]:
            body = bytes([number]) * 1000
            topic = f"{kit.topic}/{number}"
            return [client.publish(topic, b"%d:" % n + body, qos=1) for n in range(20)]

        with ThreadPoolExecutor(32) as pool:
            for receipts in pool.map(publish, range(32)):
                for receipt in receipts:
                    receipt.wait(kit.patience)
        came: dict[int, list[str]] = {number: [] for number in range(32)}
        for message in observer.messages(32 * 20):
            came[int(message.topic.rpartition("/")[2])].append(brief(message.payload))
        for number, payloads in came.items():
            assert payloads == [brief(b"%d:" % n + bytes([number]) * 1000) for n in range(20)]

    # --- retained -----------------------------------------------------------------------------------

    @case("publish.retained")
    def retained(self, kit: Kit) -> None:
        """A message published with retain is kept, and an empty one clears it (MQTT 5 section 3.3.1.3)."""
        client = kit.connect()
        client.publish(kit.topic, b"kept", qos=1, retain=True).wait(kit.patience)
        message = kit.observer(kit.topic).message()
        assert (message.payload, message.retain) == (b"kept", True)
        client.publish(kit.topic, b"", qos=1, retain=True).wait(kit.patience)
        assert kit.observer(kit.topic).drain() == []

    @case("publish.not_retained")
    def not_retained(self, kit: Kit) -> None:
        """A message published without retain is not kept."""
        kit.connect().publish(kit.topic, b"gone", qos=1).wait(kit.patience)
        assert kit.observer(kit.topic).drain() == []

def _arrives(kit: Kit, payload: object, expected: bytes) -> None:
    client = kit.connect()
    observer = kit.observer(kit.topic)
    client.publish(kit.topic, payload, qos=1).wait(kit.patience)
    message = observer.message()
    assert message.payload == expected
    assert (message.topic, message.qos, message.retain, message.dup) == (kit.topic, 1, False, False)


def _there_and_back(kit: Kit, size: int) -> None:
    payload = random.Random(size).randbytes(size)  # noqa: S311 - data that does not compress or repeat
    client = kit.connect()
    inbox = kit.inbox(client, f"{kit.topic}/back")
    observer = kit.observer(f"{kit.topic}/there")
    client.publish(f"{kit.topic}/there", payload, qos=1).wait(2 * kit.patience)
    assert brief(observer.message(2 * kit.patience).payload) == brief(payload)
    observer.publish(f"{kit.topic}/back", payload)
    assert brief(inbox.next(2 * kit.patience).payload) == brief(payload)
