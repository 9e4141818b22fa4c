"""JPaho2 used as what it is by its first base: paho's own client, with paho's own methods."""

from __future__ import annotations

import gc
import select
import ssl
import threading
import warnings

import pytest
import trustme
from forwarders import Socks5, Websocket
from juham_paho import JPaho, JPaho2
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions
from scripted import ScriptedPeer
from waiting import PATIENCE, Inbox, Recorder, eventually

from juham_core.broker import EmbeddedBroker
from juham_core.errors import ConnectError, NotSupportedError, OptionError, PublishError, SubscribeError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.wire import Connect, Puback, Publish, Suback, Subscribe

VERSIONS = pytest.mark.parametrize("version", list(CallbackAPIVersion))
PROTOCOLS = pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5])


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()


@pytest.fixture
def native(closing):
    """Make clients that are connected by paho's own ``connect``, their network thread running."""

    def make(port, **arguments):
        client = closing(JPaho2("test", **arguments))
        up = threading.Event()
        client.on_connect = lambda *_: up.set()
        assert client.connect("127.0.0.1", port) == MQTTErrorCode.MQTT_ERR_SUCCESS
        assert client.loop_start() == MQTTErrorCode.MQTT_ERR_SUCCESS
        assert up.wait(PATIENCE)
        return client

    return make


@pytest.fixture
def observer(embedded, closing, topic):
    """An inbox of everything under the test's topic."""
    client = closing(JPaho("observer"))
    client.connect_to_server("127.0.0.1", embedded.port)
    client.wait_until_connected(PATIENCE)
    client.on_message = inbox = Inbox()
    client.loop_start()
    client.subscribe(f"{topic}/#", qos=2).wait(PATIENCE)
    return inbox


def test_no_name_of_jmqtts_collides_with_pahos():
    theirs = {*dir(paho.Client), *vars(paho.Client(CallbackAPIVersion.VERSION2))}
    client = JPaho()
    ours = {name for cls in JMqtt.__mro__ if cls is not object for name in vars(cls)} | set(vars(client))
    private = {name for name in ours if name.startswith("_") and not name.startswith("__")}
    assert private & theirs == {"_userdata"}


@VERSIONS
@pytest.mark.filterwarnings("ignore:Callback API version 1")
def test_with_a_version_it_is_pahos_client(version, native, embedded, topic):
    client = native(embedded.port, callback_api_version=version)
    client.on_message = inbox = Inbox()
    rc, mid = client.subscribe(topic, 1)
    assert (rc, type(mid)) == (MQTTErrorCode.MQTT_ERR_SUCCESS, int)
    info = client.publish(topic, "x", 1)
    assert isinstance(info, paho.MQTTMessageInfo)
    info.wait_for_publish(PATIENCE)
    assert isinstance(inbox.next(), paho.MQTTMessage)
    assert client.callback_api_version is version
    assert client.unsubscribe(topic)[0] == MQTTErrorCode.MQTT_ERR_SUCCESS
    # Which code it is depends on whether paho's thread has gone already.
    assert isinstance(client.disconnect(), MQTTErrorCode)
    assert isinstance(client.loop_stop(), MQTTErrorCode)


def test_without_a_version_nothing_is_deprecated():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert JPaho2().callback_api_version is CallbackAPIVersion.VERSION2


def test_arguments():
    userdata = object()
    client = JPaho2(client_id="me", userdata=userdata, protocol=paho.MQTTv5, transport="websockets")
    assert client.user_data_get() is userdata
    assert (client.protocol, client.transport) == (5, "websockets")
    options = client.options
    assert (options.client_id, options.protocol, options.transport) == ("me", 5, "websockets")
    assert JPaho2(CallbackAPIVersion.VERSION2, "positional").client_id == "positional"
    with pytest.raises(TypeError, match="as keywords"):
        JPaho2("name", "client-id")
    with pytest.raises(TypeError):
        JPaho2(no_such_argument=1)
    with pytest.raises(ValueError, match="transport"):
        JPaho2(transport="pigeon")


