"""The broker's state: messages under way, at every quality of service, through reconnects and limits."""

import pytest
from broker_support import Client, Clock

from juham_core.broker import Broker, Limits
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Disconnect,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    encode,
    reasons,
)

KEPT = {"clean_start": False, "session_expiry_interval": 1000}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return Broker(clock=clock)


@pytest.fixture
def sender(broker):
    return Client(broker, "sender")


def subscriber(broker, topic_filter="a/#", qos=2, **options):
    client = Client(broker, "subscriber", **{**KEPT, **options})
    client.subscribe(topic_filter, qos)
    client.sent.clear()
    return client


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


# --- limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "asked", "window"), [(3, 10, 3), (10, 3, 3), (2, None, 2)])
def test_window_is_the_lesser_of_both_limits(clock, limit, asked, window):
    broker = Broker(clock=clock, limits=Limits(max_inflight=limit))
    options = {} if asked is None else {"receive_maximum": asked}
    client = subscriber(broker, **options)
    sender = Client(broker, "sender")
    for number in range(8):
        sender.publish("a", b"%d" % number, qos=2)
    assert len(client.sent) == window
    assert client.acknowledge() == [b"%d" % number for number in range(8)]


def test_qos_0_passes_by_a_full_window(clock):
    broker = Broker(clock=clock, limits=Limits(max_inflight=1))
    client = subscriber(broker)
    sender = Client(broker, "sender")
    sender.publish("a", b"first", qos=1)
    sender.publish("a", b"second", qos=1)
    sender.publish("a", b"third", qos=0)
    assert client.payloads() == [b"first", b"third"]


def test_full_queue_drops_the_newest_and_counts(clock):
    broker = Broker(clock=clock, limits=Limits(max_inflight=1, max_queued=2))
    client = subscriber(broker)
    sender = Client(broker, "sender")
    for number in range(5):
        sender.publish("a", b"%d" % number, qos=1)
    assert client.acknowledge() == [b"0", b"1", b"2"]
    assert broker.statistics.dropped == {"queue_full": 2}


def test_packet_ids_are_not_used_twice_at_a_time(clock):
    broker = Broker(clock=clock, limits=Limits(max_inflight=2))
    client = subscriber(broker)
    sender = Client(broker, "sender")
    sender.publish("a", b"held", qos=1)
    held = client.only(Publish).packet_id
    seen = set()
    for _ in range(65_600):
        sender.say(Publish("a", b"x", 1, packet_id=1))
        (message,) = client.take(Publish)
        seen.add(message.packet_id)
        client.say(Puback(message.packet_id))
    assert held not in seen
    assert seen == set(range(1, 65_536)) - {held}


def test_receive_maximum_binds_an_mqtt_5_client():
    broker = Broker(limits=Limits(receive_maximum=2))
    sender = Client(broker, "sender")
    first = sender.publish("a", qos=2)
    sender.publish("a", qos=2)
    sender.say(Publish("a", b"x", 2, dup=True, packet_id=first))  # no new one
    sender.say(Pubrel(first))
    sender.publish("a", qos=2)
    assert not sender.closed
    sender.publish("a", qos=1)
    assert sender.take(Disconnect)[0].reason_code == reasons.RECEIVE_MAXIMUM_EXCEEDED
    assert sender.closed


def test_message_too_large_for_the_client_is_dropped(broker, sender):
    small = Publish("a", bytes(50), packet_id=0)
    client = subscriber(broker, maximum_packet_size=len(encode(small, MQTT_5)))
    for qos in (0, 1):
        sender.publish("a", bytes(60), qos)
    sender.publish("a", bytes(50), 0)
    assert client.payloads() == [bytes(50)]
    assert broker.statistics.dropped == {"too_large": 2}


# --- topic aliases --------------------------------------------------------------------------------------


def test_topic_alias_stands_for_a_topic_and_is_not_passed_on(broker, sender):
    client = subscriber(broker)
    sender.publish("a/1", b"1", topic_alias=5)
    sender.publish("", b"2", topic_alias=5)
    sender.publish("a/2", b"3", topic_alias=5, qos=1)
    sender.publish("", b"4", topic_alias=5)
    messages = client.take(Publish)
    assert [(each.topic, each.payload) for each in messages] == [
        ("a/1", b"1"),
        ("a/1", b"2"),
        ("a/2", b"3"),
        ("a/2", b"4"),
    ]
    assert all(each.properties == {} for each in messages)


