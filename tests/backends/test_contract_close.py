"""The contract: closing flushes, answers everything, calls nobody afterwards and leaves nothing."""

import os
import subprocess
import sys
import threading
import time

import pytest
from waiting import Inbox, Recorder, ThreeArguments, eventually

import juham_core as juham
from juham_core.wire import Connack, Connect, Disconnect, Publish

tcp = pytest.mark.needs("tcp")


@pytest.mark.needs("qos_2")
def test_closing_flushes(connect, observer, topic):
    client = connect(close_timeout=5)
    observer.subscribe(topic)
    receipts = [client.publish(topic, str(number), qos=1) for number in range(200)]
    receipts.append(client.publish(topic, "end", qos=2))
    client.disconnect_from_server()
    assert all(receipt.done() and receipt.exception() is None for receipt in receipts)
    assert observer.texts(201) == [*map(str, range(200)), "end"]


def test_closing_flushes_qos_0(connect, observer, topic):
    client = connect()
    observer.subscribe(topic)
    for number in range(100):
        client.publish(topic, str(number))
    client.disconnect_from_server()
    assert observer.texts(100) == [*map(str, range(100))]


def test_closing_twice(client):
    client.on_disconnect = gone = ThreeArguments()
    client.disconnect_from_server()
    client.disconnect_from_server()
    client.disconnect()
    assert not client.is_connected()
    gone.next(0.1)
    assert gone.count == 0


@tcp
def test_closing_says_disconnect(talking):
    client, conversation = talking()
    client.disconnect_from_server()
    conversation.expect(Disconnect)
    assert conversation.next() is None


@tcp
def test_what_never_gets_an_answer_bounds_the_close(talking):
    client, conversation = talking(close_timeout=0.3)
    receipt = client.publish("a", "x", qos=1)
    conversation.expect(Publish)
    began = time.monotonic()
    client.disconnect_from_server()
    assert 0.2 < time.monotonic() - began < 2.5
    with pytest.raises(juham.NotConnectedError):
        receipt.wait(0)


def test_closing_from_inside_a_handler(client, topic):
    outcome = Recorder()
    client.on_disconnect = gone = ThreeArguments()

    def handler(client, userdata, message):
        client.disconnect_from_server()
        outcome(client.is_connected())

    client.on_message = handler
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1)
    assert outcome.next() == (False,)
    assert gone.next()[2] == 0


def test_closing_from_two_threads_at_once(client):
    client.on_disconnect = gone = ThreeArguments()
    barrier = threading.Barrier(2)
    closed = Recorder()

    def close():
        barrier.wait(5)
        client.disconnect_from_server()
        closed(client.is_connected())

    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(1)  # well within close_timeout
        assert not thread.is_alive()
    assert closed.next() == closed.next() == (False,)
    gone.next()
    assert gone.count == 0


@tcp
def test_closing_during_the_back_off_is_prompt(talking, peer):
    client, conversation = talking(reconnect_min=60)
    client.on_disconnect = gone = ThreeArguments()
    conversation.reset()
    gone.next()
    began = time.monotonic()
    client.disconnect_from_server()
    assert time.monotonic() - began < 1


@tcp
def test_closing_while_waiting_for_the_verdict_is_prompt(create, peer):
    client = create(**peer.options)
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.expect(Connect)
    began = time.monotonic()
    client.disconnect_from_server()
    assert time.monotonic() - began < 1
    assert conversation.ended()
    with pytest.raises(juham.ConnectError):
        client.wait_until_connected(1)


def test_no_handler_runs_afterwards(connect, topic):
    """What waits is handled within the bound; a handler that takes longer is the last."""
    client = connect(close_timeout=0.2)
    entered, go_on, calls = threading.Event(), threading.Event(), Recorder()

    def handler(client, userdata, message):
        calls(message.payload)
        entered.set()
        go_on.wait(5)

    client.on_message = handler
    client.message_callback_add(f"{topic}/#", handler)
    client.message_callback_add(f"{topic}/+", lambda *args: calls("too late"))
    client.subscribe(f"{topic}/#").wait(5)
    for _ in range(10):
        client.publish(f"{topic}/a", "x")
    assert entered.wait(5)
    client.disconnect_from_server()
    go_on.set()
    assert eventually(lambda: not any("handlers" in thread.name for thread in threading.enumerate()))
    assert calls.count == 1


