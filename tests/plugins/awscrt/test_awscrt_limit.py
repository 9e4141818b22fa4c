"""How large a packet may be: what is seen of one that comes, and what must not be taken for one."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest
import trustme
from awscrt_peer import Peer
from awscrt_support import Inbox, eventually
from juham_awscrt import descriptors, limit, looking

from juham_core.errors import MalformedPacketError
from juham_core.testing import FaultBroker
from juham_core.testing.websocket import WebsocketBridge
from juham_core.wire import Connack, Connect, Publish

pytestmark = pytest.mark.skipif(not descriptors.LISTED, reason="the system does not tell")

MEGABYTE = 1024 * 1024
BEGINNING = b"\x30\xff\xff\xff\x7f"
"""Of a packet of 256 MiB."""


@pytest.fixture
def played(make, listener, begin):
    """A client whose broker is the test itself, and that broker's end of the connection."""

    def play(**options):
        client = begin(make(port=listener.port, reconnect_min=0.05, reconnect_max=0.1, **options))
        peer = listener.welcome()
        client.wait_until_connected(5)
        client.loop_start()
        return client, peer

    return play


def pour(peer, most):
    """Send the peer zeros; return how many bytes went out before it had enough."""
    sent, piece = 0, bytes(32 * 1024)
    with contextlib.suppress(OSError):
        while sent < most:
            peer.send(piece)
            sent += len(piece)
    return sent


def is_too_large(client):
    cause = client._connection.ending.__cause__
    assert isinstance(cause, MalformedPacketError), cause
    assert cause.reason_code == 0x95
    return "max_packet_size=" in str(cause)


def test_a_packet_is_cut_off_while_it_comes(played, listener):
    client, peer = played(max_packet_size=MEGABYTE)
    peer.send(BEGINNING)
    # What waits in the kernel's buffers at both ends comes on top of what is read.
    assert pour(peer, 256 * MEGABYTE) < 48 * MEGABYTE
    eventually(lambda: client._connection.ending is not None)
    assert is_too_large(client)
    listener.welcome()
    eventually(client.is_connected)


def test_connack_is_cut_off_while_it_comes(make, listener):
    client = make(port=listener.port, reconnect=False, connect_timeout=30)
    threading.Thread(target=client.connect_to_server).start()
    peer = listener.accept()
    peer.receive()
    peer.send(b"\x20\xff\xff\xff\x7f\x00\x00")
    assert pour(peer, 256 * MEGABYTE) < 128 * MEGABYTE
    eventually(lambda: client._connection.ending is not None)
    assert is_too_large(client)


