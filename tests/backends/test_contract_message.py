"""The contract: what may be published, and what arrives."""

import pytest
from waiting import Inbox

import juham_core as juham

PAYLOADS = {
    "str": ("ünïcode ✓", "ünïcode ✓".encode()),
    "bytes": (b"\x00\x01", b"\x00\x01"),
    "bytearray": (bytearray(b"array"), b"array"),
    "memoryview": (memoryview(b"a view")[2:], b"view"),
    "int": (-42, b"-42"),
    "float": (21.5, b"21.5"),
    "None": (None, b""),
    "empty": ("", b""),
    "not UTF-8": (b"\xff\xfe\x80", b"\xff\xfe\x80"),
    "1 MiB": (b"0123456789abcdef" * 65_536, b"0123456789abcdef" * 65_536),
}


@pytest.fixture
def inbox(client, topic):
    """The messages that come to the client under the test's topics."""
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/#", qos=1).wait(5)
    return inbox


@pytest.mark.parametrize("kind", PAYLOADS)
def test_payload(client, inbox, topic, kind):
    payload, expected = PAYLOADS[kind]
    client.publish(f"{topic}/p", payload, qos=1).wait(5)
    message = inbox.next()
    assert type(message.payload) is bytes
    assert message.payload == expected


@pytest.mark.parametrize("qos", [0, 1])
def test_attributes(client, inbox, topic, qos):
    client.publish(f"{topic}/a", "x", qos=qos).wait(5)
    message = inbox.next()
    assert (message.topic, message.qos, message.retain, message.dup) == (f"{topic}/a", qos, False, False)
    assert (message.mid > 0) == (qos > 0)
    assert message.properties == {}


@pytest.mark.needs("qos_2")
def test_qos_2_arrives_once(client, topic):
    inbox = Inbox()
    client.on_message = inbox
    assert client.subscribe(f"{topic}/#", qos=2).wait(5).granted == {f"{topic}/#": 2}
    client.publish(f"{topic}/a", "once", qos=2).wait(5)
    client.publish(f"{topic}/a", "end", qos=2).wait(5)
    assert [inbox.next().payload, inbox.next().payload] == [b"once", b"end"]
    assert inbox.count == 0


def test_a_retained_message_is_replayed_flagged_and_cleared(connect, topic):
    first, late, later = Inbox(), Inbox(), Inbox()
    publisher, witness, again = connect(), connect(), connect()
    publisher.on_message, witness.on_message, again.on_message = first, late, later
    publisher.subscribe(topic, qos=1).wait(5)
    publisher.publish(topic, "kept", qos=1, retain=True).wait(5)
    assert first.next().retain is False
    witness.subscribe(topic, qos=1).wait(5)
    replayed = late.next()
    assert (replayed.payload, replayed.retain) == (b"kept", True)
    publisher.publish(topic, b"", qos=1, retain=True).wait(5)
    assert late.next().payload == b""
    again.subscribe(topic, qos=1).wait(5)
    publisher.publish(topic, "live", qos=1).wait(5)
    message = later.next()
    assert (message.payload, message.retain) == (b"live", False)


@pytest.mark.needs("mqtt_5")
def test_properties_arrive_in_order_with_duplicates(connect, topic):
    client = connect(protocol=5)
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(topic, qos=1).wait(5)
    properties = {
        "user_property": [("b", "1"), ("a", "2"), ("b", "1"), ("b", "3")],
        "content_type": "text/plain",
        "response_topic": f"{topic}/answer",
        "correlation_data": b"\x00\xff",
        "payload_format_indicator": 1,
    }
    client.publish(topic, "x", qos=1, properties=properties).wait(5)
    assert inbox.next().properties == properties


@pytest.mark.needs("mqtt_311")
def test_properties_need_mqtt_5(connect, topic):
    client = connect(protocol=4)
    with pytest.raises(juham.NotSupportedError, match="MQTT 5"):
        client.publish(topic, "x", properties={"content_type": "text/plain"})
