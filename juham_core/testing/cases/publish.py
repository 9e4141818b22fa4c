"""Cases about publishing: what arrives, what a receipt promises, and what is refused at the call."""

from __future__ import annotations

from juham_core.errors import NotConnectedError, PayloadError, QosError, QueueFullError, TopicError
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
        for topic in ("", "a/+/b", "a/#", "a\0b", "x" * 65_536, "\ud800"):
            with kit.raises(TopicError):
                client.publish(topic, b"x", qos=1)
        client.publish(kit.topic, b"last", qos=1).wait(kit.patience)
        assert [packet.payload for packet in kit.broker.packets("publish")] == [b"last"]

    @case("publish.qos_refused", on=NONE)
    def qos_refused(self, kit: Kit) -> None:
        """A quality of service other than 0, 1 and 2 raises QosError at the call."""
        client = kit.create()
        for qos in (3, -1, "1", None):
            with kit.raises(QosError):
                client.publish(kit.topic, b"x", qos=qos)  # type: ignore[arg-type]  # that is the point

    # --- receipts -----------------------------------------------------------------------------------

    @case("publish.offline_qos_0")
    def offline_qos_0(self, kit: Kit) -> None:
        """QoS 0 without a connection fails at once, and is not sent later."""
        client = kit.create()
        observer = kit.observer(kit.topic)
        receipt = client.publish(kit.topic, b"lost", qos=0)
        assert receipt.done()
        assert receipt.rc != 0
        with kit.raises(NotConnectedError):
            receipt.wait(0)
        kit.connect(client)
        client.publish(kit.topic, b"sent", qos=1).wait(kit.patience)
        assert [message.payload for message in observer.drain()] == [b"sent"]

    @case("publish.receipt_on_puback", on=FAULTS)
    def receipt_on_puback(self, kit: Kit) -> None:
        """At QoS 1 the receipt is done on PUBACK and no sooner (MQTT 5 section 4.3.2)."""
        puback = kit.broker.before("puback").hold()
        client = kit.connect()
        receipt = client.publish(kit.topic, b"x", qos=1)
        puback.wait()
        assert not receipt.done(), "the receipt is done, and there was no PUBACK yet"
        puback.release()
        receipt.wait(kit.patience)

    @case("publish.queue_full")
    def queue_full(self, kit: Kit) -> None:
        """A full queue refuses with QueueFullError, and what it has accepted arrives, in order."""
        client = kit.create(max_queued=5)
        observer = kit.observer(kit.topic)
        receipts = [client.publish(kit.topic, str(n), qos=1) for n in range(5)]
        with kit.raises(QueueFullError):
            client.publish(kit.topic, b"one too many", qos=1)
        kit.connect(client)
        for receipt in receipts:
            receipt.wait(kit.patience)
        assert [message.payload for message in observer.drain()] == [b"%d" % n for n in range(5)]


def _arrives(kit: Kit, payload: object, expected: bytes) -> None:
    client = kit.connect()
    observer = kit.observer(kit.topic)
    client.publish(kit.topic, payload, qos=1).wait(kit.patience)
    message = observer.message()
    assert message.payload == expected
    assert (message.topic, message.qos, message.retain, message.dup) == (kit.topic, 1, False, False)
