from __future__ import annotations

import contextlib
import socket
import ssl
import time

import pytest
from awscrt_support import Inbox, eventually

import juham_core as juham
from juham_core.broker import EmbeddedBroker
from juham_core.errors import (
    AuthError,
    ConnectError,
    ConnectTimeoutError,
    InvalidArgumentError,
    NotConnectedError,
    NotSupportedError,
    OptionError,
)
from juham_core.wire import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Will,
)


@contextlib.contextmanager
def black_hole():
    """A port whose queue of connections is full, so that another gets no answer at all."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        while True:
            extra = stack.enter_context(socket.socket())
            extra.settimeout(0.2)
            try:
                extra.connect(server.getsockname())
            except TimeoutError:
                break
        yield server.getsockname()[1]


def test_a_url_is_all_it_takes(broker):
    with juham.connect(broker.url.replace("mqtt:", "mqtt+awscrt:")) as client:
        assert client.is_connected()
        assert client.get_class_id() == "JAwsCrt"
        assert client.options.protocol == 5
        assert client.native.get_stats().unacked_operation_count == 0
    assert not client.is_connected()
    assert client.native is None


def test_host_names_are_resolved(connect, broker):
    assert connect(host="localhost").is_connected()


def test_mqtt_311_is_refused_before_anything_is_tried():
    with pytest.raises(NotSupportedError, match=r"MQTT 3\.1\.1"):
        juham.connect("mqtt+awscrt://127.0.0.1:1?protocol=3.1.1")


def test_a_refused_port(make):
    client = make(port=1)
    with pytest.raises(ConnectError, match="REFUSED"):
        client.connect_to_server()
    assert not client.is_connected()


def test_an_unknown_host(make):
    with pytest.raises(ConnectError, match="DNS"):
        make(host="nothing.invalid").connect_to_server()


def test_a_black_hole(make):
    with black_hole() as port:
        client = make(port=port, connect_timeout=1)
        start = time.monotonic()
        with pytest.raises(ConnectError):
            client.connect_to_server()
        assert time.monotonic() - start < 2


def test_a_peer_that_never_answers_connect(make, listener):
    client = make(port=listener.port, connect_timeout=0.5, reconnect_max=1)
    assert client.connect_to_server() == 0
    peer = listener.accept()
    peer.expect(Connect)
    assert not client.is_connected()
    with pytest.raises(ConnectTimeoutError):
        client.wait_until_connected(1)
    client.disconnect_from_server()
    assert peer.receive() is None


def test_a_peer_that_closes_instead_of_answering(make, listener, begin):
    client = make(port=listener.port)
    begin(client)
    peer = listener.accept()
    peer.expect(Connect)
    peer.close()
    ended = "before it was accepted"
    eventually(lambda: ended in repr(client._connection.error))
    with pytest.raises(ConnectError, match=ended):
        client.wait_until_connected()


def test_connect_carries_the_options(make, listener, begin):
    client = make(
        port=listener.port,
        client_id="Zoë",
        username="user",
        password=b"\xff\x00",
        keepalive=7,
        clean_start=False,
        session_expiry=99,
        will=Will(
            "w/é", b"\x00gone", 1, True, Properties(will_delay_interval=3, user_property=[("a", "b")])
        ),
        properties=Properties(
            user_property=[("x", "1"), ("x", "2")],
            receive_maximum=5,
            maximum_packet_size=1000,
            topic_alias_maximum=9,
            request_problem_information=1,
        ),
    )
    begin(client)
    peer = listener.welcome()
    packet = peer.connect
    assert (packet.client_id, packet.username, packet.password) == ("Zoë", "user", b"\xff\x00")
    assert (packet.keepalive, packet.clean_start) == (7, False)
    assert packet.properties == {
        "session_expiry_interval": 99,
        "receive_maximum": 5,
        "maximum_packet_size": 1000,
        "topic_alias_maximum": 9,
        "request_problem_information": 1,
        "user_property": [("x", "1"), ("x", "2")],
    }
    assert packet.will == Will(
        "w/é", b"\x00gone", 1, True, Properties(will_delay_interval=3, user_property=[("a", "b")])
    )


def test_connect_says_nothing_that_was_not_asked_for_but_its_limit(make, listener, begin):
    client = make(port=listener.port, keepalive=0)
    begin(client)
    packet = listener.welcome().connect
    assert packet.username is None
    assert packet.password is None
    assert packet.properties == {"maximum_packet_size": 32 * 1024 * 1024}
    assert (packet.keepalive, packet.clean_start) == (0, True)


def test_credentials(make):
    with EmbeddedBroker(users={"anna": "secret"}) as broker:
        good = make(port=broker.port, username="anna", password="secret")
        good.connect_to_server()
        good.wait_until_connected()
        bad = make(port=broker.port, username="anna", password="wrong")
        bad.connect_to_server()
        with pytest.raises(AuthError) as caught:
            bad.wait_until_connected()
        assert caught.value.reason_code == 0x86
        assert not bad.is_connected()


@pytest.mark.parametrize("code", [0x80, 0x82, 0x85, 0x87, 0x88, 0x89, 0x8A, 0x9F])
def test_a_refusal_brings_its_code_and_properties(make, listener, begin, code):
    client = make(port=listener.port, reconnect_min=60, reconnect_max=60)
    verdicts = Inbox()
    client.on_connect = lambda c, u, flags, reason, properties: verdicts(c, u, (reason, properties))
    client.loop_start()
    begin(client)
    peer = listener.accept()
    peer.expect(Connect)
    peer.send(Connack(False, code, Properties(reason_string="no", user_property=[("k", "v")])))
    reason, properties = verdicts.get()
    assert reason == code
    assert properties == {"reason_string": "no", "user_property": [("k", "v")]}
    with pytest.raises(ConnectError) as caught:
        client.wait_until_connected()
    assert caught.value.reason_code == code


def test_connack_brings_its_properties(make, listener, begin):
    sent = Properties(
        session_expiry_interval=5,
        receive_maximum=3,
        maximum_qos=1,
        retain_available=0,
        maximum_packet_size=500,
        topic_alias_maximum=4,
        reason_string="welcome",
        user_property=[("a", "1"), ("a", "2")],
        wildcard_subscription_available=0,
        subscription_identifier_available=0,
        shared_subscription_available=0,
        server_keep_alive=9,
        response_information="here",
    )
    client = make(port=listener.port)
    verdicts = Inbox()
    client.on_connect = lambda c, u, flags, reason, properties: verdicts(c, u, (flags, properties))
    client.loop_start()
    begin(client)
    listener.welcome(**sent)
    flags, properties = verdicts.get()
    assert not flags.session_present
    assert properties == sent


def test_the_server_says_goodbye(make, listener, begin):
    client = make(port=listener.port, reconnect_min=60, reconnect_max=60)
    ends = Inbox()
    client.on_disconnect = lambda c, u, flags, reason, properties: ends(c, u, (flags, reason, properties))
    client.loop_start()
    begin(client)
    peer = listener.welcome()
    client.wait_until_connected()
    peer.send(Disconnect(0x8B, Properties(reason_string="down", user_property=[("k", "v")])))
    peer.close()
    flags, reason, properties = ends.get()
    assert flags.is_disconnect_packet_from_server
    assert reason == 0x8B
    assert properties == {"reason_string": "down", "user_property": [("k", "v")]}
    assert not client.is_connected()


def test_a_takeover_ends_the_older_for_good(make, embedded, topic):
    options = {"port": embedded.port, "client_id": topic[5:], "reconnect_min": 0.1}
    older, newer = make(**options), make(**options)
    ends = Inbox()
    older.on_disconnect = lambda c, u, flags, reason, properties: ends(c, u, int(reason))
    for client in (older, newer):
        client.connect_to_server()
        client.wait_until_connected()
        client.loop_start()
    assert ends.get() == 0x8E
    newer.publish(topic, "x", qos=1).wait(5)
    assert newer.statistics.connects == 1
    assert older.statistics.connects == 1


def test_a_silent_broker_is_found_out_by_the_keepalive(make, listener, begin):
    client = make(port=listener.port, keepalive=1, reconnect_min=60, reconnect_max=60)
    ends = Inbox()
    client.on_disconnect = ends
    client.loop_start()
    begin(client)
    peer = listener.welcome()
    peer.expect(Pingreq)
    assert ends.get() != 0


def test_it_comes_back_with_its_subscriptions(connect, proxy, topic):
    client = connect(**proxy.options, reconnect_min=0.05, reconnect_max=0.1)
    inbox, ups = Inbox(), Inbox()
    client.on_message = inbox
    client.subscribe([(f"{topic}/a/#", 1), (f"{topic}/b/#", 0)]).wait(5)
    client.on_connect = lambda c, u, flags, rc: ups(c, u, rc)
    native = client.native
    proxy.cut()
    assert ups.get() == 0
    client.publish(f"{topic}/a/1", "again", qos=1).wait(5)
    assert inbox.get().payload == b"again"
    assert client.native is not native
    assert client.subscriptions == {f"{topic}/a/#": 1, f"{topic}/b/#": 0}


def test_a_session_is_kept_by_the_broker(connect, make, broker, topic):
    client = connect(client_id=topic[5:], clean_start=False)
    client.subscribe(f"{topic}/a", 1).wait(5)
    client.disconnect_from_server()
    connect().publish(f"{topic}/a", "meanwhile", qos=1).wait(5)
    again = make(**broker.options, client_id=topic[5:], clean_start=False)
    inbox = Inbox()
    again.on_message = inbox
    again.loop_start()
    again.connect_to_server()
    assert inbox.get().payload == b"meanwhile"


def test_a_present_session_is_not_subscribed_to_again(make, listener, begin):
    client = make(
        port=listener.port, client_id="keeper", clean_start=False, reconnect_min=0.05, reconnect_max=0.1
    )
    begin(client)
    peer = listener.welcome()
    receipt = client.subscribe("a", 1)
    request = peer.expect(Subscribe)
    peer.send(Suback(request.packet_id, [1]))
    receipt.wait(5)
    peer.close()
    peer = listener.welcome(session_present=True)
    receipt = client.publish("b", "x", qos=1)
    first = peer.expect(Publish)
    peer.send(Puback(first.packet_id))
    receipt.wait(5)


def test_unusable_options_are_named(make, tmp_path):
    client = make(port=1)
    with pytest.raises(NotSupportedError, match="SSLContext"):
        client.configure(tls=True, ssl_context=ssl.create_default_context())
    with pytest.raises(NotSupportedError, match="encrypted key"):
        client.configure(tls=True, keyfile_password="x")
    with pytest.raises(NotSupportedError, match="authentication_method"):
        client.configure(properties=Properties(authentication_method="SCRAM"))
    with pytest.raises(NotSupportedError, match="QoS 2"):
        client.configure(will=Will("w", b"", 2))
    with pytest.raises(NotSupportedError, match="bind"):
        client.configure(bind_address="127.0.0.1")
    client.configure(tls=True, ca_certs=str(tmp_path / "missing.pem"))
    with pytest.raises(OptionError, match=r"missing\.pem"):
        client.connect_to_server()


def test_what_the_library_refuses_is_translated(connect, broker, topic):
    client = connect()
    with pytest.raises(InvalidArgumentError):
        client.publish(f"{topic}/a", "x", properties={"subscription_identifier": 5, "no": 1})
    with pytest.raises(InvalidArgumentError, match="subscription_identifier"):
        client.publish(f"{topic}/a", "x", properties={"subscription_identifier": 5})


def test_twice_is_refused_or_does_nothing(connect, broker, topic):
    client = connect()
    with pytest.raises(ConnectError):
        client.connect_to_server()
    client.disconnect_from_server()
    client.disconnect_from_server()
    with pytest.raises(NotConnectedError):
        client.publish(f"{topic}/a", "x").wait(5)
    client.connect_to_server()
    client.wait_until_connected()


def test_close_during_back_off_is_prompt(make, listener, begin):
    client = make(port=listener.port, reconnect_min=60, reconnect_max=60)
    begin(client)
    peer = listener.welcome()
    client.wait_until_connected()
    peer.close()
    eventually(lambda: not client.is_connected())
    start = time.monotonic()
    client.disconnect_from_server()
    assert time.monotonic() - start < 1