NEW = {
    "on_connect": lambda client, userdata, flags, reason_code, properties: None,
    "on_disconnect": lambda client, userdata, flags, reason_code, properties: None,
    "on_publish": lambda client, userdata, mid, reason_code, properties: None,
    "on_subscribe": lambda client, userdata, mid, reason_codes, properties: None,
    "on_unsubscribe": lambda client, userdata, mid, reason_codes, properties: None,
}
OLD = {
    "on_connect": lambda client, userdata, flags, rc: None,
    "on_disconnect": lambda client, userdata, rc: None,
    "on_publish": lambda client, userdata, mid: None,
    "on_subscribe": lambda client, userdata, mid, granted_qos: None,
    "on_unsubscribe": lambda client, userdata, mid: None,
}
OLD_5 = {
    **NEW,
    "on_disconnect": lambda client, userdata, reason_code, properties: None,
    "on_publish": OLD["on_publish"],
    "on_unsubscribe": lambda client, userdata, mid, properties, reason_codes: None,
}


def recording(shape):
    """A function of the same signature that records its calls."""
    calls = Recorder()
    names = shape.__code__.co_varnames
    function = eval(f"lambda {', '.join(names)}: calls({', '.join(names)})", {"calls": calls})
    return function, calls


def live(client, topic):
    """Let every event happen once."""
    return [client.subscribe(topic, 1), client.publish(topic, "x", 1), client.unsubscribe(topic)]


@PROTOCOLS
@pytest.mark.parametrize("shapes", [NEW, OLD, OLD_5], ids=["new", "old", "old of MQTT 5"])
@pytest.mark.parametrize("managed", [False, True], ids=["paho", "juham"])
def test_without_a_version_handlers_have_any_shape(protocol, shapes, managed, embedded, topic, closing):
    client = closing(JPaho2(protocol=protocol))
    calls = {}
    for event, shape in shapes.items():
        function, calls[event] = recording(shape)
        setattr(client, event, function)
        assert getattr(client, event) is function
    (client.connect_to_server if managed else client.connect)("127.0.0.1", embedded.port)
    client.loop_start()
    connect = calls["on_connect"].next()
    assert connect[0] is client
    assert connect[2]["session present"] == 0
    if len(connect) == 5:
        assert connect[2].session_present is False
    assert connect[3] == 0
    live(client, topic)
    suback = calls["on_subscribe"].next()
    assert [int(getattr(code, "value", code)) for code in suback[3]] == [1]
    calls["on_publish"].next()
    unsuback = calls["on_unsubscribe"].next()
    if shapes is OLD_5:
        assert not isinstance(unsuback[3], list)  # the properties
    client.disconnect()
    end = calls["on_disconnect"].next()
    assert end[{5: 3}.get(len(end), 2)] == 0
    assert all(recorder.count == 0 for recorder in calls.values())


@pytest.mark.filterwarnings("ignore:Callback API version 1")
@pytest.mark.parametrize(
    ("version", "protocol", "shapes"),
    [
        (CallbackAPIVersion.VERSION1, paho.MQTTv311, OLD),
        (CallbackAPIVersion.VERSION1, paho.MQTTv5, OLD_5),
        (CallbackAPIVersion.VERSION2, paho.MQTTv311, NEW),
        (CallbackAPIVersion.VERSION2, paho.MQTTv5, NEW),
    ],
)
def test_with_a_version_a_jmqtts_handlers_have_its_shape(
    version, protocol, shapes, embedded, topic, closing
):
    client = closing(JPaho2(callback_api_version=version, protocol=protocol))
    calls = {}
    for event in shapes:
        # Functions that would take anything, so that their own signature tells nobody anything.
        calls[event] = Recorder()
        setattr(client, event, lambda *args, event=event: calls[event](*args))
    client.connect_to_server("127.0.0.1", embedded.port)
    client.loop_start()
    assert client.callback_api_version is version
    assert len(calls["on_connect"].next()) == shapes["on_connect"].__code__.co_argcount
    receipts = live(client, topic)
    assert isinstance(receipts[1], PublishReceipt)
    for receipt in receipts:
        receipt.wait(PATIENCE)
    client.disconnect_from_server()
    for event in ("on_disconnect", "on_publish", "on_subscribe", "on_unsubscribe"):
        assert len(calls[event].next()) == shapes[event].__code__.co_argcount, event


