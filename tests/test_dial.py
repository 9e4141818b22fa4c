"""A connection attempt that another thread gives up, wherever it has got to."""

import contextlib
import socket
import threading
import time

import pytest
from scripted import black_hole

from juham_core import dial as dialling
from juham_core.dial import Attempt, dial
from juham_core.errors import ConnectError
from juham_core.memory import JMemory


def given_up(where, waits):
    """What dial() raises when the attempt is given up once ``waits`` has seen it wait."""
    attempt = Attempt()
    found = []

    def connect():
        try:
            found.append(dial(*where, "", time.monotonic() + 20, attempt))
        except OSError as exc:
            found.append(exc)

    connecting = threading.Thread(target=connect)
    connecting.start()
    waits(attempt)
    attempt.give_up()
    connecting.join(4)
    assert not connecting.is_alive(), "it waits on"
    return found[0]


def test_a_connection_that_nobody_answers():
    registered = threading.Event()

    def waits(attempt):
        while attempt._end is None:
            registered.wait(0.001)
        registered.wait(0.1)  # to be inside connect(), most likely; before it, the outcome is the same

    with black_hole() as where:
        error = given_up((where["host"], where["port"]), waits)
    assert isinstance(error, ConnectError)
    assert "closed while it was connecting" in str(error)


def test_a_name_that_takes_long_to_resolve(monkeypatch):
    asked, answer = threading.Event(), threading.Event()
    numeric = socket.getaddrinfo

    def slow(host, port, **arguments):
        if arguments.get("flags"):
            return numeric(host, port, **arguments)
        asked.set()
        answer.wait(20)
        return numeric("127.0.0.1", port, **arguments)

    monkeypatch.setattr(dialling.socket, "getaddrinfo", slow)
    error = given_up(("slow.example", 1883), lambda _: asked.wait(5))
    answer.set()
    assert isinstance(error, ConnectError)


def test_before_it_begins():
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = Attempt()
        attempt.give_up()
        with pytest.raises(ConnectError, match="closed while"):
            dial(*server.getsockname(), "", time.monotonic() + 5, attempt)


def test_one_that_is_over_keeps_its_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = Attempt()
        sock = dial(*server.getsockname(), "", time.monotonic() + 5, attempt)
        peer, _ = server.accept()
        with sock, peer:
            attempt.over()
            attempt.give_up()
            sock.send(b"x")
            assert peer.recv(1) == b"x"


class JQuickVerdict(JMemory):
    """One whose broker accepts before ``_open`` has returned, and whose client is closed at once then."""

    def _open(self, options):
        self.cut = threading.Event()
        super()._open(options)
        self._dialling.is_ended_by(self.cut.set)
        assert self.is_connected()
        self.closing = threading.Thread(target=self.disconnect_from_server)
        self.closing.start()
        self.cut.wait(0.3)  # nothing tells that it does not come


def test_a_connection_that_was_accepted_is_closed_and_not_given_up():
    client = JQuickVerdict()
    with contextlib.suppress(ConnectError):  # it was closed while it was connecting
        client.connect_to_server()
    client.closing.join(5)
    assert not client.cut.is_set()
