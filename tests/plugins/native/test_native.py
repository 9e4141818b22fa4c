"""Connections of the native backend, beside what the kit tries with every backend."""

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections import deque
from queue import SimpleQueue

import pytest
from clients import SECONDS, collect, empty, take
from juham_native import link, threaded
from juham_native.link import READ
from juham_native.looped import LoopedLink
from native_support import Peer, client, connected
from websockets.utils import accept_key

from juham_core import aio
from juham_core.broker import EmbeddedBroker
from juham_core.errors import ConnectError, OptionError, QueueFullError
from juham_core.testing.certificates import AUTHORITY, server_context
from juham_core.testing.websocket import WebsocketBridge
from juham_core.wire import (
    Connack,
    Disconnect,
    Pingreq,
    Properties,
    Puback,
    Publish,
    Subscribe,
    Subscription,
    encode,
)


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


class TlsFront:
    """Ends TLS in front of a server, one connection at a time is enough."""

    def __init__(self, target):
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="tls-front")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            plain, _ = self._server.accept()
            with (
                server_context().wrap_socket(plain, server_side=True) as near,
                socket.create_connection(self._target) as far,
            ):
                while True:
                    readable = [near] if near.pending() else select.select([near, far], [], [])[0]
                    for sock, other in ((near, far), (far, near)):
                        if sock in readable:
                            data = sock.recv(65_536)
                            if not data:
                                return
                            other.sendall(data)


class TestWays:
    @pytest.mark.parametrize("protocol", [4, 5])
    def test_websocket_over_tls(self, broker, protocol):
        with (
            WebsocketBridge((broker.host, broker.port)) as bridge,
            TlsFront((bridge.host, bridge.port)) as front,
            connected(
                front.port,
                transport="websockets",
                tls=True,
                ca_certs=AUTHORITY,
                protocol=protocol,
                ws_headers={"X-Token": "secret"},
            ) as mqtt,
        ):
            messages = collect(mqtt)
            mqtt.subscribe("a", 1).wait(SECONDS)
            for payload in (b"x", b"y" * 1_000_000):
                mqtt.publish("a", payload, qos=1).wait(SECONDS)
                assert take(messages, 1)[0].payload == payload

    def test_a_header_of_several_lines_is_no_option(self, broker):
        mqtt = client(broker.port, transport="websockets", ws_headers={"X": "a\r\nHost: other"})
        with pytest.raises(OptionError, match="ws_headers"):
            mqtt.connect_to_server()

    def test_what_is_no_websocket_is_a_connect_error(self, broker):
        with pytest.raises(ConnectError):
            client(broker.port, transport="websockets", connect_timeout=2).connect_to_server()

    def test_the_local_address_is_bound_and_nodelay_is_set(self, peer):
        with client(peer.port, bind_address="127.0.0.2") as mqtt:
            mqtt.connect_to_server()
            peer.accept()
            mqtt.wait_until_connected()
            assert peer.sock.getpeername()[0] == "127.0.0.2"
            sock = mqtt.native._sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_a_broker_that_closes_tls_in_the_middle_is_a_lost_connection(self):
        context = ssl.create_default_context(cafile=AUTHORITY)
        with (
            EmbeddedBroker(ssl=server_context()) as broker,
            connected(broker.port, tls=True, ssl_context=context, reconnect=False) as mqtt,
        ):
            lost = threading.Event()
            mqtt.on_disconnect = lambda *_: lost.set()
            broker.stop()
            assert lost.wait(SECONDS)