def test_decorators_and_topic_callback(native, embedded, topic):
    client = native(embedded.port)
    routed, rest = Inbox(), Inbox()
    assert client.topic_callback(f"{topic}/routed")(routed) is routed
    assert client.message_callback()(rest) is rest
    assert client.on_message is rest
    client.subscribe(f"{topic}/#")
    client.publish(f"{topic}/routed", "1")
    client.publish(f"{topic}/other", "2")
    assert (routed.texts(1), rest.texts(1)) == (["1"], ["2"])
    client.message_callback_remove(f"{topic}/routed")
    client.publish(f"{topic}/routed", "3")
    assert rest.texts(1) == ["3"]


def test_routes_of_a_jmqtt(embedded, topic, closing):
    client = closing(JPaho2())
    routed = Inbox()
    client.topic_callback(f"{topic}/+")(routed)
    client.connect_to_server("127.0.0.1", embedded.port)
    client.loop_start()
    client.wait_until_connected(PATIENCE)
    client.subscribe(f"{topic}/#", options=None).wait(PATIENCE)
    client.publish(f"{topic}/a", msg="1")
    message = routed.next()
    assert isinstance(message, MqttMsg)
    assert message.payload == b"1"


def test_what_was_accepted_before_paho_connects_is_handed_over(peer, closing):
    client = closing(JPaho2(protocol=paho.MQTTv5))
    client.on_publish, published = recording(NEW["on_publish"])
    first = client.publish("a", "1", qos=1, properties={"content_type": "text/plain"})
    second = client.publish("a", "2", qos=1)
    granted = client.subscribe([("g", 1), ("r", 2)])
    client.message_callback_add("g", inbox := Inbox())
    client.loop_start()
    client.connect("127.0.0.1", peer.port)
    conversation = peer.take_up()
    conversation.accept()
    packets = [conversation.next() for _ in range(3)]
    sent = {packet.payload: packet for packet in packets if isinstance(packet, Publish)}
    (subscribe,) = (packet for packet in packets if isinstance(packet, Subscribe))
    assert sent[b"1"].properties == {"content_type": "text/plain"}
    assert not first.done()
    conversation.send(Puback(sent[b"1"].packet_id), Puback(sent[b"2"].packet_id, 0x97))
    first.wait(PATIENCE)
    with pytest.raises(PublishError, match="Quota"):
        second.wait(PATIENCE)
    assert {published.next()[2], published.next()[2]} == {sent[b"1"].packet_id, sent[b"2"].packet_id}
    assert [each.topic_filter for each in subscribe.subscriptions] == ["g", "r"]
    conversation.send(Suback(subscribe.packet_id, [1, 0x87]))
    with pytest.raises(SubscribeError, match="'r'"):
        granted.wait(PATIENCE)
    assert granted.granted == {"g": 1}
    conversation.send(Publish("g", b"x"))
    assert isinstance(inbox.next(), paho.MQTTMessage)
    assert isinstance(client.publish("a"), paho.MQTTMessageInfo)
    client.disconnect_from_server()


def test_what_is_not_handed_over_in_time_fails():
    client = JPaho2()
    receipt, subscription = client.publish("a", "1", qos=1), client.subscribe("a")
    client.connect_async("127.0.0.1", 1)
    client.disconnect_from_server()
    for each in (receipt, subscription):
        with pytest.raises(ConnectionError):
            each.wait(0)


def test_settings_count_whichever_way_they_are_made(observer, embedded, topic):
    for connect in ("connect", "connect_to_server"):
        with JPaho2() as client:
            client.will_set(f"{topic}/will", "1")
            client.will_clear()
            client.username = "ann"
            client.username_pw_set("ann", "secret")
            client.keepalive = 7
            client.max_queued_messages_set(0)
            client.reconnect_delay_set(2, 3)
            assert (client.username, client.options.username) == ("ann", "ann")
            assert (client.options.keepalive, client.options.reconnect_max) == (7, 3)
            assert client.will_topic in (None, "")
            getattr(client, connect)("127.0.0.1", embedded.port)
            client.publish(topic, connect, qos=1)
            client.loop_start()
            assert observer.texts(1) == [connect]


