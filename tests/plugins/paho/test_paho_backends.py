"""JPaho and JPaho2 as JMqtts, beyond what the contract's tests ask of every backend."""

from __future__ import annotations

import gc

import pytest
from forwarders import Websocket
from juham_paho import JPaho, JPaho2
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from waiting import PATIENCE, Inbox, OldShape

from juham_core.broker import EmbeddedBroker
from juham_core.errors import ConnectError, OptionError
from juham_core.wire import Properties

BOTH = pytest.mark.parametrize("kind", [JPaho, JPaho2])
PROTOCOLS = pytest.mark.parametrize("protocol", [4, 5])
QUICK = {"reconnect_min": 0.01, "reconnect_max": 0.1}


def connected(kind, port, **options):
    client = kind("test")
    client.configure(**{**QUICK, **options})
    client.connect_to_server("127.0.0.1", port)
    client.wait_until_connected(PATIENCE)
    client.loop_start()
    return client


def subscribed(kind, port, topic_filter, **options):
    client = connected(kind, port, **options)
    client.on_message = inbox = Inbox()
    client.subscribe(topic_filter, qos=2).wait(PATIENCE)
    return client, inbox


@BOTH
def test_properties_of_messages(kind, embedded, topic):
    client, inbox = subscribed(kind, embedded.port, topic, protocol=5)
    with client:
        ours = {
            "content_type": "text/plain",
            "correlation_data": b"\0\1",
            "user_property": [("a", "1"), ("a", "2")],
        }
        client.publish(topic, "x", properties=ours).wait(PATIENCE)
        assert inbox.next().properties == ours
        theirs = PahoProperties(PacketTypes.PUBLISH)
        theirs.ContentType = "text/html"
        theirs.UserProperty = ("b", "3")
        client.publish(topic, "x", properties=theirs).wait(PATIENCE)
        assert inbox.next().properties == {"content_type": "text/html", "user_property": [("b", "3")]}
        client.publish(topic, "x").wait(PATIENCE)
        assert inbox.next().properties == {}


@BOTH
@PROTOCOLS
def test_the_will_is_sent_when_cut_and_not_when_closed(kind, protocol, mosquitto, topic):
    observer, inbox = subscribed(JPaho, mosquitto.port, f"{topic}/#")
    with observer, kind("test") as client:
        client.will_set(f"{topic}/will", "gone", qos=1)
        client.configure(protocol=protocol)
        client.connect_to_server("127.0.0.1", mosquitto.port)
        client.wait_until_connected(PATIENCE)
        client._close(deliberate=False)
        assert inbox.next().payload == b"gone"
        client.disconnect_from_server()
        client.connect_to_server("127.0.0.1", mosquitto.port)
        client.wait_until_connected(PATIENCE)
        client.publish(f"{topic}/last", "still here")
        client.disconnect_from_server()
        observer.publish(f"{topic}/end", "end", qos=1).wait(PATIENCE)
        # What was published goes before DISCONNECT, and there is no will after it.
        assert inbox.texts(2) == ["still here", "end"]


@BOTH
def test_disconnect_arrives_though_messages_come_in(kind, mosquitto, topic):
    """Closing a socket with bytes unread resets the connection: the broker would send the will."""
    observer, inbox = subscribed(JPaho, mosquitto.port, f"{topic}/will")
    with observer:
        for count in range(5):
            client = kind("test")
            client.will_set(f"{topic}/will", "gone", qos=1)
            client.connect_to_server("127.0.0.1", mosquitto.port)
            client.wait_until_connected(PATIENCE)
            client.subscribe(f"{topic}/flood").wait(PATIENCE)
            for _ in range(200):
                observer.publish(f"{topic}/flood", b"x" * 10_000)
            client.disconnect_from_server()
            observer.publish(f"{topic}/will", str(count), qos=1).wait(PATIENCE)
            assert inbox.texts(1) == [str(count)]