def test_behind_tls(make, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultBroker(ssl=context) as broker:
        options = {"tls": True, "ca_certs": str(tmp_path / "ca.pem"), "port": broker.port}
        _is_cut_off_and_goes_on(make(**options, max_packet_size=MEGABYTE), broker)


def test_in_a_websocket(make):
    with FaultBroker() as broker, WebsocketBridge((broker.host, broker.port)) as bridge:
        options = {"transport": "websockets", "port": bridge.port, "max_packet_size": MEGABYTE}
        _is_cut_off_and_goes_on(make(**options), broker)


@pytest.fixture
def unix_peer(make, tmp_path):
    """A client on a unix socket, with a bound of a megabyte, and the broker's end of its connection."""
    path = str(tmp_path / "broker.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(10)
        client = make(transport="unix", host=path, max_packet_size=MEGABYTE, reconnect=False)
        client.connect_to_server()
        peer = Peer(listening.accept()[0])
        peer.expect(Connect)
        peer.send(Connack(False, 0))
        client.wait_until_connected(5)
        client.on_message = inbox = Inbox()
        client.loop_start()
        yield client, peer, inbox
        peer.close()


def test_over_a_unix_socket_a_packet_is_cut_off_while_it_comes(unix_peer):
    client, peer, _ = unix_peer
    peer.send(BEGINNING)
    assert pour(peer, 256 * MEGABYTE) < 48 * MEGABYTE
    eventually(lambda: client._connection.ending is not None)
    assert is_too_large(client)


def test_over_a_unix_socket_a_message_is_looked_at_when_it_is_whole(unix_peer):
    client, peer, inbox = unix_peer
    peer.send(Publish("a", bytes(MEGABYTE - 100)), Publish("a", bytes(MEGABYTE)))
    assert len(inbox.get().payload) == MEGABYTE - 100
    eventually(lambda: client._connection.ending is not None)
    assert is_too_large(client)
    assert inbox.empty


def test_over_a_unix_socket_what_wakes_the_loop_is_no_packet(unix_peer):
    client, peer, _ = unix_peer
    reading = threading.Thread(target=lambda: all(iter(peer.receive, None)))
    reading.start()
    link = client._link
    before = limit._read_by(link.task)
    for _ in range(2_000):
        client.publish("b", b"x")
    link.sending.flush(10)
    assert limit._read_by(link.task) <= before + 8
    client.disconnect_from_server()
    reading.join(10)
    assert not reading.is_alive()


def _is_cut_off_and_goes_on(client, broker):
    client.connect_to_server()
    client.wait_until_connected(5)
    client.on_message = inbox = Inbox()
    client.loop_start()
    client.subscribe("a").wait(5)
    client.publish("a", bytes(MEGABYTE - 100)).wait(5)
    assert len(inbox.get().payload) == MEGABYTE - 100
    newest = broker.accepted
    broker.send(BEGINNING)
    broker.pour(bytes(MEGABYTE), 256, connection=newest)
    eventually(lambda: client.statistics.connects == 2 and client.is_connected())
    assert is_too_large(client)
    client.publish("a", b"x", qos=1).wait(5)
    assert inbox.get().payload == b"x"


def test_a_stream_of_large_packets_is_none_that_is_too_large(played):
    client, peer = played(max_packet_size=MEGABYTE)
    client.on_message = inbox = Inbox()
    for _ in range(100):
        peer.send(Publish("a", bytes(MEGABYTE - 100)))
        assert len(inbox.get().payload) == MEGABYTE - 100
    assert client.statistics.connects == 1


def test_what_waits_to_be_read_is_no_packet_that_is_too_large(played, monkeypatch):
    client, peer = played(max_packet_size=50_000, max_received=2, keepalive=60)
    looks, look = threading.Semaphore(0), client._link.limit.look

    def counted():
        pause = look()
        looks.release()
        return pause

    monkeypatch.setattr(client._link.limit, "look", counted)
    go_on, inbox = threading.Event(), Inbox()

    def slow(*args):
        assert go_on.wait(30)
        inbox(*args)

    client.on_message = slow
    pouring = threading.Thread(
        target=lambda: [peer.send(Publish("a", bytes(40_000), 1, packet_id=n)) for n in range(1, 51)]
    )
    pouring.start()
    for _ in range(10):
        assert looks.acquire(timeout=10)
    go_on.set()
    assert len(inbox.take(50)) == 50
    pouring.join()
    assert client.statistics.connects == 1


def test_what_is_published_says_nothing_of_what_comes(played):
    client, peer = played(max_packet_size=MEGABYTE, ack_timeout=0)
    publishing = threading.Event()

    def publish():
        while not publishing.wait(0.001) and client.is_connected():
            with contextlib.suppress(ConnectionError):
                client.publish("b", b"x")

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        peer.send(BEGINNING)
        assert pour(peer, 256 * MEGABYTE) < 48 * MEGABYTE
    finally:
        publishing.set()
        publisher.join()


def test_what_keeps_a_quiet_connection_alive_is_no_packet(played, monkeypatch):
    """PINGRESP and a websocket's PING, twice a second and for a month."""
    client, _ = played(max_packet_size=1_000)
    now, read = time.monotonic(), 1_000

    class Clock:
        monotonic = staticmethod(lambda: now)

    monkeypatch.setattr(limit, "time", Clock)
    monkeypatch.setattr(limit.PacketLimit, "_read_of", lambda _self, _sock: read)
    for _ in range(5_000):
        assert client._link.limit.look() is not None
        now, read = now + 518, read + 2 * 518 * 127
    assert client._connection.ending is None
    # Nor may that have been saved up for a packet which is too large.
    now += 518
    assert client._link.limit.look() is not None
    now, read = now + 0.1, read + 2 * limit.AROUND
    assert client._link.limit.look() is None
    eventually(lambda: client._connection.ending is not None)
    assert is_too_large(client)


def test_one_thread_looks_after_all_connections_and_ends_with_the_last(played, make, listener, begin):
    def lookers():
        return [each for each in threading.enumerate() if each.name == "juham-awscrt-looker"]

    first, _ = played()
    (looker,) = lookers()
    second = begin(make(port=listener.port, max_packet_size=MEGABYTE))
    peer = listener.welcome()
    second.wait_until_connected(5)
    assert lookers() == [looker]
    first.disconnect_from_server()
    assert lookers() == [looker]
    peer.send(BEGINNING)
    assert pour(peer, 256 * MEGABYTE) < 48 * MEGABYTE
    second.disconnect_from_server()
    assert lookers() == []
    assert looking._looking == []


def test_what_is_closed_is_not_looked_at(played):
    client, _ = played()
    found = client._link.limit._descriptor
    client.disconnect_from_server()
    assert not looking.look_at(found, client)
    assert looking._looking == []


class Nobody:
    """A connection of which nothing is to be seen any more."""

    def look(self):
        return None


def test_a_number_that_is_the_lookers_own_by_now_leaves_it_awake():
    looker = looking._Looker()
    closed = descriptors.Descriptor(looker._bell, 0)  # awscrt had closed it, and the pipe got its number
    assert not looker.add(closed, Nobody())
    end = threading.Thread(target=looker.end, daemon=True)
    end.start()
    end.join(5)
    assert not end.is_alive()


def test_a_number_that_is_another_connections_by_now_leaves_that_one_looked_at():
    looked = threading.Event()

    class Connection:
        def look(self):
            looked.set()

    looker = looking._Looker()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = descriptors.Descriptor(ours.fileno(), os.fstat(ours.fileno()).st_ino)
        assert looker.add(descriptor, Connection())
        assert not looker.add(descriptors.Descriptor(ours.fileno(), 0), Nobody())
        theirs.send(b"\0")
        assert looked.wait(5)
    looker.end()


def test_what_comes_at_once_is_looked_at():
    looked = threading.Event()

    class Connection:
        def look(self):
            looked.set()

    class Epoll:
        """The thread is quicker than whoever registers."""

        def __init__(self, real):
            self._real = real

        def register(self, *arguments):
            self._real.register(*arguments)
            assert looked.wait(5)

        def __getattr__(self, name):
            return getattr(self._real, name)

    looker = looking._Looker()
    looker._epoll = Epoll(looker._epoll)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"\0")
        connection = Connection()
        inode = os.fstat(ours.fileno()).st_ino
        assert looker.add(descriptors.Descriptor(ours.fileno(), inode), connection)
        looker.remove(ours.fileno(), connection)
    looker.end()
