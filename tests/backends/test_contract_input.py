"""The contract: bad input raises at the call, typed, and nothing of it is sent."""

import pytest

import juham_core as juham
from juham_core.wire import Publish

TOPICS = {
    "wildcard #": "a/#",
    "wildcard +": "a/+/b",
    "empty": "",
    "NUL": "a\0b",
    "too long": "é" * 32_768,
    "surrogate": "a\udc80",
    "no str": 7,
    "None": None,
}
FILTERS = {
    "# not last": "a/#/b",
    "# in a level": "a/b#",
    "+ in a level": "a+/b",
    "empty": "",
    "NUL": "a\0b",
    "too long": "é" * 32_768,
    "surrogate": "a\udc80",
    "no list": [],
    "share without a filter": "$share/group",
    "share with a wildcard group": "$share/+/a",
}
OTHER_PAYLOADS = {"dict": {"a": 1}, "list": [1], "object": object(), "surrogate": "\udc80"}
QOS = [3, -1, "1", None, 1.0]


@pytest.mark.parametrize("kind", TOPICS)
def test_topic(create, kind):
    with pytest.raises(juham.TopicError) as caught:
        create().publish(TOPICS[kind], "x", qos=1)
    assert isinstance(caught.value, ValueError)


def test_the_longest_topic_is_allowed(client, observer, topic):
    longest = f"{topic}/{'x' * (65_535 - len(topic) - 1)}"
    observer.subscribe(f"{topic}/#")
    client.publish(longest, "x", qos=1).wait(5)
    assert observer.next().topic == longest


@pytest.mark.parametrize("kind", FILTERS)
def test_topic_filter(create, kind):
    client = create()
    with pytest.raises(juham.TopicError):
        client.subscribe(FILTERS[kind])
    with pytest.raises(juham.TopicError):
        client.unsubscribe(FILTERS[kind])
    assert client.subscriptions == {}


def test_one_bad_filter_in_a_list_refuses_the_list(create):
    client = create()
    with pytest.raises(juham.TopicError):
        client.subscribe([("good", 1), ("bad/#/", 1)])
    assert client.subscriptions == {}


@pytest.mark.parametrize("kind", [kind for kind in FILTERS if kind != "no list"])
def test_the_filter_of_a_callback(create, kind):
    with pytest.raises(juham.TopicError):
        create().message_callback_add(FILTERS[kind], print)


@pytest.mark.parametrize("qos", QOS)
def test_qos(create, qos):
    client = create()
    with pytest.raises(juham.QosError):
        client.publish("a", "x", qos=qos)
    with pytest.raises(juham.QosError):
        client.subscribe("a", qos=qos)
    with pytest.raises(juham.QosError):
        client.will_set("a", "x", qos=qos)


@pytest.mark.parametrize("kind", OTHER_PAYLOADS)
def test_payload_of_another_type(create, kind):
    with pytest.raises(juham.PayloadError):
        create().publish("a", OTHER_PAYLOADS[kind], qos=1)


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_payload_too_large(create, wrap):
    with pytest.raises(juham.PayloadError, match="268,435,455"):
        create().publish("a", wrap(bytes(268_435_456)), qos=1)


def test_will_too_large(create):
    with pytest.raises(juham.PayloadError, match="65,535"):
        create().will_set("a", bytes(65_536))


def test_unknown_options(create, backend, broker):
    with pytest.raises(juham.OptionError, match="keepalive"):
        create(keepaliv=3)
    with pytest.raises(juham.OptionError, match="keepalive"):
        create().configure(keepaliv=3)
    with pytest.raises(juham.OptionError, match="keepalive"):
        juham.connect(f"{broker.url}?keepaliv=3", backend=backend)
    with pytest.raises(juham.OptionError, match="keepalive"):
        juham.connect(broker.url, backend=backend, keepaliv=3)


@pytest.mark.parametrize(
    "options",
    [
        {"keepalive": -1},
        {"keepalive": 65_536},
        {"port": 65_536},
        {"host": ""},
        {"protocol": 3},
        {"transport": "carrier pigeon"},
        {"client_id": "a\0"},
        {"username": "é" * 32_768},
        {"username": "\udc80"},
        {"username": "u", "password": "\udc80"},
        {"username": "u", "password": 7},
        {"username": "u", "password": bytes(65_536)},
        {"max_inflight": 0},
        {"reconnect_min": 5, "reconnect_max": 1},
        {"connect_timeout": float("nan")},
    ],
    ids=",".join,
)
def test_option_values(create, options):
    client = create()
    before = client.options
    with pytest.raises(juham.OptionError):
        client.configure(**options)
    assert client.options == before


@pytest.mark.needs("mqtt_311")
def test_mqtt_3_1_1_has_no_password_without_a_username(create):
    with pytest.raises(juham.OptionError, match="username"):
        create(protocol=4).configure(password="alone")


@pytest.mark.needs("tcp")
def test_nothing_of_it_is_sent(create, peer):
    client = create(**peer.options)
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.accept()
    client.wait_until_connected(5)
    for topic in TOPICS.values():
        with pytest.raises(juham.InvalidArgumentError):
            client.publish(topic, "x")
    for topic_filter in FILTERS.values():
        with pytest.raises(juham.InvalidArgumentError):
            client.subscribe(topic_filter)
        with pytest.raises(juham.InvalidArgumentError):
            client.unsubscribe(topic_filter)
    for qos in QOS:
        with pytest.raises(juham.InvalidArgumentError):
            client.publish("a", "x", qos=qos)
    client.publish("good", "x")
    assert conversation.expect(Publish).topic == "good"
