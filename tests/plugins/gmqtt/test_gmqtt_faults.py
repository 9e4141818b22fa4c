
import logging
import socket
import threading
from queue import SimpleQueue

import pytest
from clients import SECONDS, collect, empty, take
from gmqtt_support import Peer, threads
from gmqtt_support import client as make_client
from juham_gmqtt import library
from waiting import eventually

from juham_core.errors import (
    ConnectError,
    ConnectTimeoutError,
    NotConnectedError,
    PublishError,
    QueueFullError,
    SubscribeError,
)
from juham_core.wire import (
    Auth,
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

KEPT = {"clean_start": False, "client_id": "kept"}


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


@pytest.fixture(params=[4, 5])
def protocol(request):
    return request.param


def client(port, **options):
    """A client that does not wait long for what the peer leaves unanswered."""
    return make_client(port, **({"close_timeout": 0.2} | options))


def meet(mqtt, peer, **connack):
    """Connect the client to the peer; return its CONNECT."""
    mqtt.connect_to_server()
    mqtt.loop_start()
    connect = peer.accept(**connack)
    mqtt.wait_until_connected()
    return connect


# --- CONNECT and CONNACK --------------------------------------------------------------------------------


def test_accepted_and_never_answered(peer, protocol):
    with client(peer.port, protocol=protocol, connect_timeout=0.2) as mqtt:
        mqtt.connect_to_server()
        with pytest.raises(ConnectTimeoutError):
            mqtt.wait_until_connected()


def test_tls_handshake_that_never_comes(peer):
    with client(peer.port, tls=True, connect_timeout=0.2) as mqtt, pytest.raises(ConnectTimeoutError):
        mqtt.connect_to_server()


def test_a_resolver_that_hangs_does_not_hang_us(monkeypatch):
    answer = threading.Event()
    real = socket.getaddrinfo

    def hang(host, *arguments, flags=0, **named):
        if not flags:
            answer.wait(SECONDS)
        return real(host, *arguments, flags=flags, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with client(1883, host="localhost", connect_timeout=0.1) as mqtt, pytest.raises(ConnectTimeoutError):
        mqtt.connect_to_server()
    answer.set()
    for thread in threads():
        thread.join(SECONDS)


def test_connect_carries_what_the_options_say(peer):
    options = {
        "client_id": "ä",
        "username": "ü",
        "password": b"\xff\0",
        "keepalive": 7,
        "protocol": 5,
        "session_expiry": 9,
        "clean_start": False,
        "properties": Properties(receive_maximum=3, user_property=[("a", "b"), ("a", "c")]),
    }
    with client(peer.port, **options) as mqtt:
        connect = meet(mqtt, peer)
        assert (connect.client_id, connect.username, connect.password) == ("ä", "ü", b"\xff\0")
        assert (connect.keepalive, connect.clean_start, connect.protocol) == (7, False, 5)
        announced = {"session_expiry_interval": 9, "maximum_packet_size": mqtt.options.largest_packet}
        assert connect.properties == {**options["properties"], **announced}


def test_only_old_protocol_is_not_tried_by_itself(peer):
    with client(peer.port, protocol=5) as mqtt:
        mqtt.connect_to_server()
        peer.accept_silently()
        peer.send_bytes(b"\x20\x02\x00\x01")
        with pytest.raises(ConnectError) as caught:
            mqtt.wait_until_connected()
        assert caught.value.reason_code == 0x84


def test_refused_for_now_is_tried_again(peer, protocol):
    with client(peer.port, protocol=protocol) as mqtt:
        mqtt.connect_to_server()
        peer.accept(reason_code=0x88)
        peer.accept()
        mqtt.wait_until_connected()


def test_properties_of_connack(peer):
    seen = SimpleQueue()
    with client(peer.port, protocol=5, max_inflight=10) as mqtt:
        mqtt.on_connect = lambda _c, _u, _flags, code, properties: seen.put((code, properties))
        meet(mqtt, peer, properties=Properties(receive_maximum=1, server_keep_alive=30))
        assert seen.get(timeout=SECONDS) == (0, {"receive_maximum": 1, "server_keep_alive": 30})
        receipts = [mqtt.publish("a", str(n), qos=1) for n in range(2)]
        first = peer.expect(Publish)
        peer.send(Puback(first.packet_id))
        assert peer.expect(Publish).payload == b"1"  # and no sooner: the window is 1
        assert receipts[0].wait(SECONDS).done()
        assert not receipts[1].done()


def test_silent_broker_is_given_up(peer):
    lost = threading.Event()
    with client(peer.port, keepalive=1) as mqtt:
        mqtt.on_disconnect = lambda *_: lost.set()
        meet(mqtt, peer)
        assert lost.wait(SECONDS)
        peer.accept()


def test_server_keep_alive_is_kept(peer):
    lost = threading.Event()
    with client(peer.port, keepalive=0, protocol=5) as mqtt:
        mqtt.on_disconnect = lambda *_: lost.set()
        meet(mqtt, peer, properties=Properties(server_keep_alive=1))
        assert lost.wait(SECONDS)


def test_a_broker_that_sends_more_than_may_wait_is_not_read(peer):
    """What it sends meanwhile stays with the network, and its silence is no reason to give it up."""
    go_on, numbers = threading.Event(), SimpleQueue()

    def handle(_client, _userdata, message):
        assert go_on.wait(SECONDS)
        numbers.put(int(message.payload))

    with client(peer.port, keepalive=1, max_received=10) as mqtt:
        mqtt.on_message = handle
        meet(mqtt, peer)
        peer.send(*(Publish("a", b"%d" % number, 1, packet_id=number + 1) for number in range(500)))
        assert eventually(lambda: mqtt._link.held)
        most = mqtt.statistics.received
        mqtt._link._connection._last_data_in -= 100
        peer.packets_until_ping()
        assert mqtt.is_connected()
        assert mqtt.statistics.received == most <= 10 + 100 + 5
        go_on.set()
        assert [numbers.get(timeout=SECONDS) for _ in range(500)] == list(range(500))


def test_a_broker_that_takes_no_answers_has_no_excuse_for_its_silence(peer):
    ends = SimpleQueue()
    with client(peer.port, protocol=5, keepalive=1, properties={"receive_maximum": 10}) as mqtt:
        mqtt.on_disconnect = lambda _client, _userdata, rc: ends.put(rc)
        meet(mqtt, peer)
        mqtt.publish("a", bytes(16 * 1024 * 1024))  # answers wait behind it, for it fits into no buffer
        peer.send(*(Publish("a", b"x" * 100, 1, packet_id=number + 1) for number in range(5_000)))
        assert eventually(lambda: mqtt._link._stalled)
        assert ends.get(timeout=SECONDS)
        assert mqtt.statistics.received < 5_000
        peer.accept()


# --- answers --------------------------------------------------------------------------------------------


def test_receipts_are_done_on_the_answer_and_no_sooner(peer, protocol):
    with client(peer.port, protocol=protocol) as mqtt:
        meet(mqtt, peer)
        first, second = mqtt.publish("a", "1", qos=1), mqtt.publish("a", "2", qos=2)
        one, two = peer.expect(Publish), peer.expect(Publish)
        assert not first.done()
        peer.send(Puback(one.packet_id))
        first.wait(SECONDS)
        peer.send(Pubrec(two.packet_id))
        assert peer.expect(Pubrel).packet_id == two.packet_id
        assert not second.done()
        peer.send(Pubcomp(two.packet_id))
        second.wait(SECONDS)


def test_reason_codes_fail_the_receipt(peer):
    why = Properties(reason_string="no")
    with client(peer.port, protocol=5) as mqtt:
        meet(mqtt, peer)
        receipts = [mqtt.publish("a", "1", qos=qos) for qos in (1, 2, 2)]
        one, two, three = (peer.expect(Publish).packet_id for _ in receipts)
        peer.send(Puback(one, 0x87, why), Pubrec(two, 0x97, why), Pubrec(three))
        assert peer.expect(Pubrel).packet_id == three  # the refused exchange is over
        peer.send(Pubcomp(three, 0x92))
        for receipt, code in zip(receipts, (0x87, 0x97, 0x92), strict=True):
            with pytest.raises(PublishError) as caught:
                receipt.wait(SECONDS)
            assert caught.value.reason_code == code
        assert "no" in str(receipts[0].exception())


def test_refused_subscription_and_unsubscribe(peer, protocol):
    with client(peer.port, protocol=protocol) as mqtt:
        meet(mqtt, peer)
        receipt = mqtt.subscribe([("a", 2), ("ä/#", 1)])
        asked = peer.expect(Subscribe)
        assert [(s.topic_filter, s.qos) for s in asked.subscriptions] == [("a", 2), ("ä/#", 1)]
        peer.send(Suback(asked.packet_id, [1, 0x80]))
        with pytest.raises(SubscribeError) as caught:
            receipt.wait(SECONDS)
        assert caught.value.refused == {"ä/#": 0x80}
        farewell = mqtt.unsubscribe("ä/#")
        left = peer.expect(Unsubscribe)
        assert left.topic_filters == ["ä/#"]
        peer.send(Unsuback(left.packet_id, [0] if protocol == 5 else []))
        farewell.wait(SECONDS)


# --- the connection breaks ------------------------------------------------------------------------------


def test_resumed_session_goes_on_where_it_was(peer, protocol):
    with client(peer.port, protocol=protocol, **KEPT) as mqtt:
        meet(mqtt, peer)
        receipts = [mqtt.publish("a", str(n), qos=qos) for n, qos in enumerate((1, 2, 2, 1))]
        sent = [peer.expect(Publish) for _ in receipts]
        assert not any(packet.dup for packet in sent)
        peer.send(Pubrec(sent[1].packet_id))
        assert peer.expect(Pubrel).packet_id == sent[1].packet_id
        peer.accept(session_present=True)
        again = [peer.read() for _ in receipts]
        assert [type(packet) for packet in again] == [Publish, Pubrel, Publish, Publish]
        assert [packet.packet_id for packet in again] == [packet.packet_id for packet in sent]
        for before, after in zip(sent, again, strict=True):
            if isinstance(after, Publish):
                before.dup = True
                assert after == before
        # The broker had finished the second, which is no error after a break.
        peer.send(Puback(sent[0].packet_id), Pubcomp(sent[1].packet_id, 0x92 if protocol == 5 else 0))
        peer.send(Pubrec(sent[2].packet_id), Puback(sent[3].packet_id))
        assert peer.expect(Pubrel).packet_id == sent[2].packet_id
        peer.send(Pubcomp(sent[2].packet_id))
        for receipt in receipts:
            receipt.wait(SECONDS)
        mqtt.publish("a", "next", qos=1)
        assert peer.expect(Publish).payload == b"next"  # and nothing a third time


def test_lost_session_begins_anew(peer, protocol):
    with client(peer.port, protocol=protocol, **KEPT) as mqtt:
        meet(mqtt, peer)
        receipt = mqtt.publish("a", "1", qos=2)
        peer.send(Pubrec(peer.expect(Publish).packet_id))
        peer.expect(Pubrel)
        subscribed = mqtt.subscribe("s")
        peer.expect(Subscribe)
        peer.accept(session_present=False)
        request = peer.expect(Subscribe)
        peer.send(Suback(request.packet_id, [0]))
        again = peer.expect(Publish)
        assert (again.payload, again.dup) == (b"1", False)
        peer.send(Pubrec(again.packet_id))
        peer.expect(Pubrel)
        peer.send(Pubcomp(again.packet_id))
        receipt.wait(SECONDS)
        subscribed.wait(SECONDS)
        assert not mqtt.native._package_handler.id_generator._used_ids
        assert mqtt.native._persistent_storage.is_empty


def test_takeover_is_reported_and_final(peer):
    codes = SimpleQueue()
    with client(peer.port, protocol=5) as mqtt:
        mqtt.on_disconnect = lambda _c, _u, _flags, code, properties: codes.put((code, properties))
        meet(mqtt, peer)
        peer.send(Disconnect(0x8E, Properties(reason_string="other")))
        assert codes.get(timeout=SECONDS) == (0x8E, {"reason_string": "other"})
        with pytest.raises(ConnectError):
            mqtt.wait_until_connected()


def test_no_report_after_close(peer):
    with client(peer.port) as mqtt:
        messages = collect(mqtt)
        meet(mqtt, peer)
        link = mqtt._link
        mqtt.disconnect_from_server()
        assert peer.read() == Disconnect()
        link._receive = link._lost = None  # would be called
        assert peer.read() is None
    assert empty(messages)
    with pytest.raises(NotConnectedError):
        link.send(b"late")


def test_a_reset_in_the_middle_of_the_goodbye(peer, monkeypatch):
    with client(peer.port) as mqtt:
        meet(mqtt, peer)
        monkeypatch.setattr(mqtt._link._connection, "send_disconnect", peer.reset)
    assert not threads()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff\x7f",
        b"\x30\x04\x00\x09ab",
        b"\x36\x07\x00\x01a\x00\x01xx",
        b"\x00\x00",
        b"\x10\x00",
        b"\x20\x02\x00\x00",
        b"\x40\x01\x00",
        b"\x30\x04\x00\x01\xffx",
    ],
)
def test_malformed_packets_end_the_connection(peer, protocol, garbage, caplog):
    lost = threading.Event()
    with client(peer.port, protocol=protocol) as mqtt:
        mqtt.on_disconnect = lambda *_: lost.set()
        meet(mqtt, peer)
        peer.send_bytes(garbage)
        if protocol == 5:
            assert peer.expect(Disconnect).reason_code in (0x81, 0x82)
        assert lost.wait(SECONDS)
        peer.accept()
        mqtt.wait_until_connected()


