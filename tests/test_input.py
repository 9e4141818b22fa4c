"""Bad input raises at the call, typed, and nothing comes of it; the kit asks every backend for most of it."""

import secrets
import sys

import pytest
from waiting import Inbox

import juham_core as juham
from juham_core.topics import check_topic
from juham_core.wire import Properties

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
    "share alone": "$share",
}
REFUSED = [
    "\n",
    "\x01",
    "\x1f",
    "\x7f",
    "\x85",
    "\x9f",
    "\ufdd0",
    "\ufdef",
    "\ufffe",
    "\uffff",
    "\U0001fffe",
    "\U0010ffff",
]
OTHER_PAYLOADS = {"dict": {"a": 1}, "list": [1], "object": object(), "surrogate": "\udc80"}
QOS = [3, -1, "1", None, 1.0]
VALUES = {
    "a flag of 2": {"payload_format_indicator": 2},
    "a response topic that is a filter": {"response_topic": "a/#"},
    "an empty response topic": {"response_topic": ""},
}
"""Properties of a message whose type is right and whose value MQTT forbids."""
PROPERTIES = {
    **VALUES,
    "an alias of 0": {"topic_alias": 0},
    "a subscription identifier": {"subscription_identifier": [1]},
    "of another packet": {"receive_maximum": 5},
}


@pytest.fixture
def create(closing):
    """Make clients in the process: what is tried here is the core's."""
    return lambda **options: closing(juham.create("memory", host=secrets.token_hex(6), **options))


@pytest.mark.parametrize("kind", TOPICS)
def test_topic(create, kind):
    with pytest.raises(juham.TopicError) as caught:
        create().publish(TOPICS[kind], "x", qos=1)
    assert isinstance(caught.value, ValueError)


def test_the_longest_topic_is_allowed(create):
    client = create()
    client.on_message = inbox = Inbox()
    client.connect_to_server()
    client.loop_start()
    client.subscribe("a/#", 1).wait(5)
    longest = f"a/{'x' * 65_533}"
    client.publish(longest, "x", qos=1).wait(5)
    assert inbox.next().topic == longest


@pytest.mark.parametrize("kind", FILTERS)
def test_topic_filter(create, kind):
    client = create()
    with pytest.raises(juham.TopicError):
        client.subscribe(FILTERS[kind])
    with pytest.raises(juham.TopicError):
        client.unsubscribe(FILTERS[kind])
    assert client.subscriptions == {}


@pytest.mark.parametrize("kind", PROPERTIES)
def test_properties_of_a_publish(create, kind):
    client = create(protocol=5)
    client.connect_to_server()
    for qos in (0, 1):
        with pytest.raises(juham.InvalidArgumentError, match=next(iter(PROPERTIES[kind]))):
            client.publish("a", "x", qos=qos, properties=PROPERTIES[kind])
    client.publish("a", "x", qos=1).wait(5)
    assert client.statistics.published == 1


def test_a_publish_that_may_outlive_its_connection_has_no_topic_alias(create):
    client = create(protocol=5)
    with pytest.raises(juham.NotSupportedError, match="topic_alias"):
        client.publish("a", "x", qos=1, properties={"topic_alias": 1})
    assert client.statistics.queued == 0


def test_a_topic_alias_that_the_broker_does_not_take(create):
    client = create(protocol=5)
    client.connect_to_server()
    with pytest.raises(juham.InvalidArgumentError, match="'topic_alias' is 60000"):
        client.publish("a", "x", properties={"topic_alias": 60_000})
    client.publish("a", "x", qos=1).wait(5)
    assert client.statistics.published == 1


@pytest.mark.parametrize("kind", VALUES)
def test_properties_of_a_will(create, kind):
    for wrong in (VALUES[kind], {"topic_alias": 1}):
        with pytest.raises(juham.InvalidArgumentError):
            create(protocol=5, will=juham.Will("a", b"x", properties=Properties(wrong)))
    with pytest.raises(juham.InvalidArgumentError):
        create(protocol=5).will_set("a", b"x", properties=VALUES[kind])


