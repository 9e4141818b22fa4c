"""The contract: what is published without a connection fails at once or waits, and is never lost."""

import threading

import pytest
from waiting import ThreeArguments

import juham_core as juham
from juham_core.wire import Connect, Puback, Pubcomp, Publish, Pubrec, Pubrel

tcp = pytest.mark.needs("tcp")


@pytest.fixture
def cut_off(connect, proxy):
    """A connected client whose connection is gone and cannot come back; and the function to mend it."""
    client = connect(**proxy.options, reconnect_min=0.02, reconnect_max=0.1)
    client.on_disconnect = gone = ThreeArguments()
    proxy.refuse()
    gone.next()
    return client, lambda: proxy.refuse(False)


def test_qos_0_fails_at_once(create):
    client = create()
    receipt = client.publish("a", "x")
    assert receipt.done()
    assert tuple(receipt) == (4, receipt.mid)
    with pytest.raises(juham.NotConnectedError):
        receipt.wait()
    with pytest.raises(juham.NotConnectedError):
        receipt.wait_for_publish()
    assert client.statistics.dropped["not connected"] == 1


@tcp
def test_qos_0_fails_at_once_during_an_outage(cut_off, observer, topic):
    client, mend = cut_off
    observer.subscribe(topic)
    receipt = client.publish(topic, "lost")
    assert receipt.rc == 4
    with pytest.raises(juham.NotConnectedError):
        receipt.wait(1)
    mend()
    client.publish(topic, "kept", qos=1).wait(5)
    assert observer.texts(1) == ["kept"]


@pytest.mark.needs("qos_2")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_published_before_connecting_is_sent_in_order(create, broker, observer, topic, qos):
    client = create(**broker.options)
    observer.subscribe(topic)
    receipts = [client.publish(topic, str(number), qos=qos) for number in range(50)]
    assert not any(receipt.done() for receipt in receipts)
    assert client.statistics.queued == 50
    client.connect_to_server()
    for receipt in receipts:
        receipt.wait(5)
    assert observer.texts(50) == [str(number) for number in range(50)]
    assert client.statistics.queued == client.statistics.in_flight == 0


@tcp
def test_what_is_published_during_an_outage_is_sent_in_order(cut_off, observer, topic):
    client, mend = cut_off
    observer.subscribe(topic)
    receipts = [client.publish(topic, str(number), qos=1) for number in range(50)]
    assert not any(receipt.done() for receipt in receipts)
    mend()
    for receipt in receipts:
        receipt.wait(5)
    assert observer.texts(50) == [str(number) for number in range(50)]


def test_the_queue_is_full_at_its_bound_and_not_before(create, broker, observer, topic):
    client = create(**broker.options, max_queued=5)
    receipts = [client.publish(topic, str(number), qos=1) for number in range(5)]
    with pytest.raises(juham.QueueFullError, match="max_queued=5"):
        client.publish(topic, "one too many", qos=1)
    observer.subscribe(topic)
    client.connect_to_server()
    for receipt in receipts:
        receipt.wait(5)
    client.publish(topic, "room again", qos=1).wait(5)
    assert observer.texts(6) == ["0", "1", "2", "3", "4", "room again"]
    assert client.statistics.published == 6


@tcp
def test_the_window_bounds_what_is_in_flight(talking):
    client, conversation = talking(max_inflight=3)
    for number in range(5):
        client.publish("a", str(number), qos=1)
    packets = [conversation.expect(Publish) for _ in range(3)]
    assert [packet.payload for packet in packets] == [b"0", b"1", b"2"]
    assert (client.statistics.in_flight, client.statistics.queued) == (3, 2)
    client.publish("a", "marker")  # QoS 0 needs no place in the window
    assert conversation.expect(Publish).payload == b"marker"
    conversation.send(Puback(packets[0].packet_id))
    assert conversation.expect(Publish).payload == b"3"


@pytest.mark.needs("tcp", "mqtt_5")
def test_the_broker_may_ask_for_a_smaller_window(create, peer):
    client = create(**peer.options, protocol=5)
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.accept(receive_maximum=2)
    client.wait_until_connected(5)
    for number in range(3):
        client.publish("a", str(number), qos=1)
    first = conversation.expect(Publish)
    conversation.expect(Publish)
    client.publish("a", "marker")
    assert conversation.expect(Publish).payload == b"marker"
    conversation.send(Puback(first.packet_id))
    assert conversation.expect(Publish).payload == b"2"


@tcp
def test_what_was_in_flight_is_sent_again_in_order(talking, peer):
    client, conversation = talking(reconnect_min=0.01)
    receipts = [client.publish("a", str(number), qos=1) for number in range(3)]
    packets = [conversation.expect(Publish) for _ in receipts]
    conversation.send(Puback(packets[0].packet_id))
    receipts[0].wait(5)
    conversation.reset()
    again = peer.take_up()
    again.accept()
    assert [again.take(), again.take()] == ["1", "2"]
    for receipt in receipts:
        receipt.wait(5)
    client.publish("a", "marker")
    assert again.expect(Publish).payload == b"marker"


@pytest.mark.needs("tcp", "qos_2", "persistent_session")
def test_what_was_released_is_not_published_again_however_often_the_connection_breaks(talking, peer, topic):
    """At QoS 2 PUBREL alone goes out again once PUBREC has come (MQTT 5 section 4.3.3)."""
    client, conversation = talking(client_id=topic, clean_start=False, reconnect_min=0.01)
    receipt = client.publish("a", "once", qos=2)
    packet_id = conversation.expect(Publish).packet_id
    conversation.send(Pubrec(packet_id))
    conversation.expect(Pubrel)
    conversation.reset()
    for _ in range(2):
        refused = peer.take_up()
        refused.expect(Connect)
        refused.reset()
    last = peer.take_up()
    last.accept(session_present=True)
    assert last.expect(Pubrel).packet_id == packet_id
    assert not receipt.done()
    last.send(Pubcomp(packet_id))
    receipt.wait(5)


@pytest.mark.needs("tcp", "qos_2")
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_accepted_is_lost_in_a_bad_network(connect, proxy, observer, topic, qos):
    """Each message arrives at least once, each first arrival in order; every receipt tells of success."""
    client = connect(**proxy.options, reconnect_min=0.01, reconnect_max=0.05, keepalive=5)
    observer.subscribe(topic)
    half, receipts = threading.Event(), []

    def publish():
        for number in range(300):
            receipts.append(client.publish(topic, str(number), qos=qos))
            if number == 150:
                half.set()

    thread = threading.Thread(target=publish)
    thread.start()
    assert half.wait(5)
    cuts = sum(proxy.cut() for _ in range(3))
    thread.join()
    for receipt in receipts:
        receipt.wait(10)
    cuts += proxy.cut()
    assert cuts
    client.publish(topic, "end", qos=1).wait(10)
    seen = []
    while (text := observer.texts(1)[0]) != "end":
        if text not in seen:
            seen.append(text)
    assert seen == [str(number) for number in range(300)]
