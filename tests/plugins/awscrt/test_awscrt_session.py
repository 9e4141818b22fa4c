"""A session that outlives its connections: one client of awscrt's goes through all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from awscrt_peer import Peer
from awscrt_support import eventually
from juham_awscrt.descriptors import LISTED

from juham_core.wire import Disconnect, Puback, Publish
from juham_core.wire.reasons import SERVER_SHUTTING_DOWN


def lose_one(make, listener, begin, **options):
    """A client whose publish was under way when its connection was lost, and the receipt."""
    options = {"reconnect_min": 0.01, "clean_start": False, **options}
    client = begin(make(port=listener.port, **options))
    peer = listener.welcome()
    client.wait_until_connected(5)
    receipt = client.publish("a", b"x", qos=1)
    return client, receipt, peer


def say_goodbye(peer):
    peer.send(Disconnect(SERVER_SHUTTING_DOWN))


def talk_nonsense(peer):
    peer.send(b"\x30\x02\x00\x05")


ENDINGS = {
    "closed": Peer.close,
    "goodbye": say_goodbye,
    "nonsense": talk_nonsense,
    "silence": lambda _peer: None,
}
seen = pytest.mark.skipif(not LISTED, reason="elsewhere awscrt has to be stopped to end such a connection")


@pytest.mark.parametrize(
    "ending", ["closed", *(pytest.param(name, marks=seen) for name in list(ENDINGS)[1:])]
)
def test_what_was_in_flight_goes_on_in_its_session(make, listener, begin, ending):
    client, receipt, peer = lose_one(make, listener, begin, client_id="same", keepalive=1)
    sent = peer.expect(Publish)
    for _ in range(2):
        ENDINGS[ending](peer)
        peer = listener.welcome(session_present=True)
        again = peer.expect(Publish)
        assert (again.packet_id, again.dup, again.payload) == (sent.packet_id, True, b"x")
    assert not receipt.done()
    peer.send(Puback(again.packet_id))
    receipt.wait(5)
    assert client.statistics.resent == 2


@seen
@pytest.mark.parametrize("ending", ["goodbye", "nonsense", "silence"])
def test_a_connection_that_is_given_up_ends_long_before_the_next_attempt(make, listener, begin, ending):
    client, _, peer = lose_one(make, listener, begin, client_id="same", keepalive=1, reconnect_min=60)
    peer.expect(Publish)
    ENDINGS[ending](peer)
    while peer.receive() is not None:  # a ping, perhaps
        pass
    eventually(lambda: not client.is_connected())


def test_what_was_in_flight_goes_out_anew_where_the_next_attempt_differs(make, listener, begin):
    passwords = iter(["first", "second"])
    options = {"client_id": "same", "credentials": lambda _options: ("user", next(passwords))}
    _, receipt, peer = lose_one(make, listener, begin, **options)
    peer.expect(Publish)
    peer.close()
    peer = listener.welcome(session_present=True)
    assert peer.connect.password == b"second"
    again = peer.expect(Publish)
    assert (again.dup, again.payload) == (False, b"x")
    peer.send(Puback(again.packet_id))
    receipt.wait(5)


def test_a_program_may_end_while_its_session_waits_for_the_next_attempt():
    """The event loop's thread then waits in Python's code."""
    program = subprocess.run(
        [sys.executable, "-c", ENDS_OFFLINE], capture_output=True, timeout=60, check=False
    )
    assert (program.returncode, program.stdout) == (0, b"offline\n"), program.stderr


ENDS_OFFLINE = """
import sys, threading
import juham_core as juham
from juham_core.testing.faults import FaultBroker

broker, lost = FaultBroker().start(), threading.Event()
client = juham.create("awscrt", client_id="ends", clean_start=False, reconnect_min=60, port=broker.port)
client.on_disconnect = lambda *_: lost.set()
client.connect_to_server("127.0.0.1")
client.wait_until_connected(10)
client.loop_start()
broker.reset()
assert lost.wait(10) and client._link._paused.wait(10)
print("offline", flush=True)
broker.stop()
"""