@pytest.mark.parametrize("character", REFUSED)
def test_text_of_connect_for_which_a_broker_may_end_the_connection(create, character):
    text = f"a{character}b"
    for option in ("client_id", "username"):
        with pytest.raises(juham.OptionError, match=f"U\\+{ord(character):04X}"):
            create(**{option: text})
    with pytest.raises(juham.InvalidArgumentError, match="user_property"):
        create(protocol=5, properties={"user_property": [("a", text)]})


def test_other_text_of_connect(create):
    client = create(client_id="Räume 1\u200b", username="日本\u2028", password="a\nb")
    assert client.options.username == "日本\u2028"


def test_one_bad_filter_in_a_list_refuses_the_list(create):
    client = create()
    with pytest.raises(juham.TopicError):
        client.subscribe([("good", 1), ("bad/#/", 1)])
    assert client.subscriptions == {}


@pytest.mark.parametrize("kind", [kind for kind in FILTERS if kind not in ("no list", "share alone")])
def test_the_filter_of_a_callback(create, kind):
    with pytest.raises(juham.TopicError):
        create().message_callback_add(FILTERS[kind], print)


@pytest.mark.parametrize("odd", REFUSED, ids=ascii)
def test_text_for_which_a_broker_may_end_every_next_connection(create, odd):
    client, text = create(protocol=5), f"a{odd}b"
    point = f"U\\+{ord(odd):04X}"
    with pytest.raises(juham.TopicError, match=point):
        client.publish(text, "x", qos=1)
    with pytest.raises(juham.TopicError, match=point):
        client.subscribe(text, 1)
    with pytest.raises(juham.TopicError, match=point):
        client.unsubscribe(text)
    with pytest.raises(juham.TopicError, match=point):
        client.will_set(text, "x")
    for properties in (
        {"user_property": [("a", text)]},
        {"user_property": {text: "a"}},
        {"content_type": text},
    ):
        with pytest.raises(juham.InvalidArgumentError, match=point):
            client.publish("a", "x", qos=1, properties=properties)
        with pytest.raises(juham.InvalidArgumentError, match=point):
            client.will_set("a", "x", properties=properties)
    assert (client.subscriptions, client.statistics.queued) == ({}, 0)


def test_the_topic_of_a_broker_in_the_process_is_looked_at_all_the_same(create):
    odd = f"a\n{secrets.token_hex(6)}"
    check_topic(odd)  # as a broker does with what others send it
    with pytest.raises(juham.TopicError, match="U\\+000A"):
        create().publish(odd, "x", qos=1)


@pytest.mark.parametrize(
    "odd", ["\u00a0", "\u00ad", "\ufeff", "\ufffd", "\u2028", "\ue000", "\U0010fffd", "\u0378"]
)
def test_other_text_arrives(create, odd):
    client = create(protocol=5)
    client.on_message = inbox = Inbox()
    client.connect_to_server()
    client.loop_start()
    client.subscribe(f"a{odd}/+", 1).wait(5)
    client.publish(f"a{odd}/b", "line\nline", qos=1, properties={"user_property": [(odd, odd)]}).wait(5)
    message = inbox.next()
    assert (message.topic, message.payload) == (f"a{odd}/b", b"line\nline")
    assert message.properties.user_property == [(odd, odd)]


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


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python writes any int")
def test_payload_of_too_many_digits(create):
    with pytest.raises(juham.PayloadError, match="digits"):
        create().publish("a", 10**5000, qos=1)


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_payload_too_large(create, wrap):
    with pytest.raises(juham.PayloadError, match="268,435,455"):
        create().publish("a", wrap(bytes(268_435_456)), qos=1)


def test_will_too_large(create):
    with pytest.raises(juham.PayloadError, match="65,535"):
        create().will_set("a", bytes(65_536))


def test_unknown_options(create):
    url = f"memory://{secrets.token_hex(6)}"
    with pytest.raises(juham.OptionError, match="keepalive"):
        create(keepaliv=3)
    with pytest.raises(juham.OptionError, match="keepalive"):
        create().configure(keepaliv=3)
    with pytest.raises(juham.OptionError, match="keepalive"):
        juham.connect(f"{url}?keepaliv=3")
    with pytest.raises(juham.OptionError, match="keepalive"):
        juham.connect(url, keepaliv=3)


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


def test_mqtt_3_1_1_has_no_password_without_a_username(create):
    with pytest.raises(juham.OptionError, match="username"):
        create(protocol=4).configure(password="alone")
