"""The broker's state: windows, queues, sizes and aliases, and what a PUBLISH may carry."""

import pytest
from broker_support import KEPT, Client, Clock, subscriber

from juham_core.broker import Broker, Limits
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Disconnect,
    Puback,
    Publish,
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


def test_full_queue_drops_the_newest_counts_and_says_so_once(clock, caplog):
    broker = Broker(clock=clock, limits=Limits(max_inflight=1, max_queued=2))
    client = subscriber(broker)
    sender = Client(broker, "sender")
    for number in range(5):
        sender.publish("a", b"%d" % number, qos=1)
    assert client.acknowledge() == [b"0", b"1", b"2"]
    assert broker.statistics.dropped == {"queue_full": 2}
    [line] = caplog.messages
    assert line.startswith("2 messages wait for the client 'subscriber' in the embedded broker")


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


def test_receive_maximum_is_unknown_to_mqtt_3_1_1():
    sender = Client(Broker(limits=Limits(receive_maximum=1)), protocol=MQTT_311)
    for _ in range(3):
        sender.publish("a", qos=2)
    assert not sender.closed


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
    clock.now += 10.5
    again = Client(broker, "subscriber", **KEPT).only(Publish)
    assert (again.dup, again.properties.message_expiry_interval) == (True, 30)


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
