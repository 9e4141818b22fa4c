"""The broker's state: subscribing, plain and shared, and the retained messages that come with it."""

import pytest
from broker_support import Client, Clock

from juham_core.broker import Broker
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Disconnect,
    Properties,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
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


@pytest.fixture
def client(broker):
    return Client(broker, "client")


# --- SUBSCRIBE and UNSUBSCRIBE --------------------------------------------------------------------------


def test_suback_grants_each_filter_its_qos(client):
    client.say(Subscribe(3, [Subscription("a", 0), Subscription("b", 1), Subscription("c/#", 2)]))
    assert client.only(Suback) == Suback(3, [0, 1, 2])


@pytest.mark.parametrize(("protocol", "code"), [(MQTT_5, reasons.TOPIC_FILTER_INVALID), (MQTT_311, 0x80)])
def test_invalid_filter_is_refused_beside_valid_ones(broker, sender, protocol, code):
    client = Client(broker, protocol=protocol)
    client.say(Subscribe(3, [Subscription("a/#/b", 0), Subscription("b", 1), Subscription("$share/x", 0)]))
    answer = client.only(Suback)
    assert answer.reason_codes == [code, 1, code]
    assert ("a/#/b" in answer.properties.get("reason_string", "")) == (protocol == MQTT_5)
    sender.publish("b", b"x")
    assert client.payloads() == [b"x"]


def test_no_reason_string_for_a_client_that_wants_none(broker):
    client = Client(broker, request_problem_information=0)
    client.subscribe("#/a")
    assert client.only(Suback).properties == {}


@pytest.mark.parametrize(
    "packet",
    [
        Subscribe(1, []),
        Subscribe(0, [Subscription("a")]),
        Subscribe(1, [Subscription("a", 3)]),
        Subscribe(1, [Subscription("a", retain_handling=3)]),
        Subscribe(1, [Subscription("a")], Properties(subscription_identifier=[1, 2])),
        Subscribe(1, [Subscription("a")], Properties(subscription_identifier=[0])),
        Subscribe(1, [Subscription("$share/g/a", no_local=True)]),
        Unsubscribe(1, []),
        Unsubscribe(0, ["a"]),
    ],
    ids=str,
)
def test_forbidden_requests_end_the_connection(client, packet):
    client.say(packet)
    assert client.take(Disconnect)[0].reason_code == reasons.PROTOCOL_ERROR
    assert client.closed


def test_unsuback_has_a_code_for_each_filter(client, sender):
    client.subscribe("a")
    client.subscribe("b")
    client.sent.clear()
    client.say(Unsubscribe(4, ["a", "never", "#/#"]))
    assert client.only(Unsuback) == Unsuback(4, [0x00, 0x11, reasons.TOPIC_FILTER_INVALID])
    sender.publish("a")
    sender.publish("b", b"still")
    assert client.payloads() == [b"still"]


def test_unsuback_of_3_1_1_has_no_codes(broker):
    client = Client(broker, protocol=MQTT_311)
    client.say(Unsubscribe(4, ["a"]))
    assert client.only(Unsuback) == Unsuback(4, [])


def test_subscribing_again_replaces(client, sender, broker):
    client.subscribe("a", 2, identifier=1)
    client.subscribe("a", 0, identifier=2)
    client.sent.clear()
    sender.publish("a", qos=2)
    message = client.only(Publish)
    assert (message.qos, message.properties.subscription_identifier) == (0, [2])
    assert broker.statistics.subscriptions == 1


def test_new_subscription_reaches_topics_already_in_use(client, sender):
    sender.publish("a/b")
    client.subscribe("a/+")
    client.sent.clear()
    sender.publish("a/b", b"1")
    client.subscribe("other")
    sender.publish("a/b", b"2")
    client.say(Unsubscribe(9, ["a/+"]))
    sender.publish("a/b", b"3")
    assert client.payloads() == [b"1", b"2"]


def test_many_topics_do_not_grow_the_route_cache(client, sender, monkeypatch):
    monkeypatch.setattr("juham_core.broker.subscriptions.MAX_CACHED_TOPICS", 10)
    client.subscribe("a/#")
    client.sent.clear()
    for number in range(25):
        sender.publish(f"a/{number}")
    assert len(client.payloads()) == 25
    assert len(sender.broker._router.subscriptions.routes) <= 10


@pytest.mark.parametrize(
    ("topic_filter", "matched"),
    [("#", False), ("+/load", False), ("$SYS/#", True), ("$SYS/+", True), ("$SYS/load", True)],
)
def test_wildcards_in_the_first_level_do_not_match_dollar_topics(client, sender, topic_filter, matched):
    client.subscribe(topic_filter)
    client.sent.clear()
    sender.publish("$SYS/load", b"live")
    sender.publish("$SYS/load", b"kept", retain=True)
    late = Client(client.broker, "late")
    late.subscribe(topic_filter)
    assert client.payloads() == ([b"live", b"kept"] if matched else [])
    assert late.payloads() == ([b"kept"] if matched else [])


# --- overlapping subscriptions, identifiers, no-local ---------------------------------------------------


