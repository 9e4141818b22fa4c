"""The fault broker does what its script says: every step, seen by the kit's own client and a bare socket."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from juham_core.testing import FaultBroker, SocketObserver
from juham_core.testing.certificates import server_context
from juham_core.testing.leaks import Watch
from juham_core.wire import (
    MQTT_5,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
    encode,
)


@pytest.fixture
def faulty():
    watch = Watch()
    with FaultBroker() as faulty:
        yield faulty
    assert watch.left() == []


@pytest.fixture
def observe(faulty):
    made = []

    def make(**settings):
        observer = SocketObserver(faulty.host, faulty.port, **settings)
        made.append(observer)
        return observer

    yield make
    for observer in made:
        observer.close()


@pytest.fixture
def raw(faulty):
    """A socket that has sent CONNECT, and received nothing yet."""
    with socket.create_connection((faulty.host, faulty.port), 5) as sock:
        sock.sendall(encode(Connect("raw")))
        yield sock


def read_all(sock):
    data = b""
    while more := sock.recv(65_536):
        data += more
    return data


def test_without_a_script_it_is_a_broker(observe):
    one, other = observe(), observe(protocol=MQTT_5)
    assert one.subscribe("a/#", "b") == [2, 2]
    for qos in (0, 1, 2):
        assert other.publish("a/b", b"%d" % qos, qos=qos) in (0, 0x10)
        message = one.message()
        assert (message.topic, message.payload, message.qos) == ("a/b", b"%d" % qos, qos)
    assert one.drain() == []


def test_the_record_has_every_packet_of_both_directions(faulty, observe):
    observer = observe(client_id="me")
    observer.publish("t", b"x", qos=2)
    observer.close()
    faulty.wait_for("lost", connection=1)
    shown = [(entry.kind, entry.sent) for entry in faulty.log]
    assert shown == [
        ("accept", False),
        ("connect", False),
        ("connack", True),
        ("publish", False),
        ("pubrec", True),
        ("pubrel", False),
        ("pubcomp", True),
        ("disconnect", False),
        ("lost", False),
    ]
    assert faulty.packets("connect")[0].client_id == "me"
    times = [entry.at for entry in faulty.log]
    assert times == sorted(times)


def test_waiting_in_vain_shows_the_record(faulty, observe):
    observe()
    with pytest.raises(AssertionError, match=r"received subscribe #1: not within 0.05 s(.|\n)*Connack"):
        faulty.wait_for("subscribe", timeout=0.05)


def test_no_connack(faulty, raw):
    rule = faulty.on("connect").silence()
    with socket.create_connection((faulty.host, faulty.port), 5) as sock:
        sock.sendall(encode(Connect("raw")))
        rule.wait()
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    assert faulty.packets("connack", sent=True, connection=2) == []


@pytest.mark.parametrize("code", [0x80, 0x86, 0x87, 0x88])
def test_connack_with_any_code(faulty, observe, code):
    faulty.before("connack").change(reason_code=code)
    assert observe(protocol=MQTT_5).connack.reason_code == code


def test_reset_at_the_third_publish(faulty, observe):
    faulty.on("publish", nth=3).reset()
    observer = observe()
    assert [observer.publish("t") for _ in range(2)] == [0, 0]
    with pytest.raises(ConnectionResetError):
        observer.publish("t")
    assert faulty.state.statistics.received == 2
    assert observe().publish("t") == 0  # the next connection stands


def test_reset_of_one_connection_only(faulty, observe):
    faulty.on("publish", connection=2).reset()
    first, second = observe(), observe()
    assert first.publish("t") == 0
    with pytest.raises(ConnectionResetError):
        second.publish("t")


def test_close_is_a_fin_after_what_was_sent(faulty, raw):
    faulty.wait_for("connack", sent=True)
    faulty.on("pingreq").send(Pingresp()).close()
    raw.sendall(encode(Pingreq()))
    assert read_all(raw) == encode(Connack()) + encode(Pingresp())


def test_cut_in_the_middle_of_a_packet(faulty, observe):
    faulty.before("publish").cut(after=5)
    observer = observe()
    observer.subscribe("t")
    observer.publish("t", b"0123456789", qos=0)
    with pytest.raises(ConnectionResetError):
        observer.message()
    assert faulty.packets("bytes", sent=True) == [encode(Publish("t", b"0123456789"))[:5]]


def test_reset_in_the_middle_of_what_a_client_sends(faulty, observe):
    rule = faulty.after_bytes(5_000).reset()
    with pytest.raises(OSError):
        observe().publish("t", b"x" * 1_000_000)
    assert rule.happened
    assert faulty.packets("publish") == []


def test_half_open_reads_and_sends_nothing_and_stays(faulty, observe):
    observer = observe()
    observer.send(Pingreq())
    faulty.wait_for("pingresp", sent=True)
    faulty.silence()
    observer.send(Pingreq())
    other = observe()
    other.publish("t")  # the broker itself goes on
    assert len(faulty.packets("pingreq")) == 1
    assert faulty.connections == 2
    observer.vanish()
    faulty.wait_for("lost", connection=1)


def test_frozen_does_not_even_read(faulty, observe):
    rule = faulty.on("pingreq").freeze()
    observer = observe()
    observer.send(Pingreq())
    rule.wait()
    observer._socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        observer._socket.sendall(b"\0" * 50_000_000)
    assert faulty.connections == 0
    observer.vanish()


def test_ignored_is_what_comes_but_sending_goes_on(faulty, observe):
    rule = faulty.after_bytes(100_000).ignore()
    observer = observe()
    sending = threading.Thread(target=observer.publish, args=("t", bytes(50_000_000)))
    sending.start()
    rule.wait()
    faulty.send(Publish("in/spite", b"of it"))
    assert observer.message().topic == "in/spite"
    assert not faulty.packets("publish")
    faulty.read_on()
    faulty.wait_for("publish")
    sending.join()


def test_suback_codes(faulty, observe):
    faulty.on("subscribe").answer(Suback(0, [0x80, 1]))
    assert observe().subscribe("a", "b") == [0x80, 1]
    assert faulty.state.statistics.subscriptions == 0


def test_reason_codes_of_puback_and_pubrec(faulty, observe):
    faulty.before("puback").change(reason_code=0x97)
    faulty.on("publish", where=lambda packet: packet.qos == 2).answer(Pubrec(0, 0x87))
    observer = observe(protocol=MQTT_5)
    assert observer.publish("t", qos=1) == 0x97
    assert observer.publish("t", qos=2) == 0x87


@pytest.mark.parametrize("kind", ["puback", "pubrec", "pubcomp", "suback", "unsuback", "pingresp"])
def test_withheld(faulty, observe, kind):
    faulty.before(kind, nth=1).withhold()
    observer = observe()
    requests = {
        "puback": lambda: observer.send(Publish("t", qos=1, packet_id=9)),
        "pubrec": lambda: observer.send(Publish("t", qos=2, packet_id=9)),
        "pubcomp": lambda: observer.send(Pubrel(9)),
        "suback": lambda: observer.send(Subscribe(9, [Subscription("a")])),
        "unsuback": lambda: observer.send(Unsubscribe(9, ["a"])),
        "pingresp": lambda: observer.send(Pingreq()),
    }
    if kind == "pubcomp":
        observer.send(Publish("t", qos=2, packet_id=9))
    requests[kind]()
    assert observer.publish("after") == 0  # the connection goes on
    assert len(faulty.packets(kind, sent=True)) == (1 if kind == "puback" else 0)


def test_hold_keeps_the_order(faulty, observe):
    rule = faulty.before("puback", nth=1).hold()
    observer = observe()
    observer.send(Publish("t", qos=1, packet_id=1))
    observer.send(Pingreq())
    faulty.wait_for("pingresp", sent=True)
    assert observer._read(0.05) == []
    rule.release()
    got = []
    while len(got) < 2:
        got += observer._read(5)
    assert got == [Puback(1), Pingresp()]


def test_delay(faulty, raw):
    faulty.wait_for("connack", sent=True)
    raw.recv(100)
    faulty.before("pingresp").delay(0.1)
    began = time.monotonic()
    raw.sendall(encode(Pingreq()))
    assert raw.recv(100) == encode(Pingresp())
    assert time.monotonic() - began >= 0.09


def test_session_present_and_a_replay_in_the_same_segment(faulty, observe):
    observer = observe(client_id="me", clean_start=False)
    observer.subscribe("t", qos=1)
    observer.vanish()
    faulty.wait_for("lost", connection=1)
    observe().publish("t", b"meanwhile")
    back = observe(client_id="me", clean_start=False)
    assert back.connack.session_present
    assert back.message().payload == b"meanwhile"


def test_a_session_that_is_only_claimed(faulty, observe):
    faulty.before("connack").change(session_present=True)
    assert observe().connack.session_present


def test_a_duplicate_of_qos_2(faulty, observe):
    faulty.before("publish").twice()
    observer = observe()
    observer.subscribe("t", qos=2)
    observer.publish("t", b"x", qos=2)
    first, second = observer.messages(2)
    assert (first.dup, second.dup) == (False, True)
    assert first.packet_id == second.packet_id


def test_disconnect_with_a_code(faulty, observe):
    faulty.on("subscribe").send(Disconnect(0x8E)).close()
    observer = observe(protocol=MQTT_5)
    with pytest.raises(AssertionError, match="closed the observer's connection"):
        observer.subscribe("a")
    assert faulty.packets("disconnect", sent=True) == [Disconnect(0x8E)]


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff\xff\xff\xff", encode(Connack()) * 1000]
)
def test_raw_bytes_for_an_answer(faulty, data):
    faulty.on("connect").answer(data).close()
    with socket.create_connection((faulty.host, faulty.port), 5) as sock:
        sock.sendall(encode(Connect("raw")))
        assert read_all(sock) == data


def test_bytes_here_and_now(faulty, raw):
    faulty.wait_for("connack", sent=True)
    faulty.send(b"garbage", Pingresp())
    faulty.close()
    assert read_all(raw) == encode(Connack()) + b"garbage" + encode(Pingresp())


def test_here_and_now_without_a_connection_says_so(faulty):
    with pytest.raises(AssertionError, match="does not stand"):
        faulty.reset()


def test_before_anything_is_received(faulty):
    faulty.on("accept").send(b"220 smtp\r\n").close()
    with socket.create_connection((faulty.host, faulty.port), 5) as sock:
        assert read_all(sock) == b"220 smtp\r\n"


def test_fragments(faulty, observe):
    faulty.fragment = 1
    observer = observe()
    observer.subscribe("t")
    observer.publish("t", b"0123456789" * 20)
    assert observer.message().payload == b"0123456789" * 20


def test_fragments_arrive_one_by_one_and_all_before_the_end(faulty):
    faulty.fragment = 1
    faulty.on("connect").answer(b"0123456789").close()
    with socket.create_connection((faulty.host, faulty.port), 5) as sock:
        sock.sendall(encode(Connect("raw")))
        parts = list(iter(lambda: sock.recv(100), b""))
    assert b"".join(parts) == b"0123456789"
    assert len(parts) > 1


def test_refused_and_accepted_again_on_the_same_port(faulty, observe):
    standing = observe()
    port = faulty.port
    faulty.refuse()
    with pytest.raises(ConnectionRefusedError):
        observe()
    assert standing.publish("t") == 0
    faulty.accept()
    assert faulty.port == port
    assert observe().publish("t") == 0
    assert faulty.accepted == 2


def test_scripts_count_from_when_they_were_made(faulty, observe):
    observer = observe()
    observer.publish("t")
    faulty.on("publish", nth=2).reset()
    observer.publish("t")
    with pytest.raises(ConnectionResetError):
        observer.publish("t")


def test_the_first_rule_that_applies_decides_and_all_count(faulty, observe):
    faulty.on("publish", nth=1).withhold()
    last = faulty.on("publish", nth=2).answer(Puback(0, 0))
    observer = observe()
    observer.send(Publish("t", qos=1, packet_id=1))
    observer.send(Publish("t", qos=1, packet_id=2))
    last.wait()
    assert faulty.wait_for("puback", sent=True) == Puback(2)
    faulty.forgive()
    assert observer.publish("t") == 0


def test_malformed_packets_are_on_record(faulty, raw):
    faulty.wait_for("connack", sent=True)
    raw.sendall(b"\x00\x00")
    assert "0" in str(faulty.wait_for("malformed"))
    assert read_all(raw) == encode(Connack())


def test_a_reset_shows_as_one(faulty, observe):
    observer = observe()
    observer._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    observer.vanish()
    assert "reset" in faulty.wait_for("lost")


def test_nothing_is_left_of_a_broker_with_connections_in_every_state():
    watch = Watch()
    faulty = FaultBroker().start()
    socks = [socket.create_connection((faulty.host, faulty.port), 5) for _ in range(4)]
    for sock in socks[1:]:
        sock.sendall(encode(Connect(f"c{sock.fileno()}")))
    faulty.wait_for("connect", nth=3)
    faulty.silence(3)
    faulty.stop()
    faulty.stop()
    for sock in socks:
        sock.close()
    assert watch.left() == []
    assert "fault-broker" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("context", [None, server_context()], ids=["plain", "tls"])
def test_a_connection_that_comes_while_the_broker_stops_is_ended(context):
    watch = Watch()
    broker = FaultBroker(ssl=context).start()
    with socket.socket() as client:
        client.settimeout(10)

        def come_and_stop():
            client.connect((broker.host, broker.port))  # to the system: the broker looks only then
            broker._loop.call_soon(broker._stopping.set)

        broker.call(come_and_stop)
        broker._thread.join()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert watch.left() == []


@pytest.mark.parametrize("context", [None, server_context()], ids=["plain", "tls"])
def test_a_connection_that_comes_while_the_port_is_closed_is_served_or_ended(context):
    watch = Watch()
    refused = []
    with FaultBroker(ssl=context) as broker, socket.socket() as client:
        client.settimeout(10)

        def refuse():
            refused.append(broker._loop.create_task(broker._stop_listening()))

        def come_and_refuse():
            client.connect((broker.host, broker.port))  # to the system: the broker looks only then
            broker._loop.call_soon(refuse)

        broker.call(come_and_refuse)
        broker.refuse()  # in vain, but it comes after the other
        if context is None:
            with contextlib.suppress(ConnectionError):
                client.sendall(encode(Connect("late")))
                assert client.recv(4) in (b"\x20\x02\x00\x00", b"")
        broker.stop()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert watch.left() == []