def test_packets_of_a_client_end_the_connection(peer):
    with client(peer.port, protocol=5) as mqtt:
        meet(mqtt, peer)
        peer.send(Auth(0x18, Properties(authentication_method="x")))
        assert peer.expect(Disconnect).reason_code == 0x82


def test_messages_before_connack_end_the_connection(peer):
    with client(peer.port) as mqtt:
        messages = collect(mqtt)
        mqtt.loop_start()
        mqtt.connect_to_server()
        peer.accept_silently()
        peer.send(Publish("a"))
        peer.accept()
        mqtt.wait_until_connected()
    assert empty(messages)


def test_a_failure_of_our_own_ends_the_connection(peer, caplog):
    with client(peer.port) as mqtt:
        meet(mqtt, peer)

        def fail(_receipt):
            raise ZeroDivisionError

        receipt = mqtt.publish("a", "b", qos=1)
        receipt.add_done_callback(fail)
        peer.send(Puback(peer.expect(Publish).packet_id))
        receipt.wait(SECONDS)
        mqtt.publish("still", "alive", qos=1)
        while (packet := peer.read()) is None:
            peer.accept()
        assert packet.topic == "still"
        caplog.clear()


# --- receiving ------------------------------------------------------------------------------------------


def test_repeated_qos_2_is_delivered_once(peer, protocol):
    with client(peer.port, protocol=protocol, **KEPT) as mqtt:
        messages = collect(mqtt)
        meet(mqtt, peer)
        peer.send(Publish("a", b"1", 2, packet_id=7))
        assert peer.expect(Pubrec).packet_id == 7
        peer.send(Publish("a", b"1", 2, dup=True, packet_id=7))
        assert peer.expect(Pubrec).packet_id == 7
        peer.accept(session_present=True)
        peer.send(Publish("a", b"1", 2, dup=True, packet_id=7))
        assert peer.expect(Pubrec).packet_id == 7
        peer.send(Pubrel(7))
        assert peer.expect(Pubcomp) == Pubcomp(7)
        peer.send(Pubrel(7))
        assert peer.expect(Pubcomp) == Pubcomp(7, 0x92 if protocol == 5 else 0)
        peer.send(Publish("a", b"2", 2, packet_id=7), Publish("a", b"3", 1, dup=True, packet_id=7))
        peer.expect(Pubrec)
        assert peer.expect(Puback).packet_id == 7
        got = take(messages, 3)
        assert [(m.payload, m.dup) for m in got] == [(b"1", False), (b"2", False), (b"3", True)]
        assert {m.mid for m in got} == {7}


