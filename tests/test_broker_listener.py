"""The broker over real sockets: listening, its limits, and leaving nothing behind."""

import socket

import pytest
from broker_sockets import PATIENCE, RawClient, eventually, leaves_nothing

from juham_core.broker import EmbeddedBroker, Limits
from juham_core.errors import ConnectError, JuhamError
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Will,
    encode,
    reasons,
)


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.mark.parametrize("protocol", [MQTT_311, MQTT_5])
@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_messages_go_round(broker, protocol, size):
    with RawClient(broker, protocol=protocol) as client:
        client.subscribe("a/#")
        client.exchange("a/b", bytes(size))


def test_many_packets_in_one_write_and_in_single_bytes(broker):
    with RawClient(broker) as client:
        client.subscribe("a", 1)
        client.send(*[Publish("a", b"%d" % number) for number in range(1000)])
        for number in range(1000):
            assert client.receive(Publish).payload == b"%d" % number
        for byte in encode(Publish("a", b"slowly", 1, packet_id=1), MQTT_5):
            client.sock.sendall(bytes((byte,)))
        message = client.receive(Publish)
        assert (message.payload, message.qos) == (b"slowly", 1)
        client.receive(Puback)


def test_one_message_reaches_clients_of_both_versions(broker):
    with RawClient(broker, "old", protocol=MQTT_311) as old, RawClient(broker, "new") as new:
        old.subscribe("a")
        new.subscribe("a")
        for payload in (b"first", b"second"):
            new.send(Publish("a", payload))
            assert old.receive(Publish).payload == new.receive(Publish).payload == payload


def test_url_port_and_statistics(broker):
    assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
    with RawClient(broker) as client:
        client.subscribe("a")
        client.exchange("a", b"x")
        statistics = broker.statistics
    assert (statistics.connected, statistics.received, statistics.sent) == (1, 1, 1)
    eventually(lambda: broker.statistics.connected == 0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x00", reasons.MALFORMED_PACKET),
        (b"\x30\xff\xff\xff\xff\x7f", reasons.MALFORMED_PACKET),
        (b"\x32\x05\x00\x01a\x00\x00", reasons.PROTOCOL_ERROR),
        (encode(Connect("again", protocol=MQTT_5), MQTT_5), reasons.PROTOCOL_ERROR),
    ],
    ids=["type 0", "long length", "packet id 0", "second connect"],
)
def test_malformed_input_ends_that_connection_only(broker, data, code):
    with RawClient(broker, "good") as good, RawClient(broker, "bad") as bad:
        good.subscribe("a")
        bad.sock.sendall(data + b"\xc0\x00" * 3)
        (answer,) = bad.packets()
        assert (answer.kind, answer.reason_code) in {("disconnect", code), ("disconnect", 0x81)}
        good.exchange("a", b"undisturbed")


def test_too_large_a_packet_is_refused_before_it_arrives():
    with EmbeddedBroker(limits=Limits(max_packet_size=100)) as broker, RawClient(broker) as client:
        client.subscribe("a")
        client.exchange("a", bytes(80))
        client.sock.sendall(encode(Publish("a", bytes(200)), MQTT_5)[:5])
        assert client.receive(Disconnect).reason_code == reasons.PACKET_TOO_LARGE
        assert client.is_cut()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", [reasons.UNSUPPORTED_PROTOCOL_VERSION]),
        (b"\xc0\x00", None),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", None),
    ],
    ids=["version 3", "ping", "http"],
)
def test_what_is_no_connect_is_closed(broker, data, answer):
    with RawClient(broker, protocol=MQTT_311, connect=False) as client:
        client.sock.sendall(data)
        answers = list(client.packets())
        assert all(isinstance(packet, Connack) and packet.reason_code for packet in answers)
        if answer is not None:
            assert [packet.reason_code for packet in answers] == answer


def test_silence_instead_of_connect_is_closed():
    limits = Limits(connect_timeout=0.05)
    with EmbeddedBroker(limits=limits) as broker, RawClient(broker, "patient") as connected:
        with RawClient(broker, connect=False) as silent:
            silent.sock.sendall(b"\x10")
            assert silent.is_cut()
        connected.send(Pingreq())
        connected.receive(Pingresp)


def test_keepalive_is_enforced(broker):
    with RawClient(broker, keepalive=1) as client:
        assert client.receive(Disconnect).reason_code == reasons.KEEP_ALIVE_TIMEOUT


def test_will_of_a_dropped_connection(broker):
    with RawClient(broker, "watcher") as watcher:
        watcher.subscribe("will")
        RawClient(broker, "mortal", will=Will("will", b"gone")).close()
        assert watcher.receive(Publish).payload == b"gone"


def test_refused_credentials_are_answered_and_closed():
    with EmbeddedBroker(users={"ann": "secret"}) as broker:
        with RawClient(broker, username="ann", password=b"wrong") as client:
            assert client.connack.reason_code == reasons.BAD_USER_NAME_OR_PASSWORD
            assert client.is_cut()
        with RawClient(broker, username="ann", password=b"secret") as client:
            assert client.connack.reason_code == 0