class TestHostileBrokers:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\x00\x00", 0x81),
            (b"\x30\xff\xff\xff\xff", 0x81),
            (b"\x30\x03\x00\x01#", 0x81),
            (encode(Subscribe(1, [Subscription("a")]), 5), 0x82),
            (encode(Publish("a", bytes(2000)), 5), 0x95),
        ],
    )
    def test_what_mqtt_forbids_ends_the_connection_with_a_disconnect(self, peer, data, code):
        with client(peer.port, protocol=5, properties={"maximum_packet_size": 1000}) as mqtt:
            ended = threading.Event()
            mqtt.on_disconnect = lambda *_: ended.set()
            mqtt.loop_start()
            mqtt.connect_to_server()
            peer.accept()
            mqtt.wait_until_connected()
            peer.sock.sendall(data)
            packet = peer.read()
            while not isinstance(packet, Disconnect):
                packet = peer.read()
            assert packet.reason_code == code
            assert peer.read() is None
            assert ended.wait(SECONDS)
            peer.accept()  # it comes back
            mqtt.wait_until_connected()

    @pytest.mark.parametrize("inside_loop", [False, True])
    def test_a_broker_that_falls_silent_is_left(self, peer, inside_loop):
        """Half-open: bytes are taken, and nothing comes back."""

        def serve():
            peer.accept()
            assert isinstance(peer.read(pings=True), Pingreq)
            peer.accept()  # again, for the first connection was given up

        options = {"host": "127.0.0.1", "keepalive": 1, "reconnect_min": 0.01}
        serving = threading.Thread(target=serve)
        serving.start()
        if inside_loop:

            async def main():
                back = asyncio.Event()
                async with aio.connect(f"mqtt+native://127.0.0.1:{peer.port}", **options) as mqtt:
                    mqtt.on_disconnect = lambda *_: setattr(mqtt, "on_connect", lambda *_: back.set())
                    await back.wait()

            asyncio.run(asyncio.wait_for(main(), SECONDS))
        else:
            with connected(peer.port, **options):
                serving.join(SECONDS)
        serving.join(SECONDS)
        assert not serving.is_alive()

    def test_no_ping_where_something_is_sent_and_comes_all_the_time(self, peer):
        with client(peer.port, keepalive=1) as mqtt:
            mqtt.connect_to_server()
            peer.accept()
            mqtt.wait_until_connected()
            stop = threading.Event()
            for _ in range(8):
                mqtt.publish("a", b"x", qos=1)
                packet = peer.read(pings=True)
                assert isinstance(packet, Publish)
                peer.send(Puback(packet.packet_id))
                stop.wait(0.25)

    def test_a_broker_that_reads_little_makes_room_for_little(self, peer, monkeypatch):
        monkeypatch.setattr(link, "MAX_UNSENT", 16_000_000)
        peer.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        serving = threading.Thread(target=peer.accept)
        serving.start()
        with connected(peer.port, close_timeout=0.2) as mqtt:
            serving.join()
            accepted = []
            for _ in range(8):
                before = mqtt.statistics.published
                with pytest.raises(QueueFullError):
                    deque((mqtt.publish("a", bytes(100_000)) for _ in range(1_000)), 0)
                accepted.append(mqtt.statistics.published - before)
                left = 1_000_000
                while left > 0:
                    left -= len(peer.sock.recv(left))
            assert accepted[0] >= 150
            assert sum(accepted[1:]) <= 140, "more than has been read and the network may hold"

    @pytest.mark.parametrize("inside_loop", [False, True])
    def test_a_broker_that_does_not_read_fills_a_bounded_buffer(self, peer, monkeypatch, inside_loop):
        monkeypatch.setattr(link, "MAX_UNSENT", 4_000_000)

        def flood(mqtt):
            with pytest.raises(QueueFullError, match="publish slower"):
                deque((mqtt.publish("a", b"x" * 500_000) for _ in range(100)), 0)
            assert mqtt.statistics.published >= 8

        serving = threading.Thread(target=peer.accept)
        serving.start()
        if inside_loop:

            async def main():
                options = {"close_timeout": 0.2}
                async with aio.connect(f"mqtt+native://127.0.0.1:{peer.port}", **options) as mqtt:
                    for _ in range(5):
                        await asyncio.sleep(0)
                    flood(mqtt.client)

            asyncio.run(asyncio.wait_for(main(), SECONDS))
        else:
            with connected(peer.port, close_timeout=0.2) as mqtt:
                flood(mqtt)
        serving.join(SECONDS)


