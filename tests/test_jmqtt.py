"""JMqtt beyond the contract of each backend: options, what is in force, saving, and how it shows."""

import gc
import io
import secrets
import threading
import weakref

import pytest
from waiting import PATIENCE, Inbox, OldShape, Recorder

import juham_core as juham
from juham_core.memory import JMemory
from juham_core.message import PublishReceipt


@pytest.fixture
def make(closing):
    def make(name="mine", **options):
        client = closing(JMemory(name))
        client.configure(host=secrets.token_hex(6), **options)
        return client

    return make


@pytest.fixture
def client(make):
    return make()


def connected(client):
    client.connect_to_server()
    client.wait_until_connected(5)
    return client


def test_the_same_reads_well(client):
    client.configure(username="u", password="hunter2")
    assert repr(client) == f"<JMemory 'mine': memory://{client.options.host}, closed>"
    assert "connected" in repr(connected(client))
    assert "hunter2" not in repr(client) + repr(client.options) + str(client.to_dict())


def test_it_is_saved_and_read_back_without_secrets(client, closing):
    client.configure(username="u", password="hunter2", keepalive=7)
    file = io.StringIO()
    client.serialize_to_json(file)
    assert "hunter2" not in file.getvalue()
    file.seek(0)
    other = closing(JMemory("other"))
    other.deserialize_from_json(file)
    assert other.name == "mine"
    assert (other.options.username, other.options.keepalive, other.options.password) == ("u", 7, None)


def test_options_that_change_take_effect_with_the_next_connection(client):
    """What may be sent depends on the protocol that is spoken now."""
    connected(client).configure(protocol=5)
    properties = {"content_type": "text/plain"}
    with pytest.raises(juham.NotSupportedError, match="MQTT 5"):
        client.publish("a", "x", properties=properties)
    with pytest.raises(juham.NotSupportedError, match="MQTT 5"):
        client.subscribe(juham.Subscription("a", no_local=True))
    client.disconnect_from_server()
    connected(client).publish("a", "x", qos=1, properties=properties).wait(5)
    client.configure(protocol=4)
    client.publish("a", "x", qos=1, properties=properties).wait(5)


def test_the_bounds_take_effect_at_once(client):
    client.publish("a", "x", qos=1)
    client.max_queued_messages_set(1)
    with pytest.raises(juham.QueueFullError):
        client.publish("a", "x", qos=1)


def test_paho_s_unlimited_queue_is_the_largest_of_ours(client):
    assert client.max_queued_messages_set(0) is client
    client.publish("a", "x", qos=1)


def test_paho_s_words_change_the_options(client):
    client.username_pw_set("u", "p")
    client.will_set("w", "gone", qos=1, retain=True)
    client.reconnect_delay_set(2, 30)
    client.max_inflight_messages_set(7)
    options = client.options
    assert (options.username, options.password) == ("u", "p")
    assert options.will == juham.Will("w", b"gone", 1, True)
    assert (options.reconnect_min, options.reconnect_max, options.max_inflight) == (2, 30, 7)
    client.will_clear()
    client.username_pw_set(None)
    assert (client.options.will, client.options.username, client.options.password) == (None, None, None)


def test_insecure_comes_after_tls(client):
    with pytest.raises(juham.OptionError, match="tls_set"):
        client.tls_insecure_set(True)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.connect(bind_port=7),
        lambda client: client.disconnect(reasoncode=4),
        lambda client: client.subscribe("a", properties={"user_property": [("a", "b")]}),
        lambda client: client.unsubscribe("a", properties={"user_property": [("a", "b")]}),
        lambda client: client.tls_set(),
        lambda client: client.ws_set_options(),
        lambda client: client.ack(1, 1),
    ],
)
def test_what_is_not_there_says_so(client, call):
    with pytest.raises(juham.NotSupportedError):
        call(client)