def test_authenticate_may_ask_the_broker_and_even_answer_nonsense(caplog):
    answers = iter([reasons.SERVER_BUSY, 0x55])

    def authenticate(connect):
        assert broker.statistics.connected == 0
        return next(answers)

    with EmbeddedBroker(authenticate=authenticate) as broker:
        with RawClient(broker) as client:
            assert client.connack.reason_code == reasons.SERVER_BUSY
        with RawClient(broker, connect=False) as client:
            client.send(Connect("c", protocol=MQTT_5))
            assert client.is_cut()
    assert "cannot send a connack packet" in caplog.text


def test_slow_reader_loses_qos_0_and_nobody_else_does():
    limits = Limits(write_buffer=100_000)
    payload = bytes(50_000)
    with EmbeddedBroker(limits=limits) as broker, RawClient(broker, "slow") as slow:
        slow.subscribe("flood")
        with RawClient(broker, "good") as good:
            good.subscribe("a")
            sent = 0
            while "slow_reader" not in broker.statistics.dropped:
                good.send(Publish("flood", payload))
                good.exchange("a", b"undisturbed")
                sent += 1
        for _ in range(sent - broker.statistics.dropped["slow_reader"]):
            assert slow.receive(Publish).payload == payload
        slow.send(Pingreq())
        slow.receive(Pingresp)


def test_who_asks_and_never_reads_is_heard_no_more():
    # The answer to an invalid filter is longer than the question.
    questions = encode(Subscribe(1, [Subscription("#" * 80)]), MQTT_5) * 500
    with EmbeddedBroker(limits=Limits(write_buffer=10_000)) as broker, RawClient(broker, "greedy") as greedy:
        greedy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        # The broker stops reading, so the kernel's buffers fill up.
        asked = greedy.send_until_stalled(questions) * 500 // len(questions)
        with RawClient(broker, "good") as good:
            good.send(Pingreq())
            good.receive(Pingresp)
        for _ in range(asked):
            assert greedy.receive(Suback).reason_codes == [reasons.TOPIC_FILTER_INVALID]


def test_drop_connections_cuts_without_a_word(broker):
    with RawClient(broker, "1") as one, RawClient(broker, "2") as two:
        assert broker.drop_connections() == 2
        for client in (one, two):
            with pytest.raises(ConnectionResetError):
                client.sock.recv(1)
    with RawClient(broker) as client:
        client.send(Pingreq())
        client.receive(Pingresp)


@leaves_nothing()
def test_stop_tells_clients_and_a_restart_keeps_port_and_state():
    broker = EmbeddedBroker()
    with broker:
        port = broker.port
        with RawClient(broker) as client:
            client.send(Publish("a", b"kept", retain=True))
            client.send(Pingreq())
            client.receive(Pingresp)
            broker.stop()
            assert client.receive(Disconnect).reason_code == reasons.SERVER_SHUTTING_DOWN
            assert client.is_cut()
        assert not broker.is_running
        assert broker.statistics.retained == 1
        with pytest.raises(ConnectionRefusedError):
            RawClient(broker)
        broker.start()
        assert broker.port == port
        with RawClient(broker) as client:
            client.subscribe("a")
            assert client.receive(Publish).payload == b"kept"
    broker.stop()


@leaves_nothing()
def test_stop_does_not_wait_for_those_who_do_not_leave():
    with EmbeddedBroker(limits=Limits(write_buffer=1_000_000)) as broker:
        client = RawClient(broker)
        client.subscribe("a")
        stuck = RawClient(broker, connect=False)
        client.send(*[Publish("a", bytes(100_000)) for _ in range(50)])
        eventually(lambda: broker.statistics.sent > 0)
    client.close()
    stuck.close()


def test_starting_twice_is_refused(broker):
    with pytest.raises(JuhamError, match=f"running already at {broker.url}"):
        broker.start()


@leaves_nothing()
@pytest.mark.parametrize("unix", [False, True])
def test_an_address_in_use_is_named(broker, tmp_path, unix):
    path = tmp_path / "file"
    path.write_text("no socket")
    other = EmbeddedBroker(unix_path=str(path)) if unix else EmbeddedBroker(port=broker.port)
    with pytest.raises(ConnectError, match=str(path) if unix else str(broker.port)):
        other.start()
    assert not other.is_running
    assert path.read_text() == "no socket"


@leaves_nothing()
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_unix_socket(tmp_path):
    path = tmp_path / "mqtt"
    for _ in range(2):
        with EmbeddedBroker(unix_path=str(path)) as broker:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            with RawClient(broker, "unix", sock=sock) as client, RawClient(broker, "tcp") as other:
                client.subscribe("a")
                other.send(Publish("a", b"x"))
                assert client.receive(Publish).payload == b"x"
                broker.drop_connections()
                assert client.is_cut()
        assert not path.exists()


def test_ipv6():
    try:
        broker = EmbeddedBroker("::1").start()
    except ConnectError:
        pytest.skip("this machine has no IPv6")
    with socket.create_connection(("::1", broker.port), PATIENCE) as sock, RawClient(broker, sock=sock):
        assert broker.url == f"mqtt://[::1]:{broker.port}"
    broker.stop()
