from __future__ import annotations

import sys
import threading

import pytest
from awscrt_support import Inbox, eventually

from juham_core.broker import EmbeddedBroker
from juham_core.errors import (
    NotConnectedError,
    NotSupportedError,
    PublishError,
    ReceiptTimeoutError,
    SubscribeError,
)
from juham_core.wire import (
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)


@pytest.fixture
def played(make, listener, begin):
    """A client whose broker is the test itself, and that broker's end of the connection."""

    def play(**options):
        connack = options.pop("connack", {})
        client = begin(make(port=listener.port, reconnect_min=0.05, reconnect_max=0.1, **options))
        peer = listener.welcome(**connack)
        client.wait_until_connected(5)
        client.loop_start()
        client.listener = listener
        return client, peer

    return play


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\x00\xfe", "zażółć".encode(), b"x" * 1_048_576],
    ids=["empty", "bytes", "text", "MiB"],
)
def test_a_payload_arrives_whole(connect, broker, qos, payload, topic):
    client = connect()
    inbox = Inbox()
    client.on_message = inbox
    assert client.subscribe(f"{topic}/süd/+/🌍", qos).wait(5).granted == {f"{topic}/süd/+/🌍": qos}
    client.publish(f"{topic}/süd/x/🌍", payload, qos=qos).wait(5)
    message = inbox.get()
    assert (message.topic, message.payload, message.qos) == (f"{topic}/süd/x/🌍", payload, qos)
    assert (message.retain, message.dup) == (False, False)
    assert (message.mid > 0) == (qos > 0)
    assert message.properties == {}


def test_qos_2_is_refused_at_the_call(connect, broker, topic):
    client = connect()
    with pytest.raises(NotSupportedError, match="QoS 2"):
        client.publish(f"{topic}/a", b"", qos=2)
    with pytest.raises(NotSupportedError, match="QoS 2"):
        client.subscribe(f"{topic}/a", 2)


def test_properties_go_both_ways(connect, broker, topic):
    client = connect()
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/a", 1).wait(5)
    sent = Properties(
        payload_format_indicator=1,
        message_expiry_interval=500,
        content_type="text/plain",
        response_topic="answers/é",
        correlation_data=b"\x00\xff",
        user_property=[("k", "1"), ("k", "2"), ("", "ü")],
    )
    client.publish(f"{topic}/a", "x", qos=1, properties=sent).wait(5)
    assert inbox.get().properties == sent


def test_subscription_identifiers_arrive(played):
    client, peer = played()
    inbox = Inbox()
    client.on_message = inbox
    peer.send(Publish("a", b"x", properties=Properties(subscription_identifier=[3, 300])))
    assert inbox.get().properties == {"subscription_identifier": [3, 300]}


def test_topic_aliases_go_both_ways(played):
    client, peer = played(properties=Properties(topic_alias_maximum=5), connack={"topic_alias_maximum": 5})
    inbox = Inbox()
    client.on_message = inbox
    peer.send(Publish("a/long/topic", b"1", properties=Properties(topic_alias=2)))
    peer.send(Publish("", b"2", properties=Properties(topic_alias=2)))
    assert [message.topic for message in inbox.take(2)] == ["a/long/topic"] * 2
    for _ in range(2):
        client.publish("b/long/topic", b"x", properties={"topic_alias": 4})
    first, second = peer.expect(Publish), peer.expect(Publish)
    assert (first.topic, second.topic) == ("b/long/topic", "")
    assert first.properties == second.properties == {"topic_alias": 4}


def test_retained(connect, broker, topic):
    connect().publish(f"{topic}/a", "kept", qos=1, retain=True).wait(5)
    client = connect()
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/a", 1).wait(5)
    assert inbox.get().retain
    client.publish(f"{topic}/a", "", qos=1, retain=True).wait(5)
    assert not inbox.get().retain


def test_a_receipt_waits_for_puback(played):
    client, peer = played()
    receipt = client.publish("a", "x", qos=1)
    packet = peer.expect(Publish)
    with pytest.raises(ReceiptTimeoutError):
        receipt.wait(0.1)
    peer.send(Puback(packet.packet_id, 0x10, Properties(reason_string="nobody")))
    receipt.wait(5)
    assert receipt.reason_code == 0x10


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_a_refused_publish_raises(played, code):
    client, peer = played()
    receipt = client.publish("a", "x", qos=1)
    peer.send(Puback(peer.expect(Publish).packet_id, code, Properties(reason_string="because")))
    with pytest.raises(PublishError, match="because") as caught:
        receipt.wait(5)
    assert caught.value.reason_code == code


