"""The broker's state: messages under way, at every quality of service, through reconnects and limits."""

import pytest
from broker_support import KEPT, Client, Clock, subscriber

from juham_core.broker import Broker, Limits
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    encode,
    reasons,
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return Broker(clock=clock)


@pytest.fixture
def sender(broker):
    return Client(broker, "sender")


# --- quality of service ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [MQTT_311, MQTT_5])
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("subscribed", [0, 1, 2])
def test_message_arrives_at_the_lesser_qos(broker, sender, protocol, published, subscribed):
    options = {"protocol": protocol} if protocol == MQTT_311 else {}
    client = Client(broker, "subscriber", **options)
    client.subscribe("a/b", subscribed)
    client.sent.clear()
    sender.publish("a/b", b"21.5", qos=published)
    message = client.only(Publish)
    assert (message.topic, message.payload, message.qos) == ("a/b", b"21.5", min(published, subscribed))
    assert (message.packet_id != 0) == (message.qos > 0)
    assert (message.retain, message.dup) == (False, False)


def test_payload_is_passed_on_without_a_copy(broker, sender):
    client = subscriber(broker)
    payload = bytes(1000)
    for qos in (0, 1, 2):
        sender.publish("a", payload, qos)
    assert all(message.payload is payload for message in client.take(Publish))


def test_qos_1_is_acknowledged_each_time(broker, sender):
    client = subscriber(broker)
    for dup in (False, True):
        sender.say(Publish("a", b"x", 1, dup=dup, packet_id=7))
        assert sender.only(Puback) == Puback(7)
    first, second = client.take(Publish)
    assert (first.dup, second.dup) == (False, False)


@pytest.mark.parametrize(("protocol", "code"), [(MQTT_5, reasons.NO_MATCHING_SUBSCRIBERS), (MQTT_311, 0)])
def test_acknowledgement_says_that_nobody_is_subscribed(broker, protocol, code):
    client = Client(broker, protocol=protocol)
    client.publish("a", qos=1)
    client.publish("a", qos=2)
    assert [client.take(Puback)[0].reason_code, client.take(Pubrec)[0].reason_code] == [code, code]


def test_qos_2_is_delivered_once_until_it_is_released(broker, sender):
    client = subscriber(broker)
    for dup in (False, True):
        sender.say(Publish("a", b"x", 2, dup=dup, packet_id=7))
        assert sender.only(Pubrec) == Pubrec(7)
    sender.say(Pubrel(7))
    assert sender.only(Pubcomp) == Pubcomp(7)
    sender.say(Publish("a", b"y", 2, packet_id=7))
    assert client.payloads() == [b"x", b"y"]


def test_qos_2_is_delivered_once_even_if_the_sender_reconnects(broker):
    client = subscriber(broker)
    sender = Client(broker, "sender", **KEPT)
    sender.say(Publish("a", b"x", 2, packet_id=7))
    sender.lose()
    sender = Client(broker, "sender", **KEPT)
    sender.say(Publish("a", b"x", 2, dup=True, packet_id=7))
    assert sender.only(Pubrec) == Pubrec(7)
    assert client.payloads() == [b"x"]


@pytest.mark.parametrize(
    ("protocol", "code"), [(MQTT_5, reasons.PACKET_IDENTIFIER_NOT_FOUND), (MQTT_311, 0)]
)
def test_unknown_pubrel_is_answered(broker, protocol, code):
    client = Client(broker, protocol=protocol)
    client.say(Pubrel(9))
    assert client.only(Pubcomp) == Pubcomp(9, code)


def test_qos_2_to_a_subscriber(broker, sender):
    client = subscriber(broker)
    sender.publish("a", qos=2)
    packet_id = client.only(Publish).packet_id
    for _ in range(2):  # a PUBREC that comes twice is answered twice
        client.say(Pubrec(packet_id))
        assert client.only(Pubrel) == Pubrel(packet_id)
    client.say(Pubcomp(packet_id))
    client.say(Pubrec(packet_id))
    assert client.only(Pubrel) == Pubrel(packet_id, reasons.PACKET_IDENTIFIER_NOT_FOUND)


def test_pubrec_that_refuses_ends_the_exchange(broker, sender):
    client = subscriber(broker)
    sender.publish("a", qos=2)
    client.say(Pubrec(client.only(Publish).packet_id, reasons.QUOTA_EXCEEDED))
    assert client.sent == []
    client.lose()
    assert subscriber(broker).sent == []


@pytest.mark.parametrize(
    ("qos", "answer"), [(1, Pubrec), (2, Puback), (2, Pubcomp)], ids=["rec to 1", "ack to 2", "comp first"]
)
def test_wrong_acknowledgement_is_a_protocol_error(broker, sender, qos, answer):
    client = subscriber(broker)
    sender.publish("a", qos=qos)
    client.say(answer(client.only(Publish).packet_id))
    assert client.only(Disconnect).reason_code == reasons.PROTOCOL_ERROR


