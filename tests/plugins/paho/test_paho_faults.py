"""The paho backends against a broker that misbehaves, packet by packet."""

from __future__ import annotations

import pytest
from juham_paho import JPaho, JPaho2
from scripted import ScriptedPeer
from waiting import PATIENCE, Inbox, OldShape, ThreeArguments, eventually

from juham_core.errors import AuthError, ConnectError, PublishError
from juham_core.wire import Connect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe

BOTH = pytest.mark.parametrize("kind", [JPaho, JPaho2])
PROTOCOLS = pytest.mark.parametrize("protocol", [4, 5])


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()


@pytest.fixture
def meet(peer, closing):
    """A client of the peer that was accepted, and the peer's end of the connection."""

    def make(kind, *, session_present=False, **options):
        client = closing(kind("test"))
        client.configure(**{"reconnect_min": 0.01, "reconnect_max": 0.05, "close_timeout": 0.5, **options})
        client.connect_to_server("127.0.0.1", peer.port)
        conversation = peer.take_up()
        conversation.accept(session_present=session_present)
        client.wait_until_connected(PATIENCE)
        client.loop_start()
        return client, conversation

    return make



@BOTH
@PROTOCOLS
@pytest.mark.parametrize(
    "bytes_",
    [
        pytest.param(b"\x90\x00", id="empty SUBACK"),
        pytest.param(b"\x30\x01\x00", id="PUBLISH cut short"),
        pytest.param(b"\xf3\x00", id="no such packet"),
        pytest.param(b"\x30\xff\xff\xff\xff\xff", id="no such length"),
        pytest.param(b"\x40\x01\x00", id="PUBACK cut short"),
        pytest.param(None, id="reset"),
        pytest.param(b"", id="closed"),
    ],
)
def test_the_connection_comes_back_after(kind, protocol, bytes_, peer, meet):
    client, conversation = meet(kind, protocol=protocol)
    client.on_disconnect = ends = ThreeArguments()
    if bytes_ is None:
        conversation.reset()
    elif not bytes_:
        conversation.close()
    else:
        conversation._sock.sendall(bytes_)
    again = peer.take_up()
    again.accept()
    client.wait_until_connected(PATIENCE)
    assert ends.next()[2] != 0
    assert ends.count == 0


@BOTH
@PROTOCOLS
def test_a_topic_that_is_not_utf8(kind, protocol, meet):
    client, conversation = meet(kind, protocol=protocol)
    client.on_message = inbox = Inbox()
    bad = b"\x00\x02\xff\xfe" + (b"\x00" if protocol == 5 else b"") + b"x"
    conversation._sock.sendall(bytes([0x30, len(bad)]) + bad)
    conversation.send(Publish("good", b"y"))
    assert inbox.next().topic == "good"
    assert client.statistics.dropped["topic is not UTF-8"] == 1
    assert client.is_connected()


@BOTH
def test_keepalive(kind, peer, meet):
    """Whether PINGRESP comes or not is paho's to notice; that the connection ended, ours to tell."""
    client, conversation = meet(kind, keepalive=1)
    client.on_disconnect = ends = ThreeArguments()
    del conversation  # it never answers
    again = peer.take_up(10)
    again.accept()
    assert ends.next()[2] != 0
    client.wait_until_connected(PATIENCE)


@BOTH
@pytest.mark.parametrize(("code", "error"), [(0x84, ConnectError), (0x85, AuthError), (0x86, AuthError)])
@PROTOCOLS
def test_refusals(kind, protocol, code, error, peer, closing):
    client = closing(kind("test"))
    client.configure(protocol=protocol)
    client.on_connect = verdicts = OldShape()
    client.connect_to_server("127.0.0.1", peer.port)
    client.loop_start()
    peer.take_up().refuse(code)
    with pytest.raises(error) as caught:
        client.wait_until_connected(PATIENCE)
    assert caught.value.reason_code == code
    assert verdicts.next()[3] == (code if protocol == 5 else {0x84: 1, 0x85: 2, 0x86: 4}[code])
    assert peer.nobody_comes(0.1)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_a_refused_publish(kind, qos, meet):
    client, conversation = meet(kind, protocol=5)
    receipt = client.publish("a", "x", qos=qos)
    packet = conversation.expect(Publish)
    conversation.send((Puback if qos == 1 else Pubrec)(packet.packet_id, 0x97))
    with pytest.raises(PublishError, match="Quota exceeded"):
        receipt.wait(PATIENCE)
    # The exchange is over: what comes next is the next message, not PUBREL.
    client.publish("a", "y")
    assert conversation.expect(Publish).payload == b"y"


@BOTH
@PROTOCOLS
def test_what_was_in_flight_goes_first(kind, protocol, peer, meet):
    client, conversation = meet(kind, protocol=protocol, max_inflight=2)
    receipts = [client.publish("a", str(i), qos=1) for i in range(4)]
    assert [conversation.expect(Publish).payload for _ in range(2)] == [b"0", b"1"]
    conversation.reset()
    again = peer.take_up()
    again.accept()
    for i in range(4):
        packet = again.expect(Publish)
        assert (packet.payload, packet.dup) == (str(i).encode(), i < 2)
        again.send(Puback(packet.packet_id))
    for receipt in receipts:
        receipt.wait(PATIENCE)


