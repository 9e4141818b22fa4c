import asyncio
import logging
import ssl
import threading

import gmqtt
import pytest
import trustme
from clients import SECONDS, collect, empty, take
from gmqtt_support import Mosquitto, client, connected, free_port, threads
from juham_gmqtt import library, link
from juham_gmqtt.properties import to_gmqtt

from juham_core.broker import EmbeddedBroker
from juham_core.errors import (
    AuthError,
    ConnectError,
    NotConnectedError,
    NotSupportedError,
)
from juham_core.wire import Properties, Will


@pytest.fixture(params=["embedded", "mosquitto"])
def server(request, tmp_path):
    made = EmbeddedBroker() if request.param == "embedded" else Mosquitto(tmp_path)
    with made as running:
        yield running


@pytest.fixture
def own_broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.mark.parametrize("protocol", [4, 5])
class TestEverywhere:
    def test_messages_of_every_qos_arrive_and_receipts_are_done(self, server, protocol):
        with connected(server.port, protocol=protocol) as mqtt:
            messages = collect(mqtt)
            assert mqtt.subscribe([("a/#", 2), ("ä/é", 1)]).wait(SECONDS).granted == {"a/#": 2, "ä/é": 1}
            for qos in (0, 1, 2):
                mqtt.publish(f"a/{qos}", bytes(range(256)), qos=qos).wait(SECONDS)
            mqtt.publish("ä/é", "ü", qos=2).wait(SECONDS)
            got = take(messages, 4)
            assert [(m.topic, m.qos) for m in got] == [("a/0", 0), ("a/1", 1), ("a/2", 2), ("ä/é", 1)]
            assert got[0].payload == bytes(range(256))
            assert got[3].payload == "ü".encode()
            mqtt.unsubscribe(["a/#", "ä/é"]).wait(SECONDS)
            mqtt.publish("a/2", "late", qos=2).wait(SECONDS)
            mqtt.publish("ä/é", "late", qos=2).wait(SECONDS)
        assert empty(messages)

    def test_retained_message_and_large_payload(self, server, protocol):
        payload = b"x" * 3_000_000
        with connected(server.port, protocol=protocol) as mqtt:
            mqtt.publish("large", payload, qos=1, retain=True).wait(SECONDS)
            messages = collect(mqtt)
            mqtt.subscribe("large", qos=1).wait(SECONDS)
            (message,) = take(messages, 1)
            assert message.retain
            assert message.payload == payload

    def test_many_threads_publish_at_once(self, server, protocol):
        per_thread, names = 250, "abcdef"
        with connected(server.port, protocol=protocol) as mqtt:
            messages = collect(mqtt)
            mqtt.subscribe("#", qos=2).wait(SECONDS)
            start = threading.Barrier(len(names))

            def publish(name):
                start.wait()
                for number in range(per_thread):
                    mqtt.publish(name, str(number), qos=number % 3)

            publishers = [threading.Thread(target=publish, args=(name,)) for name in names]
            for thread in publishers:
                thread.start()
            for thread in publishers:
                thread.join()
            got = take(messages, per_thread * len(names))
            for name in names:
                for qos in (0, 1, 2):
                    numbers = [int(m.payload) for m in got if m.topic == name and m.qos == qos]
                    assert numbers == list(range(qos, per_thread, 3))

    def test_broker_restart_brings_subscriptions_and_queued_messages(self, server, protocol):
        with connected(server.port, protocol=protocol) as mqtt, client(server.port, "other") as other:
            messages = collect(mqtt)
            mqtt.subscribe("#", qos=1).wait(SECONDS)
            lost, back = threading.Event(), threading.Event()
            mqtt.on_disconnect = lambda *_: lost.set()
            mqtt.on_connect = lambda *_: back.set()
            server.stop()
            assert lost.wait(SECONDS)
            receipts = [mqtt.publish("queued", str(number), qos=1) for number in range(20)]
            receipts.append(mqtt.publish("queued2", "x", qos=2))
            with pytest.raises(NotConnectedError):
                mqtt.publish("never", "x").wait(0)
            server.start()
            assert back.wait(SECONDS)
            for receipt in receipts:
                receipt.wait(SECONDS)
            got = take(messages, 21)
            assert [int(m.payload) for m in got if m.topic == "queued"] == list(range(20))
            other.connect_to_server()
            other.wait_until_connected()
            other.publish("fresh", "y", qos=1).wait(SECONDS)
            assert take(messages, 1)[0].topic == "fresh"

    def test_persistent_session_keeps_messages_for_us(self, server, protocol):
        kept = {"protocol": protocol, "clean_start": False}
        with connected(server.port, "keeper", **kept) as mqtt:
            mqtt.subscribe("kept", qos=2).wait(SECONDS)
        with connected(server.port, "other", protocol=protocol) as other:
            other.publish("kept", "1", qos=2).wait(SECONDS)
        with client(server.port, "keeper", **kept) as mqtt:
            messages = collect(mqtt)
            mqtt.loop_start()
            mqtt.connect_to_server()
            assert take(messages, 1)[0].payload == b"1"

    def test_will_is_sent_for_the_vanished_and_not_for_who_says_goodbye(self, server, protocol):
        with connected(server.port, "watcher", protocol=protocol) as watcher:
            messages = collect(watcher)
            watcher.subscribe("will/#", qos=1).wait(SECONDS)
            with connected(server.port, "polite", protocol=protocol, will=Will("will/polite", b"gone", 1)):
                pass
            with connected(server.port, "ä", protocol=protocol, will=Will("will/ä", b"gone", 1)) as mqtt:
                mqtt._close(deliberate=False)
                (message,) = take(messages, 1)
                assert (message.topic, message.payload) == ("will/ä", b"gone")

    def test_takeover_stops_the_first(self, server, protocol):
        with connected(server.port, "same", protocol=protocol, reconnect=False) as first:
            lost = threading.Event()
            first.on_disconnect = lambda *_: lost.set()
            with connected(server.port, "same", protocol=protocol) as second:
                assert lost.wait(SECONDS)
                with pytest.raises(ConnectError) as caught:
                    first.wait_until_connected(SECONDS)
                if protocol == 5 and isinstance(server, EmbeddedBroker):  # Mosquitto 2.0.11 does not say why
                    assert caught.value.reason_code == 0x8E
                assert second.is_connected()
                second.publish("a", "b", qos=1).wait(SECONDS)