@pytest.mark.parametrize("answer", [Puback, Pubcomp])
def test_acknowledgement_of_nothing_is_ignored(broker, answer):
    client = Client(broker)
    client.say(answer(5))
    assert client.sent == []
    assert not client.closed


# --- resuming -------------------------------------------------------------------------------------------


def test_resume_repeats_what_was_in_flight_in_order_then_the_queue(clock):
    broker = Broker(clock=clock, limits=Limits(max_inflight=4))
    client = subscriber(broker)
    sender = Client(broker, "sender")
    for number in range(6):
        sender.publish("a", b"%d" % number, qos=2 if number in (1, 2) else 1)
    first = client.take(Publish)
    assert [message.payload for message in first] == [b"0", b"1", b"2", b"3"]
    client.say(Pubrec(first[2].packet_id))
    client.say(Pubrec(first[1].packet_id))
    client.lose()
    client = Client(broker, "subscriber", **KEPT)
    # PUBREL in the order of PUBREC (section 4.6), then the messages in the order in which they were sent.
    assert client.take(Pubrel) == [Pubrel(first[2].packet_id), Pubrel(first[1].packet_id)]
    again = client.take(Publish)
    assert [(each.payload, each.dup, each.packet_id) for each in again] == [
        (b"0", True, first[0].packet_id),
        (b"3", True, first[3].packet_id),
    ]
    client.say(Puback(first[0].packet_id))
    client.say(Pubcomp(first[2].packet_id))
    later = client.take(Publish)
    assert [(each.payload, each.dup) for each in later] == [(b"4", False), (b"5", False)]
    used = {each.packet_id for each in later}
    assert used.isdisjoint({first[1].packet_id, first[3].packet_id})


def test_resume_obeys_a_smaller_receive_maximum(broker, sender):
    client = subscriber(broker)
    for number in range(5):
        sender.publish("a", b"%d" % number, qos=1)
    client.lose()
    sender.publish("a", b"5", qos=1)
    client = Client(broker, "subscriber", receive_maximum=2, **KEPT)
    assert [message.payload for message in client.sent] == [b"0", b"1"]
    assert client.acknowledge() == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_two_losses_in_a_row_repeat_each_message_once(broker, sender):
    client = subscriber(broker)
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=1)
    client.lose()
    Client(broker, "subscriber", receive_maximum=1, **KEPT).lose()
    assert Client(broker, "subscriber", **KEPT).acknowledge() == [b"0", b"1", b"2", b"3"]


def test_first_delivery_is_not_marked_as_a_duplicate_by_a_later_one(broker, sender):
    client = subscriber(broker)
    sender.publish("a", qos=1)
    first = client.only(Publish)
    client.lose()
    again = Client(broker, "subscriber", **KEPT).only(Publish)
    assert (first.dup, again.dup) == (False, True)


def test_session_of_another_version_can_be_resumed(broker, sender):
    client = subscriber(broker)
    client.lose()
    sender.publish("a", b"x", qos=1, content_type="text/plain")
    client = Client(broker, "subscriber", protocol=MQTT_311, clean_start=False)
    message = client.only(Publish)
    assert (message.payload, message.properties) == (b"x", {})


def test_qos_0_does_not_wait_for_an_absent_client(broker, sender):
    subscriber(broker).lose()
    sender.publish("a", b"0", qos=0)
    sender.publish("a", b"1", qos=1)
    assert Client(broker, "subscriber", **KEPT).payloads() == [b"1"]
    assert broker.statistics.dropped == {"offline": 1}


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("properties", [{}, {"content_type": "t"}])
def test_every_message_goes_the_way_of_the_first(broker, sender, retain, properties):
    """Plain messages to a topic in use take a shorter way; it must not be another one."""
    size = len(encode(Publish("a", bytes(20), properties=Properties(properties)), MQTT_5))
    clients = {
        "plain": Client(broker, "plain"),
        "old": Client(broker, "old", protocol=MQTT_311),
        "small": Client(broker, "small", maximum_packet_size=size - 1),
        "identified": Client(broker, "identified"),
        "absent": Client(broker, "absent", **KEPT),
    }
    clients["plain"].subscribe("a")
    clients["old"].subscribe("a")
    clients["small"].subscribe("a")
    clients["identified"].subscribe("a", identifier=5)
    clients["absent"].subscribe("a")
    sender.subscribe("#", no_local=True)
    clients["absent"].lose()
    rounds = []
    for _ in range(3):
        for client in [*clients.values(), sender]:
            client.sent.clear()
        sender.publish("a", bytes(20), retain=retain, **properties)
        rounds.append({name: list(client.sent) for name, client in [*clients.items(), ("sender", sender)]})
    assert rounds[0] == rounds[1] == rounds[2]
    assert {name: len(sent) for name, sent in rounds[0].items()} == {
        "plain": 1,
        "old": 1,
        "small": 0,
        "identified": 1,
        "absent": 0,
        "sender": 0,
    }
    assert rounds[0]["identified"][0].properties == {**properties, "subscription_identifier": [5]}
    assert rounds[0]["old"][0].properties == {}
