"""The fast network loop under paho's client: whatever the pieces in which packets come and go."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
import threading

import pytest
import trustme
from juham_paho import JPaho, JPaho2
from juham_paho import messages as messages_module
from juham_paho.library import KNOWN, PahoClient
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from scripted import Conversation, ScriptedPeer
from waiting import PATIENCE, Inbox

from juham_core.errors import QueueFullError
from juham_core.wire import Puback, Publish, Pubrec, Pubrel, encode

MANY = 5000


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()


@pytest.fixture(params=["paho", "paho2", "native"])
def meet(request, peer, closing):
    """A client, used as a JMqtt or as paho's, its inbox, and the peer's end of its connection."""

    def make(**options):
        if request.param == "native":
            client = closing(JPaho2("test", callback_api_version=CallbackAPIVersion.VERSION2))
            up = threading.Event()
            client.on_connect = lambda *_: up.set()
            client.on_message = inbox = Inbox()
            client.connect("127.0.0.1", peer.port)
            client.loop_start()
            conversation = peer.take_up()
            conversation.accept()
            assert up.wait(PATIENCE)
            return client, inbox, conversation
        client = closing((JPaho if request.param == "paho" else JPaho2)("test"))
        client.configure(**{"reconnect_min": 0.01, "reconnect_max": 0.05, **options})
        client.on_message = inbox = Inbox()
        client.connect_to_server("127.0.0.1", peer.port)
        conversation = peer.take_up()
        conversation.accept()
        client.wait_until_connected(PATIENCE)
        client.loop_start()
        return client, inbox, conversation

    return make


def native_of(client):
    return client.native if isinstance(client, JPaho) else client


def test_the_paho_that_is_tested_is_known_from_the_inside():
    assert paho.Client not in (PahoClient, type(JPaho().native))
    assert JPaho2._packet_write is PahoClient._packet_write
    assert JPaho2.__bases__[0] is paho.Client


def test_packets_that_come_byte_by_byte(meet):
    _, inbox, conversation = meet()
    for byte in encode(Publish("topic", b"x" * 200), 4) + encode(Publish("topic", b"y"), 4):
        conversation._sock.sendall(bytes((byte,)))
    assert inbox.texts(2) == ["x" * 200, "y"]


def test_thousands_of_packets_that_come_at_once(meet):
    _, inbox, conversation = meet()
    conversation._sock.sendall(b"".join(encode(Publish("t", b"%d" % i), 4) for i in range(MANY)))
    assert inbox.texts(MANY) == [str(i) for i in range(MANY)]


def test_packets_of_16_mib(meet):
    client, inbox, conversation = meet()
    large = os.urandom(1 << 20) * 16
    sender = threading.Thread(target=conversation.send, args=(Publish("t", large), Publish("t", b"after")))
    sender.start()
    assert inbox.next().payload == large
    assert inbox.next().payload == b"after"
    sender.join()
    client.publish("t", large)
    client.publish("t", "after")
    assert conversation.expect(Publish).payload == large
    assert conversation.expect(Publish).payload == b"after"


def test_a_connection_cut_amid_a_packet(meet, peer):
    client, inbox, conversation = meet()
    packet = encode(Publish("t", b"x" * 1000), 4)
    conversation._sock.sendall(packet + packet[:500])
    assert inbox.next().payload == b"x" * 1000
    conversation.reset()
    if native_of(client) is client and client.configured is False:
        client.reconnect_delay_set(1, 1)
    again = peer.take_up()
    again.accept()
    again.send(Publish("t", b"whole"))
    assert inbox.next().payload == b"whole"
    assert inbox.count == 0


def test_each_of_32_threads_is_sent_in_its_own_order(meet):
    client, _, conversation = meet()
    start = threading.Barrier(32)

    def publish(name):
        start.wait()
        for i in range(100):
            client.publish(f"t/{name}", str(i))

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(32)]
    for thread in threads:
        thread.start()
    seen = {}
    for _ in range(3200):
        packet = conversation.expect(Publish)
        assert seen.get(packet.topic, -1) + 1 == int(packet.payload)
        seen[packet.topic] = int(packet.payload)
    for thread in threads:
        thread.join()


def test_acknowledgements_go_together_and_none_is_missing(meet):
    _, inbox, conversation = meet()
    conversation._sock.sendall(
        b"".join(encode(Publish("t", b"x", 1, packet_id=i), 4) for i in range(1, 1001))
    )
    assert [conversation.expect(Puback).packet_id for _ in range(1000)] == list(range(1, 1001))
    assert inbox.texts(1000) == ["x"] * 1000


def test_an_idle_connection_wakes_nobody(meet, monkeypatch):
    """Counted are the system's answers to select(): after a burst, one that had nothing to tell."""
    client, inbox, conversation = meet()
    looked, rests = [], threading.Semaphore(0)
    real = select.select

    def counting(*args):
        found = real(*args)
        looked.append(any(found))
        if not any(found):
            rests.release()
        return found

    monkeypatch.setattr(paho.select, "select", counting)
    for i in range(100):
        client.publish("t", str(i))
    conversation._sock.sendall(encode(Publish("t", b"x"), 4) * 100)
    inbox.texts(100)
    for _ in range(100):
        conversation.expect(Publish)
    assert rests.acquire(timeout=PATIENCE)
    looked.clear()
    assert rests.acquire(timeout=PATIENCE)
    assert looked == [False]


