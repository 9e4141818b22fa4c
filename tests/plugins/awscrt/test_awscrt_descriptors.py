"""The sockets of a connection, as they are found, and what it does where none is."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from awscrt_support import eventually
from juham_awscrt import descriptors

from juham_core.errors import ConnectError
from juham_core.wire import Disconnect, Publish

pytestmark = pytest.mark.skipif(not descriptors.LISTED, reason="the system does not tell")


@pytest.fixture
def unseen(monkeypatch):
    """A system that does not tell what an epoll instance watches."""
    monkeypatch.setattr(descriptors, "LISTED", False)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def test_an_epoll_instance_is_found(stack):
    def make():
        return stack.enter_context(select.epoll())

    made, found = descriptors.made_with_epoll(make)
    assert found == made.fileno()


def test_one_that_takes_the_number_of_another_is_found_at_the_second_try(stack):
    old = select.epoll()
    tries = []

    def make():
        old.close()
        tries.append(stack.enter_context(select.epoll()))
        return tries[-1]

    made, found = descriptors.made_with_epoll(make)
    assert len(tries) == 2
    assert found == made.fileno()


def test_of_two_none_is_taken(stack):
    def make():
        return [stack.enter_context(select.epoll()) for _ in range(2)]

    assert descriptors.made_with_epoll(make)[1] is None


def test_one_that_is_somebody_else_s_already_is_not_taken(stack):
    end, _ = (stack.enter_context(each) for each in socket.socketpair())

    def make():
        made = stack.enter_context(select.epoll())
        made.register(end, select.EPOLLIN)
        return made

    assert descriptors.made_with_epoll(make)[1] is None


def test_only_what_is_watched_is_shut_down(stack):
    watching = stack.enter_context(select.epoll())
    watched, there = (stack.enter_context(each) for each in socket.socketpair())
    other, elsewhere = (stack.enter_context(each) for each in socket.socketpair())
    watching.register(watched, select.EPOLLIN)
    reader, writer = os.pipe()
    watching.register(reader, select.EPOLLIN)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert descriptors.connected(watching.fileno())
    descriptors.shut_down(watching.fileno())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert there.recv(1) == b""
    other.send(b"x")
    assert elsewhere.recv(1) == b"x"
    os.write(writer, b"x")
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.close(writer)


def test_nothing_is_watched_by_what_is_closed():
    closed = select.epoll()
    number = closed.fileno()
    closed.close()
    assert not descriptors.connected(number)


def test_small_packets_do_not_wait_for_each_other(make, begin, listener):
    client = begin(make(port=listener.port))
    peer = listener.welcome()
    client.wait_until_connected(5)
    assert _options_of_sockets_to(listener.port) == [True]
    client.disconnect_from_server()
    peer.expect(Disconnect)


def _options_of_sockets_to(port):
    """Whether TCP_NODELAY is set, of each socket of this process that leads there."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as sock:
                    if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                        found.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    return found


def test_a_broker_that_never_reads_is_given_up(make, begin, listener):
    listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # connections inherit it
    client = begin(make(port=listener.port, keepalive=1, max_received=10, reconnect_min=0.01))
    peer = listener.welcome()
    client.wait_until_connected(5)
    client.publish("a", bytes(10_000_000))  # more than the network takes
    eventually(lambda: not descriptors.writable(client._link.loop.epoll, 0.1))
    peer.send(*[Publish("a", b"x", 1, packet_id=number) for number in range(1, 600)])
    client.loop_start()
    listener.welcome()
    eventually(lambda: client.is_connected() and client.statistics.connects == 2)
    assert "has read nothing" in str(client._connection.ending)


def test_where_no_socket_is_seen_the_verdict_tells(unseen, make, listener):
    client = make(port=listener.port)
    told = []
    opening = threading.Thread(target=lambda: told.append(client.connect_to_server()))
    opening.start()
    listener.welcome()
    opening.join()
    assert told == [0]
    eventually(client.is_connected)


def test_where_no_socket_is_seen_an_attempt_may_be_given_up(unseen, make, listener):
    client, told = make(port=listener.port, connect_timeout=5), []

    def connect():
        try:
            client.connect_to_server()
        except ConnectError as exc:
            told.append(exc)

    opening = threading.Thread(target=connect)
    opening.start()
    peer = listener.accept()
    began = time.monotonic()
    client.disconnect_from_server()
    opening.join()
    assert time.monotonic() - began < 4
    assert len(told) == 1
    peer.close()
