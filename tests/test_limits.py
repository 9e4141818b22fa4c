"""What a broker will not take, and the topic aliases it sends."""

import pytest

from juham_core.errors import MalformedPacketError
from juham_core.limits import BrokerLimits
from juham_core.message import MqttMsg
from juham_core.wire import MQTT_5, Properties, Publish, Subscribe, Subscription, Unsubscribe, encode
from juham_core.wire.aliases import TopicAliases


def test_a_broker_without_limits_costs_nothing():
    assert BrokerLimits.announced(Properties(receive_maximum=5, topic_alias_maximum=3)) is None


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("properties", [None, Properties(content_type="text/plain")])
@pytest.mark.parametrize("size", [0, 100, 120, 130, 20_000])
def test_the_size_is_that_on_the_wire(qos, properties, size):
    message = MqttMsg("a/ü", bytes(size), qos, properties=properties)
    packet = Publish("a/ü", bytes(size), qos, packet_id=qos, properties=properties or Properties())
    on_the_wire = len(encode(packet, MQTT_5))
    assert BrokerLimits(Properties(maximum_packet_size=on_the_wire)).on_publish(message) is None
    code, why = BrokerLimits(Properties(maximum_packet_size=on_the_wire - 1)).on_publish(message)
    assert code == 0x95
    assert f"{on_the_wire:,}" in why.reason_string


def test_qos_and_retain():
    limits = BrokerLimits.announced(Properties(maximum_qos=1, retain_available=0))
    assert limits.on_publish(MqttMsg("t", b"", 1)) is None
    assert limits.on_publish(MqttMsg("t", b"", 2))[0] == 0x9B
    assert limits.on_publish(MqttMsg("t", b"", 0, retain=True))[0] == 0x9A


@pytest.mark.parametrize(
    ("topic_filter", "code"),
    [("a/b", None), ("a/+", 0xA2), ("#", 0xA2), ("$share/g/a", 0x9E), ("$share/g/#", 0x9E)],
)
def test_subscriptions(topic_filter, code):
    said = Properties(wildcard_subscription_available=0, shared_subscription_available=0)
    assert BrokerLimits.announced(said).on_subscribe(Subscription(topic_filter)) == code
    assert BrokerLimits(Properties()).on_subscribe(Subscription(topic_filter)) is None


@pytest.mark.parametrize("identifier", [0, 5, 200, 268_435_455])
@pytest.mark.parametrize("length", [1, 100, 118, 120, 130, 20_000])
def test_as_many_filters_as_one_packet_takes(identifier, length):
    wanted = [Subscription("ü" * length, identifier=identifier), Subscription("b"), Subscription("c")]
    names = [each.topic_filter for each in wanted]
    for count in range(1, 4):
        properties = Properties(subscription_identifier=identifier) if identifier else Properties()
        for packet, filters in (
            (Subscribe(1, wanted[:count], properties), wanted),
            (Unsubscribe(1, names[:count]), names),
        ):
            on_the_wire = len(encode(packet, MQTT_5))
            assert BrokerLimits(Properties(maximum_packet_size=on_the_wire)).fitting(filters) == count
            assert BrokerLimits(Properties(maximum_packet_size=on_the_wire - 1)).fitting(filters) == count - 1


def test_filters_that_no_packet_takes():
    limits = BrokerLimits.announced(Properties(maximum_packet_size=20))
    assert limits.on_filter(Subscription("a" * 20)) == limits.on_filter("a" * 20) == 0x95
    assert limits.on_filter(Subscription("a")) is limits.on_filter("a") is None


def test_aliases():
    aliases = TopicAliases(2)
    came = (("a", 1), ("", 1), ("b", 2), ("c", 1), ("", 1))
    assert [aliases.resolve(*each) for each in came] == list("aabcc")


@pytest.mark.parametrize(("topic", "alias"), [("", 1), ("a", 3), ("a", 0)])
def test_aliases_that_are_refused(topic, alias):
    with pytest.raises(MalformedPacketError, match="alias") as caught:
        TopicAliases(2).resolve(topic, alias)
    assert caught.value.reason_code == 0x94