class TestThreads:
    def test_publishers_in_several_threads_keep_their_order_over_tls(self):
        names, each = "abcd", 300
        with (
            EmbeddedBroker(ssl=server_context()) as broker,
            connected(broker.port, tls=True, ca_certs=AUTHORITY) as mqtt,
        ):
            messages = collect(mqtt)
            mqtt.subscribe("#", 1).wait(SECONDS)
            start = threading.Barrier(len(names))

            def publish(name):
                start.wait()
                for number in range(each):
                    mqtt.publish(name, str(number), qos=number % 2)

            threads = [threading.Thread(target=publish, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            got = take(messages, each * len(names))
            assert empty(messages)
        for name in names:
            for qos in (0, 1):
                numbers = [int(m.payload) for m in got if (m.topic, m.qos) == (name, qos)]
                assert numbers == list(range(qos, each, 2))

    def test_where_there_is_no_poll_select_does(self, broker, monkeypatch):
        monkeypatch.delattr(threaded.select, "poll")
        with connected(broker.port) as mqtt:
            messages = collect(mqtt)
            mqtt.subscribe("a", 1).wait(SECONDS)
            for number in range(50):
                mqtt.publish("a", str(number), qos=1)
            mqtt.publish("a", bytes(3_000_000), qos=1)
            assert [m.payload for m in take(messages, 50)] == [b"%d" % number for number in range(50)]
            assert len(take(messages, 1)[0].payload) == 3_000_000

    def test_the_thread_is_gone_after_closing(self, broker):
        with connected(broker.port, "gone"):
            assert any("native-gone" in thread.name for thread in threading.enumerate())
        assert not any("native-gone" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
class TestCallersLoop:
    @pytest.fixture
    def run(self, runner):
        if runner == "uvloop":
            return pytest.importorskip("uvloop").run
        return asyncio.run

    @pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
    def test_every_way_and_every_qos(self, run, way, tmp_path):
        async def main(**options):
            async with aio.connect(backend="native", **options) as mqtt:
                assert isinstance(mqtt.client.native, LoopedLink)
                async with mqtt.messages("a/#", qos=2) as messages:
                    for qos in (0, 1, 2):
                        await mqtt.publish("a/b", b"x" * 10**qos, qos=qos)
                        message = await anext(messages)
                        assert (message.payload, message.qos) == (b"x" * 10**qos, qos)
                    await mqtt.publish("a/b", bytes(3_000_000), qos=1)
                    assert len((await anext(messages)).payload) == 3_000_000

        context = server_context() if way == "tls" else None
        path = str(tmp_path / "s") if way == "unix" else None
        with EmbeddedBroker(ssl=context, unix_path=path) as broker:
            options = {"host": broker.host, "port": broker.port}
            if way == "tls":
                options |= {"tls": True, "ca_certs": AUTHORITY}
            if way == "unix":
                options = {"transport": "unix", "host": path}
            run(asyncio.wait_for(main(**options), SECONDS))


def test_lazily_read_properties_are_the_messages_own(broker):
    pairs = [("a", "1"), ("a", "2")]
    with connected(broker.port, protocol=5) as mqtt:
        messages = collect(mqtt)
        mqtt.subscribe("a").wait(SECONDS)
        for _ in range(3):  # from the second one on the topic is known, and the quick way is taken
            mqtt.publish("a", b"x", properties={"content_type": "text/plain", "user_property": pairs})
        first, *others = take(messages, 3)
        first.properties["content_type"] = "mine"
        first.properties = None
        assert first.properties == {}
        assert [m.properties for m in others] == 2 * [
            Properties(content_type="text/plain", user_property=pairs)
        ]


def test_a_broker_that_sends_more_than_may_wait_is_not_read(peer):
    """What it sends meanwhile stays with the network, and its silence is no reason to give it up."""
    go_on, numbers = threading.Event(), SimpleQueue()

    def handle(_client, _userdata, message):
        assert go_on.wait(SECONDS)
        numbers.put(int(message.payload[:6]))

    with client(peer.port, keepalive=1, max_received=10) as mqtt:
        mqtt.on_message = handle
        mqtt.loop_start()
        mqtt.connect_to_server()
        peer.accept()
        mqtt.wait_until_connected(SECONDS)
        many = [Publish("a", b"%06d" % n + b"x" * 2_000, 1, packet_id=n + 1) for n in range(2_000)]
        sending = threading.Thread(target=peer.send, args=many)
        sending.start()
        for _ in range(2):  # the second one shows that the first may stay unanswered
            while not isinstance(peer.read(pings=True), Pingreq):
                pass
        assert mqtt.is_connected()
        assert mqtt.statistics.waiting <= 10 + 100 + 2 * READ // 2_000
        go_on.set()
        assert [numbers.get(timeout=SECONDS) for _ in many] == list(range(2_000))
        sending.join()


def send_and_never_read(peer):
    """Until the client has given up: a message that no buffer holds is before its answers."""
    with contextlib.suppress(OSError):
        peer.send(*(Publish("a", b"x" * 100, 1, packet_id=number + 1) for number in range(5_000)))
    peer.accept()


def test_a_broker_that_takes_no_answers_has_no_excuse_for_its_silence(peer):
    ends = SimpleQueue()
    with client(peer.port, protocol=5, keepalive=1, properties={"receive_maximum": 10}) as mqtt:
        mqtt.on_disconnect = lambda _client, _userdata, rc: ends.put(rc)
        mqtt.loop_start()
        mqtt.connect_to_server()
        peer.accept()
        mqtt.wait_until_connected(SECONDS)
        mqtt.publish("a", bytes(16 * 1024 * 1024))
        send_and_never_read(peer)
        assert ends.get(timeout=SECONDS)
        assert mqtt.statistics.received < 5_000


def test_nor_in_the_callers_loop(peer):
    async def main():
        ends = asyncio.Event()
        accepting = asyncio.create_task(asyncio.to_thread(peer.accept))
        properties = {"receive_maximum": 10}
        url = f"mqtt+native://127.0.0.1:{peer.port}?keepalive=1&protocol=5"
        async with aio.connect(url, properties=properties, close_timeout=0.2) as mqtt:
            await accepting
            mqtt.on_disconnect = lambda *_: ends.set()
            await mqtt.publish("a", bytes(16 * 1024 * 1024))
            again = asyncio.create_task(asyncio.to_thread(send_and_never_read, peer))
            await asyncio.wait_for(ends.wait(), SECONDS)
            assert mqtt.statistics.received < 5_000
            await again

    asyncio.run(main())


def test_a_websocket_that_pings_and_never_reads_is_given_up(peer):
    """What a websocket answers by itself is bounded as well."""
    ends = SimpleQueue()
    options = {"transport": "websockets", "protocol": 5, "keepalive": 1}
    with client(peer.port, properties={"receive_maximum": 10}, **options) as mqtt:
        mqtt.on_disconnect = lambda _client, _userdata, rc: ends.put(rc)
        mqtt.loop_start()
        upgrading = threading.Thread(target=accept_websocket, args=(peer,))
        upgrading.start()
        mqtt.connect_to_server()
        mqtt.wait_until_connected(SECONDS)
        upgrading.join()
        standing = mqtt.native
        mqtt.publish("a", bytes(16 * 1024 * 1024))
        with contextlib.suppress(OSError):
            for _ in range(20):
                peer.sock.sendall((b"\x89\x7d" + bytes(125)) * 1_000)
        assert ends.get(timeout=SECONDS)
        assert sum(map(len, standing._layered)) < 200_000


def accept_websocket(peer):
    peer.sock, _ = peer.listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += peer.sock.recv(65_536)
    lines = request.decode().splitlines()
    key = next(line.split()[1] for line in lines if line.lower().startswith("sec-websocket-key"))
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    )
    connack = encode(Connack(), 5)
    peer.sock.sendall(answer.encode() + bytes((0x82, len(connack))) + connack)


def test_in_the_callers_loop_it_is_not_read_either(peer):
    async def main():
        go_on, all_here, numbers = asyncio.Event(), asyncio.Event(), []

        async def handle(_client, _userdata, message):
            await go_on.wait()
            numbers.append(int(message.payload[:6]))
            if len(numbers) == 2_000:
                all_here.set()

        accepting = asyncio.create_task(asyncio.to_thread(peer.accept))
        url = f"mqtt+native://127.0.0.1:{peer.port}?keepalive=1&max_received=10"
        async with aio.connect(url) as mqtt:
            await accepting
            mqtt.on_message = handle
            many = [Publish("a", b"%06d" % n + b"x" * 2_000, 1, packet_id=n + 1) for n in range(2_000)]
            sending = asyncio.create_task(asyncio.to_thread(peer.send, *many))
            for _ in range(2):
                while not isinstance(await asyncio.to_thread(peer.read, pings=True), Pingreq):
                    pass
            assert mqtt.is_connected()
            assert mqtt.statistics.waiting <= 10 + 100 + 2 * READ // 2_000 + 256 * 1024 // 2_000
            go_on.set()
            await asyncio.wait_for(all_here.wait(), SECONDS)
            assert numbers == list(range(2_000))
            await sending

    asyncio.run(main())