def test_manual_acknowledgement(peer, protocol):
    with client(peer.port, protocol=protocol, manual_ack=True, **KEPT) as mqtt:
        messages = collect(mqtt)
        meet(mqtt, peer)
        peer.send(Publish("a", b"1", 1, packet_id=1), Publish("a", b"2", 2, packet_id=2))
        peer.send(Publish("a", b"2", 2, dup=True, packet_id=2))
        take(messages, 2)
        mqtt.publish("marker", qos=0)
        assert peer.expect(Publish).topic == "marker"  # and no acknowledgement before it
        mqtt.ack(2, 2)
        assert peer.expect(Pubrec).packet_id == 2
        peer.accept(session_present=True)
        mqtt.wait_until_connected()
        mqtt.ack(1, 1)  # of a connection that is gone
        peer.send(Publish("a", b"2", 2, dup=True, packet_id=2), Publish("a", b"1", 1, dup=True, packet_id=1))
        assert peer.expect(Pubrec).packet_id == 2  # the application has acknowledged it
        assert take(messages, 1)[0].mid == 1
        mqtt.ack(1, 1)
        assert peer.expect(Puback).packet_id == 1
    assert empty(messages)


def test_topic_aliases(peer):
    with client(peer.port, protocol=5, properties=Properties(topic_alias_maximum=2)) as mqtt:
        messages = collect(mqtt)
        meet(mqtt, peer)
        alias = Properties(topic_alias=2)
        peer.send(Publish("ä", b"1", properties=alias), Publish("", b"2", properties=alias))
        assert [(m.topic, m.payload, m.properties) for m in take(messages, 2)] == [
            ("ä", b"1", {}),
            ("ä", b"2", {}),
        ]
        peer.send(Publish("b", properties=Properties(topic_alias=3)))
        assert peer.expect(Disconnect).reason_code == 0x94
        peer.accept()
        peer.send(Publish("", b"3", properties=alias))  # aliases end with their connection
        assert peer.expect(Disconnect).reason_code == 0x94


