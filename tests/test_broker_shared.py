"""The broker's state: shared subscriptions (MQTT 5 section 4.8.2)."""

import pytest
from broker_support import KEPT, Client, Clock

from juham_core.broker import Broker
from juham_core.wire import (
    MQTT_311,
    Publish,
    Pubrec,
    Suback,
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


def members(broker, *names, topic_filter="$share/g/a/#", qos=1, **options):
    clients = [Client(broker, name, **options) for name in names]
    for each in clients:
        each.subscribe(topic_filter, qos)
        each.sent.clear()
    return clients


@pytest.mark.parametrize("qos", [0, 1])
def test_shared_messages_take_turns(broker, sender, qos):
    clients = members(broker, "1", "2", "3")
    for number in range(6):
        sender.publish("a/b", b"%d" % number, qos=qos)
    assert [each.payloads() for each in clients] == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def test_each_group_and_each_filter_gets_its_own_copy(broker, sender):
    (plain,) = members(broker, "plain", topic_filter="a/b")
    (one,) = members(broker, "1", topic_filter="$share/g/a/#")
    (other_group,) = members(broker, "2", topic_filter="$share/h/a/#")
    (other_filter,) = members(broker, "3", topic_filter="$share/g/a/b")
    sender.publish("a/b")
    assert [len(each.payloads()) for each in (plain, one, other_group, other_filter)] == [1, 1, 1, 1]


def test_shared_subscription_carries_identifier_and_qos(broker, sender, client):
    client.subscribe("$share/g/a", 1, identifier=5)
    client.sent.clear()
    sender.publish("a", qos=2)
    message = client.only(Publish)
    assert (message.qos, message.properties.subscription_identifier) == (1, [5])


def test_shared_subscription_gets_no_retained_messages(client, sender):
    sender.publish("a", retain=True)
    sender.publish("$share/g/a", retain=True)
    client.subscribe("$share/g/a")
    assert client.only(Suback).reason_codes == [0]


def test_shared_messages_go_to_connected_members(broker, sender):
    away, here = members(broker, "away", "here", **KEPT)
    away.lose()
    for _ in range(3):
        sender.publish("a", qos=1)
    assert len(here.payloads()) == 3


def test_shared_messages_wait_where_no_member_is_connected(broker, sender):
    for each in members(broker, "1", "2", **KEPT):
        each.lose()
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=1)
    received = [Client(broker, name, **KEPT).payloads() for name in ("1", "2")]
    assert sorted(received[0] + received[1]) == [b"0", b"1", b"2", b"3"]


def test_messages_of_an_ended_session_go_to_other_members(broker, sender):
    leaver, stayer = members(broker, "leaver", "stayer", receive_maximum=1)
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=1, content_type="t")
    (kept,) = leaver.take(Publish)
    assert kept.payload == b"0"
    leaver.lose()  # its session ends with the connection
    assert sorted(stayer.acknowledge()) == [b"0", b"1", b"2", b"3"]
    assert broker.statistics.dropped == {}


def test_messages_passed_on_carry_the_new_member_s_identifier(broker, sender):
    leaver, stayer = Client(broker, "leaver"), Client(broker, "stayer")
    leaver.subscribe("$share/g/a", 1, identifier=1)
    sender.publish("a", qos=1, content_type="t")
    stayer.subscribe("$share/g/a", 1)
    stayer.sent.clear()
    leaver.lose()
    assert stayer.only(Publish).properties == {"content_type": "t"}


def test_qos_2_message_that_a_member_may_have_seen_goes_to_nobody_else(broker, sender):
    leaver, stayer = members(broker, "leaver", "stayer", qos=2)
    sender.publish("a", qos=2)
    leaver.say(Pubrec(leaver.only(Publish).packet_id))
    leaver.lose()
    assert stayer.sent == []


def test_unsubscribing_leaves_the_group(broker, sender):
    one, two = members(broker, "1", "2")
    one.say(Unsubscribe(9, ["$share/g/a/#"]))
    one.sent.clear()
    for _ in range(3):
        sender.publish("a")
    assert (len(one.payloads()), len(two.payloads())) == (0, 3)


def test_last_member_leaving_ends_the_group(broker, sender):
    (one,) = members(broker, "1")
    one.disconnect()
    packet_id = sender.publish("a", qos=1)
    (answer,) = sender.sent
    assert (answer.packet_id, answer.reason_code) == (packet_id, reasons.NO_MATCHING_SUBSCRIBERS)
    assert broker.statistics.subscriptions == 0


def test_shared_subscription_of_3_1_1(broker, sender):
    one, two = members(broker, "1", "2", protocol=MQTT_311)
    sender.publish("a", b"x")
    sender.publish("a", b"y")
    assert (one.payloads(), two.payloads()) == ([b"x"], [b"y"])