@pytest.mark.parametrize(
    ("topic", "alias", "code"),
    [
        ("a", 0, reasons.TOPIC_ALIAS_INVALID),
        ("a", 101, reasons.TOPIC_ALIAS_INVALID),
        ("", 1, reasons.PROTOCOL_ERROR),
        ("a/+", 1, reasons.TOPIC_NAME_INVALID),
    ],
)
def test_bad_topic_alias(sender, topic, alias, code):
    sender.publish(topic, topic_alias=alias)
    assert sender.only(Disconnect).reason_code == code


def test_topic_aliases_end_with_their_connection(broker):
    Client(broker, "sender", **KEPT).publish("a", topic_alias=1)
    again = Client(broker, "sender", **KEPT)
    again.publish("", topic_alias=1)
    assert again.only(Disconnect).reason_code == reasons.PROTOCOL_ERROR


# --- PUBLISH that MQTT forbids --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("publish", "code"),
    [
        (Publish("a/#"), reasons.TOPIC_NAME_INVALID),
        (Publish("a/+/b"), reasons.TOPIC_NAME_INVALID),
        (Publish(""), reasons.PROTOCOL_ERROR),
        (Publish("a", qos=1), reasons.PROTOCOL_ERROR),
        (Publish("a", qos=3, packet_id=1), reasons.MALFORMED_PACKET),
    ],
    ids=["hash", "plus", "empty", "no packet id", "qos 3"],
)
def test_forbidden_publish(sender, publish, code):
    sender.say(publish)
    assert sender.only(Disconnect).reason_code == code


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"response_topic": "a/#"}, reasons.TOPIC_NAME_INVALID),
        ({"subscription_identifier": [1]}, reasons.PROTOCOL_ERROR),
    ],
)
def test_forbidden_properties(sender, properties, code):
    sender.publish("a", **properties)
    assert sender.only(Disconnect).reason_code == code


# --- properties and expiry ------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_passed_through_in_order(broker, sender, qos):
    client = subscriber(broker)
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answer/here",
        "correlation_data": b"\0\1",
        "user_property": [("b", "1"), ("a", "2"), ("b", "1")],
    }
    sender.publish("a", b"x", qos, **properties)
    assert client.only(Publish).properties == properties


def test_mqtt_3_1_1_gets_no_properties(broker, sender):
    client = Client(broker, "old", protocol=MQTT_311)
    client.subscribe("a")
    client.sent.clear()
    sender.publish("a", content_type="t", user_property=[("a", "b")])
    assert client.only(Publish).properties == {}


def test_expiry_interval_is_passed_on_and_shrinks_while_waiting(broker, sender, clock):
    client = subscriber(broker)
    sender.publish("a", qos=1, message_expiry_interval=60)
    message = client.only(Publish)
    assert message.properties.message_expiry_interval == 60
    client.say(Puback(message.packet_id))
    client.lose()
    sender.publish("a", qos=1, message_expiry_interval=60)
    clock.now += 20
    message = Client(broker, "subscriber", **KEPT).only(Publish)
    assert message.properties.message_expiry_interval == 40


def test_expired_messages_are_not_delivered(broker, sender, clock):
    subscriber(broker).lose()
    sender.publish("a", b"short", qos=1, message_expiry_interval=10)
    sender.publish("a", b"long", qos=1, message_expiry_interval=100)
    sender.publish("a", b"forever", qos=1)
    clock.now += 10
    assert Client(broker, "subscriber", **KEPT).payloads() == [b"long", b"forever"]
    assert broker.statistics.dropped == {"expired": 1}


def test_expired_messages_leave_the_queue_by_themselves(clock):
    broker = Broker(clock=clock, limits=Limits(max_queued=2))
    subscriber(broker).lose()
    sender = Client(broker, "sender")
    sender.publish("a", b"long", qos=1, message_expiry_interval=100)
    sender.publish("a", b"short", qos=1, message_expiry_interval=10)
    assert broker.tick() == 10
    clock.now += 10
    assert broker.tick() == 90
    sender.publish("a", b"room again", qos=1)
    assert Client(broker, "subscriber", **KEPT).payloads() == [b"long", b"room again"]


def test_statistics_count_messages(broker, sender):
    subscriber(broker)
    for qos in (0, 1, 2):
        sender.publish("a", qos=qos)
    sender.publish("nobody")
    assert (broker.statistics.received, broker.statistics.sent) == (4, 3)