@BOTH
@PROTOCOLS
def test_a_persistent_session(kind, protocol, mosquitto, topic):
    options = {"client_id": topic.replace("/", "-"), "clean_start": False, "protocol": protocol}
    client, _ = subscribed(kind, mosquitto.port, topic, **options)
    client.disconnect_from_server()
    with connected(JPaho, mosquitto.port) as sender:
        sender.publish(topic, "while away", qos=1).wait(PATIENCE)
    with kind("test") as client:
        client.configure(**options)
        client.on_message, client.on_connect = inbox, verdicts = Inbox(), OldShape()
        client.connect_to_server("127.0.0.1", mosquitto.port)
        client.loop_start()
        assert verdicts.next()[2]["session present"] == 1
        assert inbox.texts(1) == ["while away"]


@BOTH
def test_manual_acknowledgement(kind, mosquitto, topic):
    """Mosquitto sends to a client that takes one message at a time nothing before that is acknowledged."""
    options = {"protocol": 5, "manual_ack": True, "properties": Properties(receive_maximum=1)}
    with connected(JPaho, mosquitto.port) as sender:
        client, inbox = subscribed(kind, mosquitto.port, topic, **options)
        with client:
            for qos in (1, 2, 1):
                sender.publish(topic, str(qos), qos=qos).wait(PATIENCE)
            for qos in (1, 2, 1):
                message = inbox.next()
                assert message.qos == qos
                client.publish(f"{topic}/other", "x", qos=1).wait(PATIENCE)
                assert inbox.count == 0
                assert client.ack(message.mid, message.qos) == 0


@BOTH
def test_unix_socket(kind, tmp_path):
    path = str(tmp_path / "mqtt")
    with EmbeddedBroker(unix_path=path), kind("test") as client:
        client.configure(host=path, transport="unix")
        client.connect_to_server()
        client.wait_until_connected(PATIENCE)
        client.publish("a", "x", qos=2).wait(PATIENCE)
    client = kind("test")
    client.configure(host=str(tmp_path / "nobody"), transport="unix")
    with pytest.raises(ConnectError, match="nobody"):
        client.connect_to_server()
    gc.collect()  # a socket left open would be an error


@BOTH
def test_websockets(kind, embedded, topic):
    with Websocket(embedded.port) as bridge:
        options = {"transport": "websockets", "path": "/there", "ws_headers": {"X-House": "mine"}}
        client, inbox = subscribed(kind, bridge.port, topic, **options)
        with client:
            client.publish(topic, b"x" * 5000, qos=2).wait(PATIENCE)
            assert inbox.next().payload == b"x" * 5000
        line, headers = bridge.requests[0]
        assert line == "GET /there HTTP/1.1"
        assert headers["x-house"] == "mine"


@BOTH
def test_a_server_that_knows_no_websockets(kind, embedded):
    with kind("test") as client:
        client.configure(transport="websockets", connect_timeout=1.0)
        with pytest.raises(ConnectError, match="ws://127"):
            client.connect_to_server("127.0.0.1", embedded.port)
    gc.collect()


@BOTH
def test_a_server_that_knows_no_tls(kind, embedded):
    with kind("test") as client:
        client.configure(tls=True, connect_timeout=1.0)
        with pytest.raises(ConnectError, match="mqtts://127"):
            client.connect_to_server("127.0.0.1", embedded.port)
    gc.collect()


@BOTH
def test_port_zero_and_nobody(kind):
    client = kind("test")
    with pytest.raises(ConnectError):
        client.connect_to_server("127.0.0.1", 0)
    with pytest.raises(OptionError):
        client.connect_to_server("127.0.0.1", -1)


@BOTH
def test_bind_address(kind, embedded):
    with kind("test") as client:
        client.connect_to_server("127.0.0.1", embedded.port, bind_address="127.0.0.2")
        client.wait_until_connected(PATIENCE)
        assert client.native.socket().getsockname()[0] == "127.0.0.2"


def test_jpaho_has_a_client():
    client = JPaho()
    assert isinstance(client.native, Client)
    handler = Inbox()
    assert client.on_message(handler) is handler
    assert client.on_message == handler


@BOTH
def test_copy_and_to_dict(kind):
    client = kind("boiler")
    client.configure(host="there", username="ann", password="secret", keepalive=7)
    assert "secret" not in str(client.to_dict())
    clone = client.copy()
    assert type(clone) is kind
    assert clone.name == "boiler"
    assert (clone.options.host, clone.options.username, clone.options.keepalive) == ("there", "ann", 7)
    assert not clone.is_connected()