def test_what_waits_is_handled_before_the_close_returns(client, observer, topic):
    inbox, pause = Inbox(), threading.Event()

    def handler(client, userdata, message):
        pause.wait(0.005)
        inbox(client, userdata, message)

    client.on_message = handler
    client.subscribe(topic, qos=1).wait(5)
    for number in range(20):
        client.publish(topic, str(number), qos=1)
    assert eventually(lambda: client.statistics.received == 20)
    client.disconnect_from_server()
    assert inbox.count == 20


def test_after_the_close_the_client_may_be_used_again(client, topic):
    client.on_message = inbox = Inbox()
    client.subscribe(topic, qos=1).wait(5)
    for number in range(3):
        client.disconnect_from_server()
        assert client.publish(topic, "x").rc == 4
        client.connect_to_server()
        client.wait_until_connected(5)
        client.loop_start()
        assert eventually(lambda: client.subscriptions == {topic: 1})
        client.publish(topic, str(number), qos=1).wait(5)
        assert inbox.texts(1) == [str(number)]


def test_a_handler_that_outlives_the_close_does_not_stop_the_next_ones(connect, topic):
    client = connect(close_timeout=0.1)
    entered, go_on, inbox = threading.Event(), threading.Event(), Inbox()

    def slow(client, userdata, message):
        entered.set()
        go_on.wait(5)

    client.on_message = slow
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "slow", qos=1).wait(5)
    assert entered.wait(5)
    client.disconnect_from_server()
    client.on_message = inbox
    client.connect_to_server()
    client.wait_until_connected(5)
    client.loop_start()
    go_on.set()
    assert eventually(lambda: client.subscriptions == {topic: 1})
    client.publish(topic, "next", qos=1).wait(5)
    while inbox.next().payload != b"next":
        pass  # what was not acknowledged comes again


def test_a_loop_without_a_connection_ends_too(create):
    client = create()
    client.loop_start()
    assert any("handlers" in thread.name for thread in threading.enumerate())
    client.disconnect_from_server()
    assert not any("handlers" in thread.name for thread in threading.enumerate())


def test_a_deliberate_close_sends_no_will(create, broker, observer, topic):
    observer.subscribe(f"{topic}/#")
    client = create(**broker.options)
    client.will_set(f"{topic}/will", "gone", qos=1)
    client.connect_to_server()
    client.wait_until_connected(5)
    client.disconnect_from_server()
    observer.publish(f"{topic}/marker")
    assert observer.next().topic == f"{topic}/marker"


@tcp
def test_a_cut_connection_sends_the_will(connect, proxy, observer, topic):
    observer.subscribe(f"{topic}/#")
    client = connect(**proxy.options, will=juham.Will(f"{topic}/will", b"gone", 1), reconnect=False)
    proxy.cut()
    message = observer.next()
    assert (message.topic, message.payload, message.qos) == (f"{topic}/will", b"gone", 1)
    client.disconnect_from_server()


CRASH = """
import sys, juham_core as juham
url, backend, topic = sys.argv[1:]
client = juham.connect(url, backend=backend, will=juham.Will(topic, b"crashed", 1, True))
print("connected", flush=True)
sys.stdin.read()
"""


@tcp
def test_a_crash_sends_the_will(backend, broker, observer, topic):
    observer.subscribe(topic)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", CRASH, broker.url, backend, topic],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout.readline() == b"connected\n"
        process.kill()
    assert observer.next().payload == b"crashed"
    observer.publish(topic, b"", retain=True)


@pytest.mark.needs("tcp", "mqtt_5", "qos_2")
def test_the_will_as_it_was_set(create, peer):
    client = create(**peer.options, protocol=5)
    client.will_set("a/will", "gone", qos=2, retain=True, properties={"will_delay_interval": 7})
    client.connect_to_server()
    conversation = peer.take_up()
    will = conversation.accept().will
    assert (will.topic, will.payload, will.qos, will.retain) == ("a/will", b"gone", 2, True)
    assert will.properties == {"will_delay_interval": 7}
    client.wait_until_connected(5)
    client.disconnect_from_server()
    client.will_clear()
    client.connect_to_server()
    conversation = peer.take_up()
    assert conversation.expect(Connect).will is None
    conversation.send(Connack())
    client.wait_until_connected(5)