@pytest.mark.parametrize("how", ["connect", "connect_to_server"])
def test_options_set_as_a_jmqtt_reach_the_broker(how, peer):
    with JPaho2() as client:
        client.configure(username="ann", password="secret", client_id="me")
        client.will_set("will", "gone", 1, True)
        getattr(client, how)("127.0.0.1", peer.port)
        connect = peer.take_up().expect(Connect)
        assert (connect.username, connect.password, connect.client_id) == ("ann", b"secret", "me")
        assert (connect.will.topic, connect.will.payload, connect.will.qos) == ("will", b"gone", 1)


def test_host_and_port(embedded):
    assert (JPaho2.host, JPaho2.port, JPaho2.configured) == ("localhost", 1883, False)
    client = JPaho2()
    assert (client.host, client.port, client.configured) == ("", 1883, False)
    client.host, client.port = "127.0.0.1", embedded.port
    with client:
        client.connect_to_server()
        client.wait_until_connected(PATIENCE)
        assert (client.host, client.port, client.configured) == ("127.0.0.1", embedded.port, True)
        with pytest.raises(RuntimeError):
            client.host = "elsewhere"
    assert (JPaho2.host, JPaho2.port, JPaho2.configured) == ("localhost", 1883, False)


def test_class_configuration_of_host_and_port(embedded, monkeypatch):
    class Home(JPaho2):
        pass

    Home.classattrs_from_dict({"host": "127.0.0.1", "port": embedded.port})
    assert Home.host == "127.0.0.1"
    assert JPaho2.host == "localhost"
    with Home() as client:
        client.connect_to_server()
        client.wait_until_connected(PATIENCE)


@pytest.mark.parametrize("managed", [False, True], ids=["paho", "juham"])
def test_a_subclass_extends_methods_of_both(managed, embedded, topic, closing):
    called = []

    class Noting(JPaho2):
        def connect(self, *args, **named):
            called.append("connect")
            return super().connect(*args, **named)

        def connect_to_server(self, *args, **named):
            called.append("connect_to_server")
            return super().connect_to_server(*args, **named)

        def loop_start(self):
            called.append("loop_start")
            return super().loop_start()

        def subscribe(self, *args, **named):
            called.append("subscribe")
            return super().subscribe(*args, **named)

        def publish(self, *args, **named):
            called.append("publish")
            return super().publish(*args, **named)

        def _publish(self, message):
            called.append("_publish")
            return super()._publish(message)

    client = closing(Noting("test"))
    client.on_connect = up = Recorder()
    client.on_subscribe = granted = Recorder()
    client.on_message = inbox = Inbox()
    (client.connect_to_server if managed else client.connect)("127.0.0.1", embedded.port)
    client.loop_start()
    up.next()
    client.subscribe(topic, 1)
    granted.next()
    client.publish(topic, "x", 1)
    assert inbox.texts(1) == ["x"]
    common = ["loop_start", "subscribe", "publish"]
    assert called == (["connect_to_server", *common, "_publish"] if managed else ["connect", *common])


def test_register_client_id(embedded):
    class Registered(JPaho2):
        pass

    Registered.register_client_id("boiler-4711")
    assert Registered(client_id="own").client_id == "own"
    assert JPaho2().client_id == ""
    with Registered() as client:
        client.connect_to_server("127.0.0.1", embedded.port)
        client.wait_until_connected(PATIENCE)
        assert client.client_id == "boiler-4711"


def test_one_way_at_a_time(native, embedded, closing):
    client = native(embedded.port)
    with pytest.raises(ConnectError, match=r"disconnect\(\)"):
        client.connect_to_server("127.0.0.1", embedded.port)
    with pytest.raises(NotSupportedError, match="on_connect"):
        client.wait_until_connected()
    client.disconnect()
    client.loop_stop()
    client.connect_to_server("127.0.0.1", embedded.port)
    client.wait_until_connected(PATIENCE)
    with pytest.raises(NotSupportedError, match="reconnect"):
        client.reconnect()
    with pytest.raises(ConnectError, match="connected"):
        client.connect("127.0.0.1", embedded.port)