def test_slow_handlers_make_the_broker_wait_and_stop_no_pings(peer, protocol):
    go, lost = threading.Event(), threading.Event()
    got = SimpleQueue()

    def slow(client, _userdata, message):
        if not go.is_set():
            client.publish("answer", "x", qos=1).wait(SECONDS)
            go.wait(SECONDS)
        got.put(message)

    with client(peer.port, max_received=10, keepalive=1, protocol=protocol) as mqtt:
        mqtt.on_message = slow
        mqtt.on_disconnect = lambda *_: lost.set()
        meet(mqtt, peer)
        peer.send(*(Publish("a", str(n).encode(), 1 + n % 2, packet_id=n) for n in range(1, 101)))
        peer.send(Publish("a", b"99", 2, dup=True, packet_id=99), Publish("a", b"2", 1, packet_id=102))
        answers = []
        try:
            for _ in range(3):  # pings, over more time than the client grants a silent broker
                answers += peer.packets_until_ping()
                for packet in answers:
                    if isinstance(packet, Publish):
                        peer.send(Puback(packet.packet_id))
            early = [packet for packet in answers if not isinstance(packet, Publish)]
            assert len(early) <= 12
        finally:
            go.set()
        answers = early + [peer.read() for _ in range(101 - len(early))]
        for qos, kind in ((1, Puback), (2, Pubrec)):
            # Each once, and in the order of the messages.
            expected = [n for n in [*range(1, 101), 102] if 1 + n % 2 == qos]
            assert [packet.packet_id for packet in answers if isinstance(packet, kind)] == expected
        assert len(take(got, 101)) == 101
        mqtt.publish("now", "x", qos=0)
        peer.send(Publish("a", b"3", 1, packet_id=2))
        assert {type(peer.read()), type(peer.read())} == {Publish, Puback}
        assert not lost.is_set()