def test_what_the_broker_cannot_take_fails(played):
    client, peer = played(connack={"maximum_packet_size": 100, "retain_available": 0})
    with pytest.raises(PublishError, match="Packet too large"):
        client.publish("a", "x" * 200, qos=1).wait(5)
    with pytest.raises(PublishError, match="Retain not supported"):
        client.publish("a", "x", qos=1, retain=True).wait(5)
    with pytest.raises(PublishError, match="Packet too large"):
        client.publish("a", "x" * 200).wait(5)
    receipt = client.publish("a", "small", qos=1)
    packet = peer.expect(Publish)
    assert packet.payload == b"small"
    peer.send(Puback(packet.packet_id))
    receipt.wait(5)


def test_what_is_in_flight_is_sent_again_on_the_next_connection(played):
    client, peer = played(client_id="keeper", clean_start=False)
    receipts = [client.publish("a", str(n), qos=1) for n in range(3)]
    packets = [peer.expect(Publish) for _ in receipts]
    peer.send(Puback(packets[0].packet_id))
    receipts[0].wait(5)
    peer.close()
    peer = client.listener.welcome(session_present=True)
    again = [peer.expect(Publish), peer.expect(Publish)]
    assert [packet.payload for packet in again] == [b"1", b"2"]
    assert not receipts[1].done()
    peer.send(*(Puback(packet.packet_id) for packet in again))
    for receipt in receipts:
        receipt.wait(5)


def test_messages_of_a_present_session_are_not_lost_before_handlers_stand(make, listener, begin):
    client = make(port=listener.port, client_id="keeper", clean_start=False)
    inbox = Inbox()
    client.on_message = inbox
    begin(client)
    peer = listener.welcome(session_present=True)
    peer.send(Publish("a", b"replayed", 1, packet_id=9, dup=True))
    client.wait_until_connected()
    client.loop_start()
    message = inbox.get()
    assert message.payload == b"replayed"
    assert message.dup is False  # awscrt does not show it
    assert peer.expect(Puback).packet_id == 9


def test_a_message_is_acknowledged_once_it_is_handled(played):
    client, peer = played()
    entered, go_on = threading.Event(), threading.Event()

    def slow(client, userdata, message):
        entered.set()
        go_on.wait(10)

    client.on_message = slow
    peer.send(Publish("a", b"1", 1, packet_id=7))
    assert entered.wait(5)
    receipt = client.publish("b", "x", qos=1)
    packet = peer.expect(Publish)  # and not the PUBACK
    peer.send(Puback(packet.packet_id))
    receipt.wait(5)
    go_on.set()
    assert peer.expect(Puback).packet_id == 7


def test_close_waits_for_handlers_and_acknowledges_what_they_have_handled(played):
    client, peer = played()
    go_on, handled = threading.Event(), []

    def handle(client, userdata, message):
        go_on.wait(10)
        handled.append(message)

    client.on_message = handle
    peer.send(*(Publish("a", b"x", 1, packet_id=n) for n in range(1, 6)))
    eventually(lambda: client.statistics.received == 5)
    closing = threading.Thread(target=client.disconnect_from_server)
    closing.start()
    go_on.set()
    answers = []
    while isinstance(packet := peer.receive(), Puback):
        answers.append(packet.packet_id)
    assert isinstance(packet, Disconnect)
    assert len(handled) == 5
    # The last may not have made it: awscrt sends DISCONNECT first, and the broker sends those again.
    assert answers == [1, 2, 3, 4, 5][: len(answers)]
    closing.join()


def test_manual_acknowledgement(played):
    client, peer = played(manual_ack=True)
    inbox = Inbox()
    client.on_message = inbox
    peer.send(Publish("a", b"1", 1, packet_id=11), Publish("a", b"2", 1, packet_id=12))
    first, second = inbox.take(2)
    assert client.ack(second.mid, second.qos) == 0
    assert peer.expect(Puback).packet_id == 12
    client.ack(second.mid, second.qos)  # a second time does no harm
    client.ack(first.mid, first.qos)
    assert peer.expect(Puback).packet_id == 11