def test_exactly_once_over_many_breaks(own_broker):
    count = 400
    kept = {"clean_start": False, "protocol": 5}
    to, fro = connected(own_broker.port, "to", **kept), connected(own_broker.port, "from", **kept)
    with to as receiver, fro as sender:
        messages = collect(receiver)
        receiver.subscribe("once", qos=2).wait(SECONDS)
        receipts = []
        for number in range(count):
            receipts.append(sender.publish("once", str(number), qos=2))
            if number % 40 == 20:
                receipts[-10].wait(SECONDS)
                own_broker.drop_connections()
        for receipt in receipts:
            receipt.wait(SECONDS)
        assert [int(message.payload) for message in take(messages, count)] == list(range(count))
        assert sender.statistics.reconnects > 3
    assert empty(messages)


def test_what_a_closing_link_did_not_take_is_sent_once(own_broker):
    with connected(own_broker.port, clean_start=False) as mqtt:
        messages = collect(mqtt)
        mqtt.subscribe("a", qos=1).wait(SECONDS)
        mqtt._link._outbox.close()  # as the link does when the connection breaks
        receipt = mqtt.publish("a", "1", qos=1)
        own_broker.drop_connections()
        receipt.wait(SECONDS)
        mqtt.publish("a", "2", qos=1).wait(SECONDS)
        assert [message.payload for message in take(messages, 2)] == [b"1", b"2"]


def test_another_gmqtt_is_refused_with_a_reason(monkeypatch):
    monkeypatch.delattr("gmqtt.mqtt.protocol.MQTTProtocol._read_loop")
    with pytest.raises(ImportError, match=r"has no MQTTProtocol._read_loop: pip install 'gmqtt>=0.8,<0.9'"):
        library._check()


def test_what_was_published_last_is_out_before_disconnect(server):
    with connected(server.port, "watcher") as watcher:
        messages = collect(watcher)
        watcher.subscribe("#", qos=1).wait(SECONDS)
        with connected(server.port, "hasty") as hasty:
            for number in range(2_000):
                hasty.publish("burst", f"{number:01000}", qos=0)
        assert [int(message.payload) for message in take(messages, 2_000)] == list(range(2_000))


def test_wrong_password_is_an_auth_error():
    with EmbeddedBroker(users={"me": "right"}) as server:
        for protocol in (4, 5):
            with client(server.port, protocol=protocol, username="me", password="wrong") as mqtt:
                mqtt.connect_to_server()
                with pytest.raises(AuthError) as caught:
                    mqtt.wait_until_connected(SECONDS)
                assert caught.value.reason_code == 0x86
            with connected(server.port, protocol=protocol, username="me", password="right"):
                pass


def test_mosquitto_refuses_a_password(tmp_path):
    (tmp_path / "empty").touch(0o644)
    locked = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'empty'}")
    with locked as server, client(server.port, username="who", password="what") as mqtt:
        mqtt.connect_to_server()
        with pytest.raises(AuthError):
            mqtt.wait_until_connected(SECONDS)


def test_properties_travel(server):
    with connected(
        server.port, protocol=5, properties=Properties(topic_alias_maximum=5, receive_maximum=7)
    ) as mqtt:
        messages = collect(mqtt)
        mqtt.subscribe("a").wait(SECONDS)
        sent = {
            "payload_format_indicator": 1,
            "content_type": "text/plain",
            "response_topic": "ä",
            "correlation_data": b"\0\1",
            "user_property": [("k", "v"), ("k", "w")],
        }
        mqtt.publish("a", "x", qos=1, properties=sent).wait(SECONDS)
        mqtt.publish("a", "x", properties={"user_property": []}).wait(SECONDS)
        first, second = take(messages, 2)
        assert first.properties == sent
        assert second.properties == {}


