"""The contract: every public method from any thread, from handlers, and before and after connecting."""

import threading

import pytest
from waiting import Inbox, OldShape, Recorder, eventually

import juham_core as juham

THREADS, EACH = 16, 200


@pytest.mark.parametrize("qos", [0, 1])
def test_many_threads_publish_at_once(connect, observer, topic, qos):
    client = connect()
    observer.subscribe(f"{topic}/#", qos=1)
    barrier = threading.Barrier(THREADS)
    receipts = [[] for _ in range(THREADS)]

    def publish(number):
        barrier.wait(5)
        for count in range(EACH):
            receipts[number].append(client.publish(f"{topic}/{number}", f"{number} {count}", qos=qos))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [receipt for each in receipts for receipt in each]
    for receipt in every:
        receipt.wait(10)
    assert len({receipt.mid for receipt in every}) == THREADS * EACH
    got = {number: [] for number in range(THREADS)}
    for _ in range(THREADS * EACH):
        message = observer.next()
        number, count = message.payload.decode().split()
        assert message.topic == f"{topic}/{number}"
        got[int(number)].append(int(count))
    assert got == {number: list(range(EACH)) for number in range(THREADS)}


def test_many_threads_subscribe_and_unsubscribe_at_once(client, topic):
    errors = Recorder()

    def come_and_go(number):
        try:
            for _ in range(5):
                client.subscribe(f"{topic}/{number}", qos=1).wait(5)
                client.unsubscribe(f"{topic}/{number}").wait(5)
            client.subscribe(f"{topic}/{number}", qos=1).wait(5)
        except Exception as exc:  # noqa: BLE001 - shown by the test
            errors(exc)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors.count == 0, errors.next()
    assert client.subscriptions == {f"{topic}/{number}": 1 for number in range(8)}


def test_handlers_publish_and_subscribe(client, topic):
    inbox = Inbox()

    def on_ping(client, userdata, message):
        client.subscribe(f"{topic}/pong", qos=1)
        client.publish(f"{topic}/pong", message.payload, qos=1)
        client.unsubscribe(f"{topic}/ping")
        client.message_callback_remove(f"{topic}/ping")

    client.message_callback_add(f"{topic}/ping", on_ping)
    client.message_callback_add(f"{topic}/pong", inbox)
    client.subscribe(f"{topic}/ping", qos=1).wait(5)
    client.publish(f"{topic}/ping", "1", qos=1).wait(5)
    assert inbox.texts(1) == ["1"]
    assert eventually(lambda: client.subscriptions == {f"{topic}/pong": 1})


def test_handlers_publish_more_than_the_window(client, observer, topic):
    observer.subscribe(f"{topic}/out")

    def on_go(client, userdata, message):
        for number in range(100):
            client.publish(f"{topic}/out", str(number), qos=1)

    client.on_message = on_go
    client.subscribe(f"{topic}/go", qos=1).wait(5)
    client.publish(f"{topic}/go", "x", qos=1)
    assert observer.texts(100) == [str(number) for number in range(100)]


def test_subscribing_before_connecting(create, broker, topic):
    client = create(**broker.options)
    client.on_message = inbox = Inbox()
    receipt = client.subscribe(topic, qos=1)
    assert not receipt.done()
    assert client.subscriptions == {topic: None}
    client.loop_start()
    client.connect_to_server()
    assert receipt.wait(5).granted == {topic: 1}
    client.publish(topic, "x", qos=1).wait(5)
    assert inbox.texts(1) == ["x"]


def test_unsubscribing_before_connecting(create, broker, topic):
    client = create(**broker.options)
    subscribed, gone = client.subscribe(topic), client.unsubscribe(topic)
    with pytest.raises(juham.SubscribeError, match="unsubscribed"):
        subscribed.wait(1)
    client.connect_to_server()
    gone.wait(5)
    assert client.subscriptions == {}


def test_the_loop_may_stop_and_start(client, topic):
    client.on_message = inbox = Inbox()
    client.subscribe(topic, qos=1).wait(5)
    client.loop_start()
    assert client.loop_stop() == 0
    client.publish(topic, "waits", qos=1).wait(5)
    assert eventually(lambda: client.statistics.received == 1)
    assert inbox.count == 0
    assert client.loop_start() == 0
    assert inbox.texts(1) == ["waits"]


def test_the_loop_stops_from_inside_a_handler(client, topic):
    calls = Recorder()

    def handler(client, userdata, message):
        client.loop_stop()
        calls(message.payload)

    client.on_message = handler
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "1", qos=1).wait(5)
    client.publish(topic, "2", qos=1).wait(5)
    assert calls.next() == (b"1",)
    assert eventually(lambda: not any("handlers" in thread.name for thread in threading.enumerate()))
    assert calls.count == 0
    client.loop_start()
    assert calls.next() == (b"2",)


def test_loop_forever_ends_when_the_client_is_closed(create, broker, topic):
    client = create(**broker.options)
    threads, ended = Recorder(), Recorder()
    client.on_connect = verdict = OldShape()
    client.on_message = lambda client, userdata, message: threads(threading.current_thread())
    client.connect_to_server()
    client.wait_until_connected(5)
    client.subscribe(topic, qos=1).wait(5)
    thread = threading.Thread(target=lambda: ended(client.loop_forever()))
    thread.start()
    verdict.next()
    client.publish(topic, "x", qos=1)
    assert threads.next() == (thread,)
    client.disconnect_from_server()
    assert ended.next() == (0,)
    thread.join()


def test_loop_forever_ends_when_a_handler_closes_the_client(create, broker, topic):
    client = create(**broker.options)
    client.on_message = lambda client, userdata, message: client.disconnect()
    client.connect_to_server()
    client.wait_until_connected(5)
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1)
    ended = Recorder()
    thread = threading.Thread(target=lambda: ended(client.loop_forever()))
    thread.start()
    assert ended.next() == (0,)
    thread.join()
    assert not client.is_connected()


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_loop_forever(create, broker, topic, signal):
    client = create(**broker.options)

    def handler(client, userdata, message):
        raise signal

    client.on_message = handler
    client.connect_to_server()
    client.wait_until_connected(5)
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1)
    with pytest.raises(signal):
        client.loop_forever()
    assert client.is_connected()


def test_a_hundred_clients_come_and_go(create, broker):
    for _ in range(100):
        client = create(**broker.options)
        client.connect_to_server()
        client.wait_until_connected(5)
        client.loop_start()
        client.disconnect_from_server()