def test_statistics_tell_what_happened(client):
    client.on_message = seen = Recorder()
    client.publish("a", "lost")
    client.publish("a", "queued", qos=1)
    assert (client.statistics.queued, client.statistics.dropped["not connected"]) == (1, 1)
    connected(client).loop_start()
    client.subscribe("a", qos=1).wait(5)
    client.publish("a", "x", qos=1).wait(5)
    seen.next()
    client.disconnect_from_server()
    statistics = client.statistics
    assert (statistics.published, statistics.acknowledged) == (3, 2)
    assert (statistics.received, statistics.handled) == (1, 1)
    assert (statistics.connects, statistics.reconnects) == (1, 0)
    assert (statistics.queued, statistics.in_flight, statistics.waiting) == (0, 0, 0)


class Library:
    """What a client library holds: a thread, a socket."""


def test_a_message_that_was_not_sent_holds_nothing_of_the_library(client):
    connected(client)
    held = []

    def _publish(_message):
        library = Library()
        held.append(weakref.ref(library))
        raise juham.NotConnectedError("it has just ended")

    client._publish = _publish
    gc.disable()
    try:
        receipt = client.publish("a", b"x")
        assert receipt.rc == 4
        assert held[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("first", "second"), [("unsubscribe", "subscribe"), ("subscribe", "unsubscribe")])
def test_of_two_threads_the_broker_hears_in_the_order_of_the_ledger(client, monkeypatch, first, second):
    connected(client).on_message = inbox = Inbox()
    client.loop_start()
    entered, go_on = threading.Event(), threading.Event()
    noted = {"unsubscribe": "give_up", "subscribe": "want"}[first]
    note = getattr(client._ledger, noted)

    def pausing(*args):
        result = note(*args)
        entered.set()
        go_on.wait(PATIENCE)
        return result

    client.subscribe("a", qos=1).wait(5)
    monkeypatch.setattr(client._ledger, noted, pausing)
    thread = threading.Thread(target=getattr(client, first), args=("a",))
    thread.start()
    assert entered.wait(PATIENCE)
    getattr(client, second)("a").wait(5)
    go_on.set()
    thread.join()
    client.subscribe("end", qos=1).wait(5)
    for topic in ("a", "end"):
        client.publish(topic, topic, qos=1)
    expected = [*client.subscriptions.keys() & {"a"}, "end"]
    assert inbox.texts(len(expected)) == expected


def test_on_subscribe_tells_of_what_the_connection_brought_along(client):
    """Subscribed to before there was a connection, or while it was being set up: the ledger sends that."""
    client.on_subscribe = answers = OldShape()
    client.loop_start()
    receipts = [client.subscribe([("a", 0), ("b", 1)]), client.subscribe("c", qos=2)]
    connected(client)
    told = [answers.next()[2:] for _ in receipts]
    assert sorted((mid, list(codes)) for mid, codes in told) == [
        (receipts[0].mid, [0, 1]),
        (receipts[1].mid, [2]),
    ]
    client.subscribe("d").wait(5)
    answers.next()
    assert not answers.count  # each was told of once


def test_a_close_that_is_interrupted_leaves_nothing_open(client, monkeypatch):
    connected(client).loop_start()
    waiting = PublishReceipt(1)
    client._outgoing._queue.append(waiting)

    def interrupted(timeout):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._outgoing, "wait_empty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.disconnect_from_server()
    with pytest.raises(juham.NotConnectedError):
        waiting.wait(0)
    assert not client.is_connected()
    assert client.connect_to_server() == 0


def test_nobody_connects_anew_amid_a_close(client):
    outcome = Recorder()

    def again(client, userdata, rc):
        try:
            outcome(client.connect_to_server())
        except juham.ConnectError as exc:
            outcome(str(exc))

    connected(client).loop_start()
    client.on_disconnect = again
    client.disconnect_from_server()
    (told,) = outcome.next()
    assert told.endswith("is being closed: connect once disconnect_from_server() has returned")
    client.on_disconnect = None
    client.connect_to_server()
    client.wait_until_connected(5)