def test_the_oldest_protocol_is_pahos_alone(native, mosquitto):
    client = native(mosquitto.port, protocol=paho.MQTTv31)
    assert client.is_connected()
    assert client.protocol == 3
    with pytest.raises(OptionError, match="protocol"):
        JPaho2(protocol=paho.MQTTv31).connect_to_server("127.0.0.1", mosquitto.port)


def test_messages_paho_has_queued_survive_connect_to_server(observer, embedded, topic, closing):
    client = closing(JPaho2(callback_api_version=CallbackAPIVersion.VERSION2))
    info = client.publish(topic + "/kept", "x", 1)
    assert info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN
    client.connect_to_server("127.0.0.1", embedded.port)
    assert observer.texts(1) == ["x"]


def test_reinitialise(native, embedded):
    client = native(embedded.port)
    client.disconnect()
    client.loop_stop()
    client.reinitialise("again", userdata=3)
    assert (client.name, client.client_id, client.user_data_get()) == ("test", "again", 3)
    client.connect_to_server("127.0.0.1", embedded.port)
    client.wait_until_connected(PATIENCE)
    client.reinitialise()
    assert not client.is_connected()


@pytest.mark.filterwarnings("ignore:Callback API version 1")
def test_copy_keeps_the_version():
    client = JPaho2("boiler", callback_api_version=CallbackAPIVersion.VERSION1, client_id="me")
    clone = client.copy()
    assert clone.callback_api_version is CallbackAPIVersion.VERSION1
    assert clone._client_id == b"me"
    assert (clone.name, clone.options.client_id) == ("boiler", "me")
    assert JPaho2("other").copy().name == "other"


def test_external_event_loop(embedded, topic):
    client = JPaho2()
    inbox = client.on_message = Inbox()
    client.connect("127.0.0.1", embedded.port)
    while not client.is_connected():
        turn(client)
    client.subscribe(topic)
    client.publish(topic, "x")
    while not inbox.count:
        turn(client)
    assert inbox.texts(1) == ["x"]
    client.disconnect()
    while client.socket() is not None:
        turn(client)


def turn(client):
    sock = client.socket()
    readable, writable, _ = select.select([sock], [sock] if client.want_write() else [], [], PATIENCE)
    assert readable or writable
    if readable:
        client.loop_read()
    if writable:
        client.loop_write()
    client.loop_misc()


def test_loop(embedded):
    with JPaho2() as client:
        assert client.loop(0) != MQTTErrorCode.MQTT_ERR_SUCCESS
        assert isinstance(client.publish("a"), paho.MQTTMessageInfo)
        client.connect("127.0.0.1", embedded.port)
        while not client.is_connected():
            client.loop(0.1)


def test_loop_forever(embedded):
    client = JPaho2()
    client.on_connect = lambda client, userdata, flags, rc: client.disconnect()
    client.connect_async("127.0.0.1", embedded.port)
    client.loop_forever()
    assert not client.is_connected()
    client.disconnect_from_server()


@pytest.mark.parametrize("managed", [False, True], ids=["paho", "juham"])
@pytest.mark.parametrize("version", [None, CallbackAPIVersion.VERSION2])
def test_tls_set(managed, version, tmp_path, embedded):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    arguments = {} if version is None else {"callback_api_version": version}
    with EmbeddedBroker(ssl=context) as broker:
        with JPaho2(**arguments) as client:
            client.tls_set(str(tmp_path / "ca.pem"))
            (client.connect_to_server if managed else client.connect)("127.0.0.1", broker.port)
            client.loop_start()
            assert eventually(client.is_connected)
        with JPaho2(**arguments) as client:
            client.tls_set()
            with pytest.raises(ConnectError, match=r"(?i)certificate"):
                client.connect_to_server("127.0.0.1", broker.port)
    gc.collect()


