"""The contract: receipts are done once the broker has answered, and no sooner, and they tell the truth."""

import pytest
from waiting import Recorder, eventually

import juham_core as juham
from juham_core.wire import (
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

tcp = pytest.mark.needs("tcp")
tcp_5 = pytest.mark.needs("tcp", "mqtt_5")


def test_a_receipt_reads_like_paho_s(client, topic):
    receipt = client.publish(topic, "x", qos=1).wait(5)
    rc, mid = receipt
    assert (rc, mid) == (0, receipt.mid) == (receipt.rc, receipt[1])
    assert receipt.done()
    assert receipt.is_published()
    assert receipt.exception() is None
    receipt.wait_for_publish(1)
    rc, mid = client.subscribe(topic, qos=1)
    assert rc == 0
    assert mid != receipt.mid


def test_qos_0_is_done_once_handed_over(client, topic):
    receipt = client.publish(topic, "x")
    assert receipt.wait(5).rc == 0
    assert receipt.is_published()


@tcp
def test_qos_1_is_done_on_puback(talking):
    client, conversation = talking()
    receipt = client.publish("a", "x", qos=1)
    packet = conversation.expect(Publish)
    assert (packet.topic, packet.payload, packet.qos, packet.dup) == ("a", b"x", 1, False)
    with pytest.raises(juham.ReceiptTimeoutError) as caught:
        receipt.wait(0.1)
    assert isinstance(caught.value, TimeoutError)
    receipt.wait_for_publish(0.05)
    assert not receipt.done()
    assert not receipt.is_published()
    conversation.send(Puback(packet.packet_id))
    assert receipt.wait(5) is receipt
    assert client.statistics.acknowledged == 1


@pytest.mark.needs("tcp", "qos_2")
def test_qos_2_is_done_on_pubcomp(talking):
    client, conversation = talking()
    receipt = client.publish("a", "x", qos=2)
    mid = conversation.expect(Publish).packet_id
    conversation.send(Pubrec(mid))
    assert conversation.expect(Pubrel).packet_id == mid
    with pytest.raises(juham.ReceiptTimeoutError):
        receipt.wait(0.1)
    conversation.send(Pubcomp(mid))
    receipt.wait(5)


@tcp
def test_answers_in_another_order_find_their_receipts(talking):
    client, conversation = talking()
    receipts = [client.publish("a", str(number), qos=1) for number in range(3)]
    mids = [conversation.expect(Publish).packet_id for _ in receipts]
    conversation.send(Puback(mids[2]))
    receipts[2].wait(5)
    assert not receipts[0].done()
    assert not receipts[1].done()
    conversation.send(Puback(mids[0]), Puback(mids[1]))
    receipts[0].wait(5)
    receipts[1].wait(5)


@tcp_5
def test_a_negative_puback_raises(talking):
    client, conversation = talking(protocol=5)
    receipt = client.publish("a", "x", qos=1)
    conversation.send(Puback(conversation.expect(Publish).packet_id, 0x87))
    with pytest.raises(juham.PublishError, match=r"(?i)not authorized") as caught:
        receipt.wait(5)
    assert caught.value.reason_code == 0x87
    with pytest.raises(juham.PublishError):
        receipt.is_published()


@pytest.mark.needs("tcp", "mqtt_5", "qos_2")
def test_a_negative_pubrec_raises(talking):
    client, conversation = talking(protocol=5)
    receipt = client.publish("a", "x", qos=2)
    conversation.send(Pubrec(conversation.expect(Publish).packet_id, 0x97))
    with pytest.raises(juham.PublishError) as caught:
        receipt.wait(5)
    assert caught.value.reason_code == 0x97
    client.publish("b", "next", qos=1)
    assert conversation.take() == "next"


@tcp_5
def test_a_code_that_is_no_failure_is_none(talking):
    client, conversation = talking(protocol=5)
    receipt = client.publish("a", "nobody listens", qos=1)
    conversation.send(Puback(conversation.expect(Publish).packet_id, 0x10))
    assert receipt.wait(5).reason_code == 0x10


def test_granted_shows_what_the_broker_granted(client, topic):
    receipt = client.subscribe([(f"{topic}/0", 0), (f"{topic}/1", 1)])
    assert receipt.wait(5).granted == {f"{topic}/0": 0, f"{topic}/1": 1}
    assert client.subscriptions == receipt.granted


@tcp
def test_subscribe_is_done_on_suback_and_may_be_granted_less(talking):
    client, conversation = talking()
    receipt = client.subscribe("a/#", qos=1)
    packet = conversation.expect(Subscribe)
    assert [(each.topic_filter, each.qos) for each in packet.subscriptions] == [("a/#", 1)]
    with pytest.raises(juham.ReceiptTimeoutError):
        receipt.wait(0.1)
    assert client.subscriptions == {"a/#": None}
    conversation.send(Suback(packet.packet_id, [0]))
    assert receipt.wait(5).granted == {"a/#": 0}


@tcp
def test_a_refused_filter_is_named(talking, protocol):
    client, conversation = talking(protocol=protocol)
    receipt = client.subscribe("secret/#", qos=1)
    conversation.send(Suback(conversation.expect(Subscribe).packet_id, [0x80]))
    with pytest.raises(juham.SubscribeError, match="secret/#") as caught:
        receipt.wait(5)
    assert caught.value.refused == {"secret/#": 0x80}
    assert client.subscriptions == {}


@tcp
def test_a_partial_refusal_names_the_refused_and_grants_the_rest(talking):
    client, conversation = talking()
    receipt = client.subscribe([("open", 1), ("secret", 0)])
    conversation.send(Suback(conversation.expect(Subscribe).packet_id, [1, 0x80]))
    with pytest.raises(juham.SubscribeError) as caught:
        receipt.wait(5)
    assert caught.value.refused == {"secret": 0x80}
    assert "open" not in str(caught.value)
    assert receipt.granted == {"open": 1}
    assert client.subscriptions == {"open": 1}


@tcp
def test_unsubscribe_is_done_on_unsuback(talking):
    client, conversation = talking()
    client.subscribe("a", qos=1)
    conversation.grant()
    receipt = client.unsubscribe("a")
    packet = conversation.expect(Unsubscribe)
    assert packet.topic_filters == ["a"]
    with pytest.raises(juham.ReceiptTimeoutError):
        receipt.wait(0.1)
    conversation.send(Unsuback(packet.packet_id, [0]))
    receipt.wait(5)


def test_unsubscribing_what_was_never_subscribed_does_no_harm(client, topic):
    client.unsubscribe(topic).wait(5)


def test_a_receipt_may_be_waited_for_inside_a_handler(client, topic):
    outcome = Recorder()

    def on_question(client, userdata, message):
        client.subscribe(f"{topic}/more", qos=1).wait(5)
        outcome(client.publish(f"{topic}/answer", "x", qos=1).wait(5).done())

    client.message_callback_add(f"{topic}/question", on_question)
    client.subscribe(f"{topic}/question", qos=1).wait(5)
    client.publish(f"{topic}/question", "?", qos=1)
    assert outcome.next() == (True,)


def test_a_done_callback_runs_once_however_late_it_comes(client, topic):
    called = Recorder()
    receipt = client.publish(topic, "x", qos=1)
    receipt.add_done_callback(called)
    assert called.next() == (receipt,)
    receipt.add_done_callback(called)
    assert called.next() == (receipt,)
    assert called.count == 0


@tcp
def test_closing_resolves_what_is_under_way(talking):
    client, conversation = talking(close_timeout=0.2)
    publish = client.publish("a", "x", qos=1)
    conversation.expect(Publish)
    subscribe = client.subscribe("b")
    conversation.expect(Subscribe)
    client.disconnect_from_server()
    for receipt in (publish, subscribe):
        with pytest.raises(juham.NotConnectedError):
            receipt.wait(1)
    assert client.statistics.dropped["closed"] == 1


def test_closing_resolves_what_waits_for_a_connection(create):
    client = create()
    receipts = [client.publish("a", "x", qos=1), client.subscribe("a")]
    client.disconnect_from_server()
    for receipt in receipts:
        assert eventually(receipt.done, 1)
        with pytest.raises(juham.NotConnectedError):
            receipt.wait(1)