def test_close_sends_what_was_handed_over(played):
    client, peer = played()
    for n in range(2000):
        client.publish("a", f"{n}:".encode() + b"x" * 500)
    closing = threading.Thread(target=client.disconnect_from_server)
    closing.start()
    numbers = [int(peer.expect(Publish).payload.split(b":")[0]) for _ in range(2000)]
    assert numbers == list(range(2000))
    peer.expect(Disconnect)
    closing.join()
    assert peer.receive() is None


def test_subscription_options_and_refusals(played):
    client, peer = played()
    receipt = client.subscribe([Subscription("a/#", 1, True, True, 2), Subscription("b", 0)])
    request = peer.expect(Subscribe)
    assert request.subscriptions == [Subscription("a/#", 1, True, True, 2), Subscription("b", 0)]
    peer.send(Suback(request.packet_id, [1, 0x87], Properties(reason_string="no")))
    with pytest.raises(SubscribeError, match="'b'") as caught:
        receipt.wait(5)
    assert caught.value.refused == {"b": 0x87}
    assert client.subscriptions == {"a/#": 1}


@pytest.mark.parametrize("code", [0x80, 0x83, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2])
def test_a_refused_subscription_raises(played, code):
    client, peer = played()
    receipt = client.subscribe("a")
    peer.send(Suback(peer.expect(Subscribe).packet_id, [code]))
    with pytest.raises(SubscribeError) as caught:
        receipt.wait(5)
    assert caught.value.refused == {"a": code}


def test_unsubscribe_waits_for_its_answer(played):
    client, peer = played()
    answers = Inbox()
    client.on_unsubscribe = lambda c, u, mid, codes, properties: answers(c, u, (codes, properties))
    receipt = client.unsubscribe(["a", "b"])
    request = peer.expect(Unsubscribe)
    assert request.topic_filters == ["a", "b"]
    assert not receipt.done()
    peer.send(Unsuback(request.packet_id, [0, 0x11], Properties(reason_string="well")))
    receipt.wait(5)
    assert answers.get() == ([0, 0x11], {"reason_string": "well"})


def test_shared_subscriptions(connect, broker, topic):
    workers, inboxes = [connect() for _ in range(2)], [Inbox(), Inbox()]
    for worker, inbox in zip(workers, inboxes, strict=True):
        worker.message_callback_add(f"{topic}/jobs/+", inbox)
        worker.subscribe(f"$share/{topic[5:]}/{topic}/jobs/+", 1).wait(5)
    sender = connect()
    for n in range(10):
        sender.publish(f"{topic}/jobs/{n}", str(n), qos=1).wait(5)
    eventually(lambda: sum(worker.statistics.handled for worker in workers) == 10)
    if broker.kind == "embedded":  # which takes turns
        assert all(not inbox.empty for inbox in inboxes)


@pytest.mark.parametrize("handlers", ["thread", "inline"])
def test_sixteen_threads_at_once(connect, broker, topic, handlers):
    client, count = connect(handlers=handlers), 100
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/t/#", 1).wait(5)
    start = threading.Barrier(16)

    def publish(thread):
        start.wait()
        for n in range(count):
            client.publish(f"{topic}/t/{thread}/{n % 2}", str(n), qos=n % 2)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = {}
    for message in inbox.take(16 * count):
        seen.setdefault(message.topic, []).append(int(message.payload))
    assert len(seen) == 32
    for name, numbers in seen.items():
        assert numbers == list(range(int(name[-1]), count, 2)), name


def test_offline(make, connect, broker, topic):
    client = make(**broker.options)
    assert client.publish(f"{topic}/a", "x").rc == 4
    receipt = client.publish(f"{topic}/a", "later", qos=1)
    inbox = Inbox()
    other = connect()
    other.on_message = inbox
    other.subscribe(f"{topic}/a", 1).wait(5)
    client.connect_to_server()
    receipt.wait(5)
    assert inbox.get().payload == b"later"


def test_close_fails_what_the_broker_never_answered(played):
    client, peer = played(close_timeout=0.3)
    receipt, subscription = client.publish("a", "x", qos=1), client.subscribe("a")
    peer.expect(Publish)
    client.disconnect_from_server()
    for promise in (receipt, subscription):
        with pytest.raises(NotConnectedError):
            promise.wait(0)