@BOTH
@PROTOCOLS
@pytest.mark.parametrize("session_present", [True, False])
def test_qos_2_goes_on_where_it_stood(kind, protocol, session_present, peer, meet):
    client, conversation = meet(kind, protocol=protocol, clean_start=False, client_id="me")
    receipt = client.publish("a", "x", qos=2)
    packet = conversation.expect(Publish)
    conversation.send(Pubrec(packet.packet_id))
    conversation.expect(Pubrel)
    conversation.reset()
    again = peer.take_up()
    again.accept(session_present=session_present)
    if not session_present:  # the broker has forgotten the message with the session
        packet = again.expect(Publish)
        assert packet.payload == b"x"
        again.send(Pubrec(packet.packet_id))
    assert again.expect(Pubrel).packet_id == packet.packet_id
    assert not receipt.done()
    again.send(Pubcomp(packet.packet_id))
    receipt.wait(PATIENCE)


@BOTH
def test_a_smaller_window_after_reconnecting(kind, peer, meet):
    client, conversation = meet(kind, protocol=5, max_inflight=4)
    receipts = [client.publish("a", str(i), qos=1) for i in range(6)]
    for _ in range(4):
        conversation.expect(Publish)
    conversation.reset()
    again = peer.take_up()
    again.accept(receive_maximum=1)
    client.wait_until_connected(PATIENCE)
    for i in range(6):
        packet = again.expect(Publish)
        assert packet.payload == str(i).encode()
        client.publish("a", "marker")
        assert again.expect(Publish).payload == b"marker"  # and not yet another of QoS 1
        again.send(Puback(packet.packet_id))
    for receipt in receipts:
        receipt.wait(PATIENCE)


@BOTH
def test_what_was_given_up_is_not_sent_after_all(kind, peer, meet):
    client, conversation = meet(kind)
    receipt = client.publish("a", "given up", qos=1)
    conversation.expect(Publish)
    client.disconnect_from_server()
    assert receipt.exception() is not None
    client.connect_to_server("127.0.0.1", peer.port)
    again = peer.take_up()
    again.accept()
    client.wait_until_connected(PATIENCE)
    client.publish("a", "kept")
    assert again.expect(Publish).payload == b"kept"


@BOTH
def test_a_broker_that_takes_nothing_cannot_hold_up_the_close(kind, meet):
    client, conversation = meet(kind, close_timeout=0.2)
    for _ in range(50):
        client.publish("a", b"x" * 1_000_000)
    client.disconnect_from_server()
    assert not client.is_connected()
    del conversation


@BOTH
def test_the_server_keep_alive_counts(kind, peer, closing):
    client = closing(kind("test"))
    client.configure(protocol=5)
    client.connect_to_server("127.0.0.1", peer.port)
    peer.take_up().accept(server_keep_alive=7)
    client.wait_until_connected(PATIENCE)
    assert client.native._keepalive == 7


@BOTH
def test_a_report_that_fails_does_not_end_the_thread(kind, meet, monkeypatch):
    client, conversation = meet(kind)
    client.on_message = inbox = Inbox()
    received = client._received
    failures = iter([RuntimeError("on purpose")])

    def fails_once(*args):
        for failure in failures:
            raise failure
        received(*args)

    monkeypatch.setattr(client, "_received", fails_once)
    conversation.send(Publish("a", b"lost"), Publish("a", b"kept"))
    assert inbox.texts(1) == ["kept"]


@BOTH
def test_closing_on_pahos_own_thread(kind, meet):
    """Where a receipt's callback runs: nothing can wait there for the thread to end, but it does end."""
    client, conversation = meet(kind)
    client.publish("a", "x", qos=1).add_done_callback(lambda _: client.disconnect_from_server())
    packet = conversation.expect(Publish)
    conversation.send(Puback(packet.packet_id))
    assert conversation.ended()
    assert eventually(lambda: "closed" in repr(client))


@BOTH
def test_an_unanswered_connect_is_tried_again(kind, peer, closing):
    client = closing(kind("test"))
    client.configure(connect_timeout=0.2, reconnect_min=0.01)
    client.connect_to_server("127.0.0.1", peer.port)
    first = peer.take_up()
    first.expect(Connect)
    second = peer.take_up()
    second.accept()
    assert eventually(client.is_connected)
    client.subscribe("x")
    second.expect(Subscribe)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_what_paho_raised_for_is_not_tried_again_with_each_connection(kind, qos, peer, meet, monkeypatch):
    client, conversation = meet(kind)
    send = client.native._send_publish

    def too_large(mid, topic, *rest):
        if topic == b"bad":
            raise ValueError("Payload too large.")
        return send(mid, topic, *rest)

    monkeypatch.setattr(client.native, "_send_publish", too_large)
    with pytest.raises(PublishError, match="too large"):
        client.publish("bad", "x", qos=qos).wait(PATIENCE)
    conversation.reset()
    again = peer.take_up()
    again.accept()
    good = client.publish("good", "y", qos=1)
    assert again.take() == "y"
    good.wait(PATIENCE)
    assert client.statistics.connects == 2