def test_what_is_queued_while_the_loop_is_busy_wakes_it_once(meet):
    client, _, conversation = meet()
    native = native_of(client)
    busy, go_on = threading.Event(), threading.Event()
    original = native._handle_publish

    def handle():
        busy.set()
        go_on.wait(PATIENCE)
        return original()

    native._handle_publish = handle
    pair, sent = native._sockpairW, []

    class Counting:
        def send(self, data):
            sent.append(data)
            return pair.send(data)

        def close(self):
            pair.close()

    native._sockpairW = Counting()
    conversation.send(Publish("t", b"x"))
    assert busy.wait(PATIENCE)
    for i in range(500):
        client.publish("t", str(i))
    assert len(sent) == 1
    go_on.set()
    for i in range(500):
        assert conversation.expect(Publish).payload == str(i).encode()


def test_small_packets_are_not_held_back(meet):
    client, _, _ = meet()
    sock = native_of(client).socket()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- paho's client by itself ----------------------------------------------------------------------------


@pytest.fixture
def by_hand(peer):
    """A client without a thread, connected, and the peer's end of its connection."""
    client = JPaho2("test", callback_api_version=CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", peer.port)
    conversation = peer.take_up()
    conversation.accept()
    while not client.is_connected():
        client.loop(PATIENCE)
    yield client, conversation
    client.disconnect()
    client._reset_sockets()


def test_after_disconnect_no_handler_runs(by_hand):
    client, conversation = by_hand
    client.on_message = lambda client, _userdata, message: (seen.append(message), client.disconnect())
    seen = []
    conversation._sock.sendall(encode(Publish("t", b"x"), 4) * 1000)
    while client.socket() is not None:
        client.loop(PATIENCE)
    assert len(seen) == 1
    assert conversation.ended()


def test_a_handler_that_raises_strands_nothing(by_hand):
    client, conversation = by_hand
    seen = []

    def on_message(_client, _userdata, message):
        seen.append(message.payload)
        if len(seen) == 1:
            raise RuntimeError

    client.on_message = on_message
    conversation._sock.sendall(encode(Publish("t", b"1"), 4) + encode(Publish("t", b"2"), 4))
    with pytest.raises(RuntimeError):
        client.loop(PATIENCE)
    client.loop_misc()  # nothing more comes in, and nothing need
    assert seen == [b"1", b"1", b"2"]  # the message that was not handled first, as paho has it


def test_acknowledgements_do_not_wait_for_slow_handlers(by_hand, monkeypatch):
    client, conversation = by_hand
    acknowledged = []

    def on_message(_client, _userdata, message):
        if message.payload == b"2":
            acknowledged.append(conversation.expect(Puback).packet_id)

    client.on_message = on_message
    monkeypatch.setattr("juham_paho.fast.PAUSE", -1.0)  # any handler is slow
    conversation._sock.sendall(
        encode(Publish("t", b"1", 1, packet_id=1), 4) + encode(Publish("t", b"2", 1, packet_id=2), 4)
    )
    while not acknowledged:
        assert client.loop(PATIENCE) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert acknowledged == [1]


def test_what_tls_has_read_ahead_is_not_stranded(peer):
    """An external loop asks the system's socket, which knows nothing of what TLS keeps back."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    client = JPaho2("test", callback_api_version=CallbackAPIVersion.VERSION2)
    client.on_message = inbox = Inbox()
    client.tls_set_context(theirs)
    connecting = threading.Thread(target=client.connect, args=("127.0.0.1", peer.port))
    connecting.start()
    conversation = Conversation(ours.wrap_socket(peer.take_up()._sock, server_side=True))
    connecting.join()
    conversation.accept()
    # One record, and more of it than is read at once.
    conversation._sock.sendall(b"".join(encode(Publish("t", b"%04d" % i), 4) for i in range(1600)))
    while inbox.count < 1600:
        assert select.select([client.socket()], [], [], PATIENCE)[0]
        assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
        assert not client.socket().pending()
    assert inbox.texts(1600) == [f"{i:04}" for i in range(1600)]
    client.disconnect()
    client._reset_sockets()
    conversation.close()


# --- what JMqtt's use of it adds ------------------------------------------------------------------------


@pytest.fixture(params=[JPaho, JPaho2])
def managed(request, peer, closing):
    """A client used as a JMqtt, and the peer's end of its connection."""

    def make(**options):
        client = closing(request.param("test"))
        client.configure(**{"reconnect_min": 0.01, "close_timeout": 0.5, **options})
        client.connect_to_server("127.0.0.1", peer.port)
        conversation = peer.take_up()
        conversation.accept()
        client.wait_until_connected(PATIENCE)
        client.loop_start()
        return client, conversation

    return make


def test_a_flood_that_the_network_does_not_take_is_refused(managed, monkeypatch):
    monkeypatch.setattr(messages_module, "MAX_UNSENT", 1_000_000)
    client, conversation = managed()
    accepted = []
    with pytest.raises(QueueFullError, match="wait for the network"):
        accepted.extend(client.publish("t", b"x" * 10_000) for _ in range(100_000))
    assert len(accepted) > 90
    for _ in accepted:
        conversation.expect(Publish)
    client.publish("t", b"there is room again")
    assert conversation.expect(Publish).payload == b"there is room again"


@pytest.mark.parametrize("protocol", [4, 5])
def test_at_qos_2_what_was_not_acknowledged_comes_again(managed, peer, protocol):
    client, conversation = managed(
        manual_ack=True, clean_start=False, client_id="me", session_expiry=60, protocol=protocol
    )
    client.on_message = inbox = Inbox()
    conversation.send(Publish("t", b"1", 2, packet_id=7), Publish("t", b"2", 2, packet_id=8))
    first, second = inbox.next(), inbox.next()
    client.ack(first.mid, 2)
    assert conversation.expect(Pubrec).packet_id == 7
    conversation.reset()
    again = peer.take_up()
    again.accept(session_present=True)
    client.ack(second.mid, 2)  # of the last connection: it is nobody's now
    again.send(Publish("t", b"1", 2, dup=True, packet_id=7), Publish("t", b"2", 2, dup=True, packet_id=8))
    assert again.expect(Pubrec).packet_id == 7  # received already: PUBREC was lost
    message = inbox.next()
    assert (message.payload, message.dup) == (b"2", True)
    client.ack(message.mid, 2)
    assert again.expect(Pubrec).packet_id == 8
    for packet_id in (7, 8):
        again.send(Pubrel(packet_id))
        assert again.next().packet_id == packet_id
    assert inbox.count == 0


UNKNOWN = """
import paho.mqtt
paho.mqtt.__version__ = "2.9.9"
import sys, threading
from paho.mqtt.client import CallbackAPIVersion, Client
from juham_paho import JPaho, JPaho2
assert type(JPaho().native) is Client
for name in ("_packet_write", "_packet_queue", "_loop", "_send_publish", "_create_socket_connection"):
    assert getattr(JPaho2, name) is getattr(Client, name), name
for kind in (JPaho, JPaho2):
    with kind("test") as client:
        client.connect_to_server("127.0.0.1", int(sys.argv[1]))
        client.wait_until_connected(10)
        arrived = threading.Semaphore(0)
        client.on_message = lambda *_: arrived.release()
        client.loop_start()
        client.subscribe("t", 2).wait(10)
        for qos in (0, 1, 2):
            client.publish("t", "x", qos).wait(10)
            assert arrived.acquire(timeout=10)
client, up = JPaho2(callback_api_version=CallbackAPIVersion.VERSION2), threading.Event()
client.on_connect = lambda *_: up.set()
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
assert up.wait(10)
client.publish("t", "x", 2).wait_for_publish(10)
client.disconnect_from_server()
print("plain")
"""


def test_a_paho_that_is_not_known_is_left_as_it_is(embedded):
    """A version of which nobody knows what it has inside: paho's own loop, at paho's own speed."""
    assert "2.9.9" not in KNOWN
    done = subprocess.run(
        [sys.executable, "-c", UNKNOWN, str(embedded.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "plain\n", done.stderr