def test_a_receipt_may_be_waited_for_inside_a_handler(connect, broker, topic):
    client = connect()
    done = Inbox()

    def handle(client, userdata, message):
        client.publish(f"{topic}/b", "x", qos=1).wait(5)
        client.subscribe(f"{topic}/c", 1).wait(5)
        done(client, userdata, message)

    client.on_message = handle
    client.subscribe(f"{topic}/a", 1).wait(5)
    client.publish(f"{topic}/a", "x", qos=1)
    assert done.get().topic == f"{topic}/a"


def test_a_failing_handler_harms_nothing(connect, broker, topic):
    client = connect()
    inbox = Inbox()
    client.message_callback_add(f"{topic}/a", lambda c, u, m: 1 / 0)
    client.message_callback_add(f"{topic}/b", inbox)
    client.subscribe([(f"{topic}/a", 1), (f"{topic}/b", 1)]).wait(5)
    client.publish(f"{topic}/a", "x", qos=1)
    client.publish(f"{topic}/b", "x", qos=1)
    assert inbox.get().topic == f"{topic}/b"
    assert client.statistics.handler_errors == 1


def test_an_error_in_a_report_is_logged_and_harms_nothing(connect, broker, caplog, monkeypatch, topic):
    client = connect()
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/a", 1).wait(5)
    received = client._received
    monkeypatch.setattr(client, "_received", lambda *args, **named: 1 / 0)
    client.publish(f"{topic}/a", "lost", qos=1).wait(5)
    eventually(lambda: "ZeroDivisionError" in caplog.text)
    monkeypatch.setattr(client, "_received", received)
    client.publish(f"{topic}/a", "found", qos=1).wait(5)
    assert inbox.get().payload == b"found"


def test_closing_while_messages_come_in_does_not_upset_the_library(make):
    # Let go of before it has stopped, awscrt crashes the process, most times within a few rounds.
    with EmbeddedBroker() as broker:
        publisher = make(port=broker.port)
        publisher.connect_to_server()
        publisher.wait_until_connected(5)
        for _ in range(30):
            client, closed = make(port=broker.port), threading.Event()
            client.on_message = lambda client, userdata, message, closed=closed: (
                client.disconnect_from_server(),
                closed.set(),
            )
            client.connect_to_server()
            client.wait_until_connected(5)
            client.loop_start()
            client.subscribe("a", qos=1).wait(5)
            for number in range(20):
                publisher.publish("a", number, qos=1)
            assert closed.wait(5)


def test_pings_go_on_while_a_broker_keeps_to_the_window(make, begin, listener):
    client = begin(make(port=listener.port, max_received=10, keepalive=1))
    peer = listener.welcome()
    client.wait_until_connected(5)
    go_on = threading.Event()
    client.on_message = lambda *args: go_on.wait(10)
    client.loop_start()
    peer.send(*[Publish("a", b"x", 1, packet_id=number) for number in range(1, 11)])
    for _ in range(2):
        peer.expect(Pingreq)
        peer.send(Pingresp())
    go_on.set()
    assert [peer.expect(Puback).packet_id for _ in range(10)] == list(range(1, 11))


def test_more_messages_than_connect_allows_are_delivered_nevertheless(make, begin, listener):
    """awscrt tells the broker and does not enforce it."""
    client = begin(make(port=listener.port, max_packet_size=10_000, properties={"receive_maximum": 2}))
    peer = listener.welcome()
    assert peer.connect.properties == {"maximum_packet_size": 10_000, "receive_maximum": 2}
    client.wait_until_connected(5)
    inbox = Inbox()
    client.on_message = inbox
    peer.send(*[Publish("a", b"%d" % number, 1, packet_id=number) for number in range(1, 11)])
    client.loop_start()
    assert [message.payload for message in inbox.take(10)] == [b"%d" % number for number in range(1, 11)]


def test_text_that_is_not_utf_8_ends_the_connection_and_nobody_elses_errors_are_taken(
    played, listener, monkeypatch
):
    others = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)
    before = sys.unraisablehook
    client, peer = played()
    client.on_message = inbox = Inbox()
    peer.send(b"\x30\x06\x00\x02\xff\xfe\x00x")
    peer = listener.welcome()
    eventually(lambda: client.statistics.connects == 2)
    assert others == []

    class Breaks:
        def __del__(self):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "for a test")

    del_it = Breaks()
    del del_it
    eventually(lambda: len(others) == 1)
    peer.send(Publish("a", b"goes on"))
    assert inbox.take(1)[0].payload == b"goes on"
    client.disconnect_from_server()
    assert sys.unraisablehook is before
