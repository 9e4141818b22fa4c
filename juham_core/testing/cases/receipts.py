"""Cases about what a publish promises: its receipt, the queue, the window, and the exchange on the wire."""

from __future__ import annotations

import itertools
from typing import Any

from juham_core.errors import NotConnectedError, PublishError, QueueFullError, ReceiptTimeoutError
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import FiveArguments
from juham_core.wire import Puback, Pubrec


class ReceiptCases:
    """The subject ``publish``, continued."""

    # --- receipts -----------------------------------------------------------------------------------

    @case("publish.receipt_qos_0")
    def receipt_qos_0(self, kit: Kit) -> None:
        """At QoS 0 the receipt is done once the library has the message, which then arrives."""
        client = kit.connect()
        observer = kit.observer(kit.topic)
        client.publish(kit.topic, b"x", qos=0).wait(kit.patience)
        assert observer.message().qos == 0

    @case("publish.receipt_on_puback", on=FAULTS)
    def receipt_on_puback(self, kit: Kit) -> None:
        """At QoS 1 the receipt is done on PUBACK and no sooner (MQTT 5 section 4.3.2)."""
        _done_on(kit, "puback", qos=1)

    @case("publish.receipt_on_pubcomp", on=FAULTS, needs="qos_2")
    def receipt_on_pubcomp(self, kit: Kit) -> None:
        """At QoS 2 the receipt is done on PUBCOMP and no sooner (MQTT 5 section 4.3.3)."""
        _done_on(kit, "pubcomp", qos=2)

    @case("publish.receipt_numbers")
    def receipt_numbers(self, kit: Kit) -> None:
        """A receipt reads as (rc, mid), rc is 0 for what was accepted, and no two have one mid."""
        client = kit.connect()
        receipts = [client.publish(kit.topic, b"x", qos=qos) for qos in (1, 1, 0, 1)]
        assert [tuple(receipt) for receipt in receipts] == [(0, receipt.mid) for receipt in receipts]
        assert len({receipt.mid for receipt in receipts}) == 4

    @case("publish.receipt_timeout", on=FAULTS)
    def receipt_timeout(self, kit: Kit) -> None:
        """A wait that gives up raises ReceiptTimeoutError, and the receipt may be waited for again."""
        puback = kit.broker.before("puback").hold()
        client = kit.connect()
        receipt = client.publish(kit.topic, b"x", qos=1)
        with kit.raises(ReceiptTimeoutError):
            receipt.wait(0.05)
        puback.wait()
        puback.release()
        receipt.wait(kit.patience)

    @case("publish.answers_out_of_order", on=FAULTS)
    def answers_out_of_order(self, kit: Kit) -> None:
        """Each acknowledgement finds its own receipt, in whatever order they come (section 2.2.1)."""
        kit.broker.on("publish").withhold()
        client = kit.connect()
        first, second = (client.publish(kit.topic, payload, qos=1) for payload in ("first", "second"))
        kit.broker.wait_for("publish", nth=2)
        ids = {packet.payload: packet.packet_id for packet in kit.broker.packets("publish")}
        kit.broker.send(Puback(ids[b"second"]))
        second.wait(kit.patience)
        assert not first.done()
        kit.broker.send(Puback(ids[b"first"]))
        first.wait(kit.patience)

    @case("publish.negative_puback", on=FAULTS, needs="mqtt_5")
    def negative_puback(self, kit: Kit) -> None:
        """A PUBACK that refuses makes the receipt raise PublishError with its code (section 3.4.2.1)."""
        kit.broker.before("puback", nth=1).change(reason_code=0x97)
        _refused_then_accepted(kit, 0x97, qos=1)

    @case("publish.negative_pubrec", on=FAULTS, needs=("mqtt_5", "qos_2"))
    def negative_pubrec(self, kit: Kit) -> None:
        """A PUBREC that refuses ends the exchange: PublishError, and no PUBREL (section 4.3.3)."""
        kit.broker.on("publish", nth=1).answer(Pubrec(0, 0x87))
        _refused_then_accepted(kit, 0x87, qos=2)
        assert len(kit.broker.packets("pubrel")) == 1, "PUBREL for a message that was refused"

    @case("publish.code_no_failure", on=FAULTS, needs="mqtt_5")
    def code_no_failure(self, kit: Kit) -> None:
        """A reason code below 0x80 is a success: nobody had subscribed (section 3.4.2.1)."""
        kit.broker.before("puback").change(reason_code=0x10)
        receipt = kit.connect().publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert receipt.reason_code == 0x10

    @case("publish.wait_in_handler")
    def wait_in_handler(self, kit: Kit) -> None:
        """A receipt may be waited for inside a handler."""
        client = kit.connect()
        observer = kit.observer(f"{kit.topic}/answer")
        raised = kit.recorder()

        def answer(*_args: Any) -> None:
            try:
                client.publish(f"{kit.topic}/answer", b"pong", qos=1).wait(kit.patience)
                raised(None)
            except Exception as exc:  # noqa: BLE001 - shown in the case's own thread
                raised(exc)

        client.message_callback_add(f"{kit.topic}/question", answer)
        kit.subscribe(client, f"{kit.topic}/question")
        observer.publish(f"{kit.topic}/question", b"ping")
        assert raised.next(kit.patience + 1) == (None,)
        assert observer.message().payload == b"pong"

    @case("publish.on_publish")
    def on_publish(self, kit: Kit) -> None:
        """on_publish is called once for each message that the broker has acknowledged."""
        client = kit.create()
        published = FiveArguments()
        kit.handle(client, "on_publish", published)
        kit.connect(client)
        for _ in range(2):
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
            assert published.next()[3] in (0, 0x10)
        client.disconnect_from_server()
        published.nothing()

    # --- the queue ----------------------------------------------------------------------------------

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

    @case("publish.offline_in_order")
    def offline_in_order(self, kit: Kit) -> None:
        """What is published at QoS 1 without a connection waits, and is sent in order with the next one."""
        client = kit.create()
        observer = kit.observer(kit.topic)
        receipts = [client.publish(kit.topic, str(n), qos=1) for n in range(100)]
        assert not any(receipt.done() for receipt in receipts)
        kit.connect(client)
        for receipt in receipts:
            receipt.wait(kit.patience)
        assert [message.payload for message in observer.drain()] == [b"%d" % n for n in range(100)]

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

    @case("publish.window", on=FAULTS)
    def window(self, kit: Kit) -> None:
        """No more than max_inflight messages are unacknowledged at a time, and the rest follow."""
        kit.broker.on("publish").withhold()
        client = kit.connect(max_inflight=3, close_timeout=0.2)
        receipts = [client.publish(kit.topic, str(n), qos=1) for n in range(5)]
        kit.broker.wait_for("publish", nth=3)
        kit.subscribe(client, kit.topic)  # its SUBACK shows that nothing else was on its way
        sent = kit.broker.packets("publish")
        assert [packet.payload for packet in sent] == [b"0", b"1", b"2"]
        kit.broker.send(Puback(sent[0].packet_id))
        assert kit.broker.wait_for("publish", nth=4).payload == b"3"
        assert receipts[0].wait(kit.patience).done()

    @case("publish.ids_not_reused", on=FAULTS, seconds=90)
    def ids_not_reused(self, kit: Kit) -> None:
        """With more than 65,535 messages pending, no identifier in use is given out again (section 2.2.1)."""
        count, most = 65_600, 65_000
        kit.broker.on("publish", where=lambda packet: packet.qos == 1).withhold()
        client = kit.connect(max_inflight=most, max_queued=count, close_timeout=0.2)
        receipts = kit.publish_many(client, itertools.repeat((kit.topic, b""), count), 1)
        # QoS 0 passes the window: once it is here, whatever the library lets out at once is here.
        client.publish(kit.topic, b"", qos=0)
        kit.broker.wait_for("publish", where=lambda packet: packet.qos == 0, timeout=60)
        in_use: set[int] = set()
        done = 0
        while done < count:
            packets = kit.broker.packets("publish", where=lambda packet: packet.qos == 1)[done:]
            for packet in packets:
                assert packet.packet_id not in in_use, f"identifier {packet.packet_id} is in use already"
                in_use.add(packet.packet_id)
            done += len(packets)
            kit.broker.send(*[Puback(packet.packet_id) for packet in packets])
            in_use.clear()
            for receipt in receipts:
                if receipt.exception():
                    receipt.wait(0)  # raises why this one will never be sent
            if done < count:
                kit.broker.wait_for_count("publish", done + 2, timeout=3 * kit.patience)
        for receipt in receipts:
            receipt.wait(3 * kit.patience)

    # --- on the wire --------------------------------------------------------------------------------

    @case("publish.first_time_not_dup", on=FAULTS)
    def first_time_not_dup(self, kit: Kit) -> None:
        """DUP is not set on a message that is sent for the first time (section 3.3.1.1)."""
        client = kit.connect()
        for _ in range(3):
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        packets = kit.broker.packets("publish")
        assert [packet.dup for packet in packets] == [False] * 3
        assert all(packet.packet_id for packet in packets)

    @case("publish.qos_2_exchange", on=FAULTS, needs="qos_2")
    def qos_2_exchange(self, kit: Kit) -> None:
        """QoS 2 is PUBLISH, PUBREC, PUBREL, PUBCOMP, under one identifier (section 4.3.3)."""
        kit.connect().publish(kit.topic, b"x", qos=2).wait(kit.patience)
        record = [entry for entry in kit.broker.log if entry.kind.startswith("pub")]
        assert [entry.kind for entry in record] == ["publish", "pubrec", "pubrel", "pubcomp"]
        assert len({entry.packet.packet_id for entry in record}) == 1

    @case("publish.close_fails_receipts", on=FAULTS)
    def close_fails_receipts(self, kit: Kit) -> None:
        """Closing resolves every receipt: NotConnectedError for what was not acknowledged in time."""
        kit.broker.before("puback").withhold()
        client = kit.connect(close_timeout=0.2)
        receipt = client.publish(kit.topic, b"x", qos=1)
        kit.broker.wait_for("publish")
        client.disconnect_from_server()
        assert receipt.done()
        with kit.raises(NotConnectedError):
            receipt.wait(0)

    @case("publish.close_flushes", on=FAULTS)
    def close_flushes(self, kit: Kit) -> None:
        """Closing waits for what is under way, within close_timeout, and then says DISCONNECT."""
        client = kit.connect()
        receipts = [client.publish(kit.topic, str(n), qos=qos) for n in range(20) for qos in (0, 1)]
        client.disconnect_from_server()
        for receipt in receipts:
            receipt.wait(0)
        kit.broker.wait_for("disconnect")
        assert len(kit.broker.packets("publish")) == 40


def _done_on(kit: Kit, kind: str, qos: int) -> None:
    rule = kit.broker.before(kind).hold()
    client = kit.connect()
    receipt = client.publish(kit.topic, b"x", qos=qos)
    rule.wait()
    assert not receipt.done(), f"the receipt is done, and there was no {kind.upper()} yet"
    rule.release()
    receipt.wait(kit.patience)


def _refused_then_accepted(kit: Kit, code: int, qos: int) -> None:
    client = kit.connect()
    with kit.raises(PublishError) as caught:
        client.publish(kit.topic, b"refused", qos=qos).wait(kit.patience)
    error = caught[0]
    assert isinstance(error, PublishError)
    assert error.reason_code == code
    client.publish(kit.topic, b"accepted", qos=qos).wait(kit.patience)