def test_properties_in_gmqtts_words():
    assert to_gmqtt(None) == {}
    words = to_gmqtt(Properties(authentication_method="x", request_problem_information=0, receive_maximum=2))
    assert words == {"auth_method": "x", "request_problem_info": 0, "receive_maximum": 2}
    with pytest.raises(NotSupportedError, match="authentication_data"):
        to_gmqtt(Properties(authentication_data=b"x"))


def test_every_property_that_a_client_sends_is_known_to_gmqtt():
    from gmqtt.mqtt.property import Property

    from juham_core.wire.properties import SPECS

    sendable = {"connect", "publish", "will", "subscribe", "unsubscribe"}
    for name, spec in SPECS.items():
        if spec.packets & sendable and name != "authentication_data":
            (word,) = to_gmqtt({name: 1})
            assert Property.factory(name=word).id == spec.identifier


def test_what_gmqtt_lacks_is_refused(own_broker):
    with client(own_broker.port, protocol=5, password="alone") as mqtt:
        with pytest.raises(NotSupportedError, match="username"):
            mqtt.connect_to_server()
        for change in ({"transport": "websockets"}, {"transport": "unix"}):
            with pytest.raises(NotSupportedError):
                mqtt.options = mqtt.options.changed(**change)


def test_nobody_listens():
    with client(free_port()) as mqtt, pytest.raises(ConnectError):
        mqtt.connect_to_server()


def test_unknown_host_is_a_connect_error():
    with client(1883, host="nowhere.invalid") as mqtt, pytest.raises(ConnectError):
        mqtt.connect_to_server()


def test_host_name_and_local_address(own_broker):
    with connected(own_broker.port, host="localhost", bind_address="127.0.0.1") as mqtt:
        transport = mqtt.native._connection._transport
        assert transport.get_extra_info("sockname")[0] == "127.0.0.1"


def test_native_is_the_gmqtt_client(own_broker):
    with connected(own_broker.port) as mqtt:
        assert isinstance(mqtt.native, gmqtt.Client)
        assert mqtt.native.is_connected
        native = mqtt.native
    assert native._connection is None


def test_connects_again_after_it_was_closed(own_broker):
    with connected(own_broker.port) as mqtt:
        for _ in range(3):
            mqtt.disconnect_from_server()
            assert not threads()
            mqtt.connect_to_server()
            mqtt.wait_until_connected()
            mqtt.loop_start()
            mqtt.publish("a", "b", qos=2).wait(SECONDS)


def test_closing_takes_no_time_and_leaves_no_task(own_broker, caplog):
    caplog.set_level(logging.WARNING)
    with connected(own_broker.port) as mqtt:
        loop = mqtt._link._home._loop
        mqtt.publish("a", "b", qos=2).wait(SECONDS)
    assert loop.is_closed()
    assert not asyncio.all_tasks(loop)
    assert not caplog.records


def test_used_from_inside_an_event_loop(own_broker):
    async def main():
        with connected(own_broker.port) as mqtt:
            mqtt.publish("a", "b", qos=1).wait(SECONDS)

    asyncio.run(main())


def test_tls(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca")
    with EmbeddedBroker(ssl=context) as server:
        with connected(server.port, tls=True, ca_certs=str(tmp_path / "ca")) as mqtt:
            messages = collect(mqtt)
            mqtt.subscribe("#", qos=2).wait(SECONDS)
            mqtt.publish("a", b"x" * 200_000, qos=2).wait(SECONDS)
            assert len(take(messages, 1)[0].payload) == 200_000
            back = threading.Event()
            mqtt.on_connect = lambda *_: back.set()
            server.drop_connections()
            assert back.wait(SECONDS)
        with client(server.port, tls=True) as mqtt:
            with pytest.raises(ConnectError) as caught:
                mqtt.connect_to_server()
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        with connected(server.port, tls=True, insecure=True):
            pass


def test_what_waits_is_written_in_pieces_one_after_the_other(own_broker, monkeypatch):
    monkeypatch.setattr(link, "_PIECE", 4096)

    def publish_many(client, _userdata, _message):  # in the loop's thread: all of it waits for the return
        for number in range(20):
            client.publish("many", bytes([number]) * 1000)

    with (
        connected(own_broker.port, handlers="inline") as mqtt,
        connected(own_broker.port, "other") as other,  # so that nothing comes that would have more written
    ):
        messages = collect(other, "many")
        other.subscribe("many").wait(SECONDS)
        mqtt.message_callback_add("go", publish_many)
        mqtt.subscribe("go").wait(SECONDS)
        other.publish("go")
        assert [message.payload[0] for message in take(messages, 20)] == list(range(20))