def test_overlapping_subscriptions_give_one_copy(client, sender):
    client.subscribe("a/#", 1, identifier=11)
    client.subscribe("a/+", 2, identifier=12)
    client.subscribe("a/b", 0)
    client.sent.clear()
    sender.publish("a/b", qos=2)
    message = client.only(Publish)
    assert message.qos == 2
    assert sorted(message.properties.subscription_identifier) == [11, 12]


def test_no_local_leaves_out_own_messages_only(client, sender):
    client.subscribe("a", no_local=True)
    client.sent.clear()
    client.publish("a", b"own")
    sender.publish("a", b"other")
    assert client.payloads() == [b"other"]


def test_no_local_beside_an_overlapping_subscription(client, sender):
    client.subscribe("a", 1, no_local=True, identifier=1)
    client.subscribe("#", 0, identifier=2)
    client.sent.clear()
    client.publish("a", b"own", qos=1)
    sender.publish("a", b"other", qos=1)
    own, other = client.take(Publish)
    assert (own.payload, own.qos, own.properties.subscription_identifier) == (b"own", 0, [2])
    assert (other.payload, other.qos) == (b"other", 1)
    assert sorted(other.properties.subscription_identifier) == [1, 2]


def test_no_local_holds_for_own_retained_messages(client, sender):
    client.publish("a/1", b"own", retain=True)
    sender.publish("a/2", b"other", retain=True)
    client.subscribe("a/#", no_local=True)
    assert client.payloads() == [b"other"]


# --- retained messages ----------------------------------------------------------------------------------


def test_retained_message_is_replayed_with_its_flag_after_suback(client, sender):
    sender.publish("a/b", b"1", qos=1, retain=True, content_type="t")
    sender.publish("a/b", b"2", qos=1, retain=True, content_type="t")
    client.subscribe("a/+", 2, identifier=7)
    assert [packet.kind for packet in client.sent] == ["suback", "publish"]
    (message,) = client.take(Publish)
    assert (message.payload, message.retain, message.qos) == (b"2", True, 1)
    assert message.properties == {"content_type": "t", "subscription_identifier": [7]}


@pytest.mark.parametrize("as_published", [False, True])
def test_retain_flag_of_live_messages(client, sender, as_published):
    client.subscribe("a", retain_as_published=as_published)
    client.sent.clear()
    sender.publish("a", retain=True)
    sender.publish("a", retain=False)
    assert [message.retain for message in client.take(Publish)] == [as_published, False]


def test_empty_payload_clears_and_is_passed_on(client, sender, broker):
    client.subscribe("a")
    client.sent.clear()
    sender.publish("a", b"1", retain=True)
    sender.publish("a", b"", retain=True)
    sender.publish("never", b"", retain=True)
    assert client.payloads() == [b"1", b""]
    assert broker.statistics.retained == 0
    client.subscribe("#")
    assert client.payloads() == []


def test_cleared_topics_leave_nothing_behind(sender, broker):
    for payload in (b"x", b""):
        for topic in ("a/b/c", "a/b", "/"):
            sender.publish(topic, payload, retain=True)
    assert broker._router.retained._root.children == {}


@pytest.mark.parametrize(("handling", "first", "again"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(client, sender, handling, first, again):
    sender.publish("a", retain=True)
    client.subscribe("a", retain_handling=handling)
    assert len(client.payloads()) == first
    client.subscribe("a", retain_handling=handling)
    assert len(client.payloads()) == again


@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        ("#", ["/", "a", "a/b", "a/b/c", "b"]),
        ("a/#", ["a", "a/b", "a/b/c"]),
        ("+", ["a", "b"]),
        ("+/+", ["/", "a/b"]),
        ("a/+/c", ["a/b/c"]),
        ("a/b", ["a/b"]),
        ("+/b/#", ["a/b", "a/b/c"]),
        ("c", []),
        ("/#", ["/"]),
    ],
)
def test_retained_messages_are_found_by_filter(client, sender, topic_filter, topics):
    for topic in ("a", "a/b", "a/b/c", "b", "/", "gone/x"):
        sender.publish(topic, retain=True)
    sender.publish("gone/x", b"", retain=True)
    client.subscribe(topic_filter)
    assert sorted(message.topic for message in client.take(Publish)) == topics


def test_retained_message_expires(client, sender, clock, broker):
    sender.publish("a", b"short", retain=True, message_expiry_interval=10)
    sender.publish("b", b"long", retain=True, message_expiry_interval=100)
    sender.publish("c", b"forever", retain=True)
    clock.now += 4
    client.subscribe("a")
    (message,) = client.take(Publish)
    assert message.properties.message_expiry_interval == 6
    clock.now += 6
    client.subscribe("a")
    assert client.payloads() == []
    assert broker.tick() == 90
    assert broker.statistics.retained == 2
    clock.now += 90
    assert broker.tick() is None
    assert broker.statistics.retained == 1


def test_retained_message_for_a_busy_client_waits_with_the_others(broker, sender):
    client = Client(broker, "client", receive_maximum=1)
    for number in range(4):
        sender.publish(f"a/{number}", b"%d" % number, qos=1, retain=True)
    client.subscribe("a/#", 1)
    assert len([packet for packet in client.sent if isinstance(packet, Publish)]) == 1
    assert client.acknowledge() == [b"0", b"1", b"2", b"3"]