def test_bounds_read_as_they_were_set(embedded):
    client = JPaho2()
    assert (client.max_inflight_messages, client.max_queued_messages) == (20, 0)
    client.max_inflight_messages = 7
    client.max_queued_messages_set(9)
    with client:
        client.connect_to_server("127.0.0.1", embedded.port)
        client.wait_until_connected(PATIENCE)
        assert (client.max_inflight_messages, client.max_queued_messages) == (7, 9)
        assert (client.options.max_inflight, client.options.max_queued) == (7, 9)
        with pytest.raises(RuntimeError):
            client.max_inflight_messages = 8
    client.max_inflight_messages = 8
    assert client.options.max_inflight == 8


def test_bridge_mode(native, mosquitto, topic, closing):
    """A bridge gets nothing back of what it sent, and keeps the retain flag of what others did."""
    bridge = closing(JPaho2("bridge"))
    bridge.enable_bridge_mode()
    bridge.on_message = inbox = Inbox()
    bridge.on_subscribe, granted = recording(OLD["on_subscribe"])
    bridge.connect("127.0.0.1", mosquitto.port)
    bridge.loop_start()
    bridge.subscribe(topic)
    granted.next()
    bridge.publish(topic, "own", 1).wait_for_publish(PATIENCE)
    native(mosquitto.port).publish(topic, "other", 1, retain=True).wait_for_publish(PATIENCE)
    message = inbox.next()
    assert (message.payload, bool(message.retain)) == (b"other", True)


@pytest.mark.parametrize("managed", [False, True], ids=["paho", "juham"])
def test_proxy(managed, embedded, topic, closing):
    socks = pytest.importorskip("socks")
    with Socks5(embedded.port) as proxy, JPaho2() as client:
        client.proxy_set(proxy_type=socks.SOCKS5, proxy_addr="127.0.0.1", proxy_port=proxy.port)
        (client.connect_to_server if managed else client.connect)("broker.test", 1883)
        client.loop_start()
        assert eventually(client.is_connected)
        assert proxy.requests == [("broker.test", 1883)]


def test_connect_srv(embedded, monkeypatch):
    resolver = pytest.importorskip("dns.resolver")

    class Target:
        def to_text(self):
            return "localhost."

    class Answer:
        target, port, priority, weight = Target(), embedded.port, 0, 0

    asked = []

    def query(name, kind):
        asked.append(name)
        if "nowhere" in name:
            raise resolver.NXDOMAIN
        return [Answer]

    monkeypatch.setattr(resolver, "query", query)
    with JPaho2() as client:
        with pytest.raises(ValueError, match="No answer"):
            client.connect_srv("nowhere.test")
        assert client.connect_srv("home.test") == MQTTErrorCode.MQTT_ERR_SUCCESS
        client.loop_start()
        assert eventually(client.is_connected)
    assert asked == ["_mqtt._tcp.nowhere.test", "_mqtt._tcp.home.test"]


def test_websockets_and_their_options(native, embedded, topic):
    with Websocket(embedded.port) as bridge, JPaho2(transport="websockets") as client:
        client.ws_set_options("/there", {"X-House": "mine"})
        client.connect("127.0.0.1", bridge.port)
        client.loop_start()
        assert eventually(client.is_connected)
        assert bridge.requests[0][0] == "GET /there HTTP/1.1"


@pytest.mark.parametrize("managed", [False, True], ids=["paho", "juham"])
def test_manual_acknowledgement(managed, native, mosquitto, topic, closing):
    client = closing(JPaho2(protocol=paho.MQTTv5, manual_ack=True))
    client.on_message = inbox = Inbox()
    client.on_connect = up = Recorder()
    if managed:
        client.connect_to_server("127.0.0.1", mosquitto.port, properties={"receive_maximum": 1})
    else:
        properties = PahoProperties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = 1
        client.connect("127.0.0.1", mosquitto.port, properties=properties)
    client.loop_start()
    up.next()
    client.on_subscribe = granted = Recorder()
    client.subscribe((topic, SubscribeOptions(qos=1)))
    granted.next()
    sender = native(mosquitto.port)
    for count in range(2):
        sender.publish(topic, str(count), 1).wait_for_publish(PATIENCE)
    for count in range(2):
        message = inbox.next()
        assert message.payload == str(count).encode()
        assert inbox.count == 0
        assert client.ack(message.mid, message.qos) == 0