def test_nothing_overtakes_a_late_acknowledgement(peer):
    entered, go = SimpleQueue(), threading.Semaphore(0)

    def slow(_client, _userdata, message):
        entered.put(message.mid)
        go.acquire(timeout=SECONDS)

    with client(peer.port, max_received=2) as mqtt:
        mqtt.on_message = slow
        meet(mqtt, peer)
        peer.send(Publish("a", qos=1, packet_id=1))
        assert entered.get(timeout=SECONDS) == 1
        peer.send(*(Publish("a", qos=1, packet_id=n) for n in (2, 3, 4)))
        assert [peer.expect(Puback).packet_id for _ in range(3)] == [1, 2, 3]
        go.release(3)
        assert [entered.get(timeout=SECONDS) for _ in range(3)] == [2, 3, 4]
        peer.send(Publish("a", qos=1, packet_id=5))  # there is room again, but 4 comes first
        mqtt.publish("b", "x", qos=1)
        peer.send(Puback(peer.expect(Publish).packet_id))
        go.release(2)
        assert [peer.expect(Puback).packet_id for _ in range(2)] == [4, 5]


def test_late_acknowledgement_of_qos_2_survives_a_break(peer, protocol):
    entered, go = threading.Event(), threading.Event()
    got = SimpleQueue()

    def slow(_client, _userdata, message):
        entered.set()
        go.wait(SECONDS)
        got.put(message.payload)

    with client(peer.port, max_received=1, protocol=protocol, **KEPT) as mqtt:
        mqtt.on_message = slow
        meet(mqtt, peer)
        messages = [Publish("a", bytes([n]), 2, packet_id=n) for n in range(1, 6)]
        peer.send(*messages)
        assert entered.wait(SECONDS)
        peer.accept(session_present=True)
        mqtt.wait_until_connected()
        for packet in messages:
            packet.dup = True
        peer.send(*messages)
        go.set()
        received = set()
        while len(received) < 5:
            received.add(peer.expect(Pubrec).packet_id)
        assert [got.get(timeout=SECONDS) for _ in messages] == [packet.payload for packet in messages]
    assert empty(got)


def test_a_broker_that_does_not_read_fills_a_bounded_buffer(peer):
    with client(peer.port, close_timeout=0.2) as mqtt:
        meet(mqtt, peer)
        payload = bytes(4_000_000)
        with pytest.raises(QueueFullError):
            [mqtt.publish("a", payload) for _ in range(100)]
        receipt = mqtt.publish("a", "1", qos=1)  # it has its window
        assert not receipt.done()
    with pytest.raises(NotConnectedError):
        receipt.wait(0)


def test_gmqtt_is_not_heard_of_warnings(peer, caplog):
    caplog.set_level(logging.WARNING, "gmqtt")
    with client(peer.port) as mqtt:
        meet(mqtt, peer)
        peer.send_bytes(b"\xff\xff\xff\xff\x7f")
        peer.accept()
    assert not [record for record in caplog.records if record.name.startswith("gmqtt")]


# --- several publishes at once --------------------------------------------------------------------------


def start(mqtt, peer):
    """As :func:`meet`, but let what waits wait for :meth:`Peer.accept`."""
    mqtt.connect_to_server()
    mqtt.loop_start()
    return library.identifiers_of(mqtt.native)


def test_what_has_waited_goes_together_and_again_with_the_session(peer, protocol):
    with client(peer.port, protocol=protocol, **KEPT) as mqtt:
        receipts = [mqtt.publish("a", str(number), qos=1 + number % 2) for number in range(10)]
        start(mqtt, peer)
        peer.accept()
        sent = [peer.expect(Publish) for _ in receipts]
        assert [(packet.payload, packet.qos) for packet in sent] == [
            (b"%d" % number, 1 + number % 2) for number in range(10)
        ]
        assert len({packet.packet_id for packet in sent}) == 10
        peer.accept(session_present=True)
        again = [peer.expect(Publish) for _ in receipts]
        assert [(packet.packet_id, packet.payload) for packet in again] == [
            (packet.packet_id, packet.payload) for packet in sent
        ]
        assert all(packet.dup for packet in again)
        peer.send(*(Puback(packet.packet_id) for packet in again if packet.qos == 1))
        for receipt in receipts[::2]:
            receipt.wait(SECONDS)
        assert not any(receipt.done() for receipt in receipts[1::2])


def test_several_for_which_there_are_not_enough_identifiers(peer):
    with client(peer.port) as mqtt:
        receipts = [mqtt.publish("a", str(number), qos=1) for number in range(5)]
        # 65,535 at once are more than max_inflight allows, so gmqtt's own limit is lowered.
        identifiers = start(mqtt, peer)
        identifiers._max = 4
        peer.accept()
        sent = [peer.expect(Publish) for _ in range(3)]
        assert [packet.payload for packet in sent] == [b"0", b"1", b"2"]
        for receipt in receipts[3:]:
            with pytest.raises(QueueFullError, match="max_inflight"):
                receipt.wait(SECONDS)
        peer.send(*(Puback(packet.packet_id) for packet in sent))
        for receipt in receipts[:3]:
            receipt.wait(SECONDS)
        mqtt.publish("a", "next", qos=1)
        assert peer.expect(Publish).payload == b"next"


def test_several_that_a_connection_takes_no_more_keep_their_places_and_no_identifier(peer):
    with client(peer.port) as mqtt:
        receipts = [mqtt.publish("a", str(number), qos=1) for number in range(5)]
        identifiers = start(mqtt, peer)
        # Between the broker's CONNACK and the hand-over the connection ends.
        ending = mqtt._session
        original = ending.start_many

        def cut(messages, link):
            link._outbox.close()
            ending.start_many = original
            try:
                return original(messages, link)
            finally:
                seen.put(set(identifiers._used_ids))

        seen = SimpleQueue()
        ending.start_many = cut
        peer.accept()
        assert seen.get(timeout=SECONDS) == set()
        peer.accept()
        sent = [peer.expect(Publish) for _ in receipts]
        assert [(packet.payload, packet.dup) for packet in sent] == [
            (b"%d" % number, False) for number in range(5)
        ]
        peer.send(*(Puback(packet.packet_id) for packet in sent))
        for receipt in receipts:
            receipt.wait(SECONDS)
