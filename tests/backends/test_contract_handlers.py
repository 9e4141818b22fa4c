"""The contract: handlers run one at a time and in order, and none of them harms the others."""

import logging
import threading

import pytest
from waiting import FiveArguments, Inbox, OldShape, Recorder, ThreeArguments, eventually

import juham_core as juham
from juham_core.wire import Publish

tcp = pytest.mark.needs("tcp")
EVENTS = ("on_connect", "on_disconnect", "on_message", "on_publish", "on_subscribe", "on_unsubscribe")


@pytest.fixture
def subscribed(client, topic):
    """A client that gets all of the test's topics."""
    client.subscribe(f"{topic}/#", qos=1).wait(5)
    return client


def test_a_thousand_messages_in_order(subscribed, topic):
    subscribed.on_message = inbox = Inbox()
    for number in range(1000):
        subscribed.publish(f"{topic}/n", str(number), qos=1)
    assert inbox.texts(1000) == [str(number) for number in range(1000)]


def test_handlers_run_one_at_a_time_in_one_thread(subscribed, topic):
    running, seen = threading.Lock(), Recorder()

    def handler(client, userdata, message):
        alone = running.acquire(blocking=False)
        try:
            seen(alone, threading.current_thread())
        finally:
            running.release()

    subscribed.on_message = handler
    subscribed.message_callback_add(f"{topic}/routed", handler)
    for number in range(50):
        subscribed.publish(f"{topic}/{'routed' if number % 2 else 'other'}", "x", qos=1)
    calls = [seen.next() for _ in range(50)]
    assert {alone for alone, _ in calls} == {True}
    assert len({thread for _, thread in calls}) == 1


def test_a_handler_that_raises_is_logged_and_counted_and_the_next_message_comes(subscribed, topic, caplog):
    inbox = Inbox()

    def handler(client, userdata, message):
        if message.payload == b"bad":
            raise ZeroDivisionError("on purpose")
        inbox(client, userdata, message)

    subscribed.on_message = handler
    with caplog.at_level(logging.ERROR, "juham"):
        subscribed.publish(f"{topic}/x", "bad", qos=1)
        subscribed.publish(f"{topic}/x", "good", qos=1)
        assert inbox.texts(1) == ["good"]
    assert subscribed.statistics.handler_errors == 1
    records = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in records] == [ZeroDivisionError]
    assert f"{topic}/x" in records[0].getMessage()


def test_the_other_handlers_of_a_message_run_though_one_raises(subscribed, topic):
    first, third = Inbox(), Inbox()

    def bad(client, userdata, message):
        raise ValueError("on purpose")

    subscribed.message_callback_add(f"{topic}/#", first)
    subscribed.message_callback_add(f"{topic}/x", bad)
    subscribed.message_callback_add(f"{topic}/+", third)
    subscribed.publish(f"{topic}/x", "x", qos=1)
    assert first.texts(1) == third.texts(1) == ["x"]
    assert eventually(lambda: subscribed.statistics.handler_errors == 1)


@pytest.mark.parametrize("event", ["on_connect", "on_publish", "on_subscribe"])
def test_any_handler_may_raise(create, broker, topic, event):
    client = create(**broker.options)
    client.on_message = inbox = Inbox()

    def bad(*args):
        raise RuntimeError("on purpose")

    setattr(client, event, bad)
    client.loop_start()
    client.connect_to_server()
    client.wait_until_connected(5)
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1).wait(5)
    assert inbox.texts(1) == ["x"]
    assert eventually(lambda: client.statistics.handler_errors >= 1)


@tcp
def test_a_slow_handler_does_not_break_the_keepalive(connect, topic):
    client = connect(keepalive=1)
    client.on_disconnect = gone = ThreeArguments()
    never, inbox = threading.Event(), Inbox()

    def slow(client, userdata, message):
        if message.payload == b"slow":
            never.wait(2.2)  # past the one and a half keepalives after which a broker gives up
        inbox(client, userdata, message)

    client.on_message = slow
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "slow", qos=1).wait(5)
    client.publish(topic, "after", qos=1).wait(5)
    assert inbox.texts(2) == ["slow", "after"]
    assert client.is_connected()
    assert client.statistics.connects == 1
    assert gone.count == 0


def test_routing_by_filter(subscribed, topic):
    subscribed.on_message = rest = Inbox()
    exact, plus, deep = Inbox(), Inbox(), Inbox()
    subscribed.message_callback_add(f"{topic}/a/x", exact)
    subscribed.message_callback_add(f"{topic}/+/x", plus)
    subscribed.message_callback_add(f"{topic}/a/#", deep)
    for name in ("a/x", "b/x", "a/y/z", "a", "c"):
        subscribed.publish(f"{topic}/{name}", name, qos=1)
    assert rest.texts(1) == ["c"]
    assert exact.texts(1) == ["a/x"]
    assert plus.texts(2) == ["a/x", "b/x"]
    assert deep.texts(3) == ["a/x", "a/y/z", "a"]
    assert exact.count == plus.count == deep.count == rest.count == 0


def test_two_callbacks_of_one_filter_and_one_removed(subscribed, topic):
    first, second, rest = Inbox(), Inbox(), Inbox()
    subscribed.on_message = rest
    for callback in (first, second, second):
        subscribed.message_callback_add(f"{topic}/+", callback)
    subscribed.publish(f"{topic}/a", "both", qos=1)
    assert first.texts(1) == second.texts(1) == ["both"]
    subscribed.message_callback_remove(f"{topic}/+", first)
    subscribed.publish(f"{topic}/a", "one", qos=1)
    assert second.texts(1) == ["one"]
    subscribed.message_callback_remove(f"{topic}/+")
    subscribed.message_callback_remove(f"{topic}/unknown")
    subscribed.publish(f"{topic}/a", "none", qos=1)
    assert rest.texts(1) == ["none"]
    assert first.count == second.count == 0


def test_a_callback_of_a_shared_subscription_s_filter(client, topic):
    client.message_callback_add(f"$share/group/{topic}", inbox := Inbox())
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1)
    assert inbox.texts(1) == ["x"]


def test_topic_callback_is_a_decorator(subscribed, topic):
    inbox = Inbox()

    @subscribed.topic_callback(f"{topic}/a")
    def handler(client, userdata, message):
        inbox(client, userdata, message)

    assert callable(handler)
    subscribed.publish(f"{topic}/a", "x", qos=1)
    assert inbox.texts(1) == ["x"]


def test_a_handler_is_set_by_assignment(subscribed, topic):
    subscribed.on_message = first = Inbox()
    assert subscribed.on_message == first
    subscribed.publish(f"{topic}/a", "1", qos=1)
    assert first.texts(1) == ["1"]
    subscribed.on_message = None
    assert not subscribed.on_message
    subscribed.publish(f"{topic}/a", "2", qos=1).wait(5)
    assert eventually(lambda: subscribed.statistics.dropped["no handler"] == 1)


def test_a_handler_is_set_by_a_call(subscribed, topic):
    if isinstance(type(subscribed).on_message, property):
        pytest.skip("a paho client, whose on_message is a property")
    inbox = Inbox()
    assert subscribed.on_message(inbox) is inbox
    subscribed.publish(f"{topic}/a", "x", qos=1)
    assert inbox.texts(1) == ["x"]
    assert subscribed.on_message.handler is inbox
    subscribed.on_message(None)
    assert not subscribed.on_message


def test_what_is_no_function_is_no_handler(create):
    client = create()
    if not isinstance(type(client).on_message, property):
        for event in EVENTS:
            with pytest.raises(TypeError, match=event):
                setattr(client, event, "a name")
    with pytest.raises(TypeError):
        client.message_callback_add("a", "a name")


def test_userdata(connect, topic):
    client = connect()
    client.user_data_set({"answer": 42})
    seen = Recorder()
    client.on_message = lambda client, userdata, message: seen(client, userdata)
    client.subscribe(topic, qos=1).wait(5)
    client.publish(topic, "x", qos=1)
    who, userdata = seen.next()
    assert who is client
    assert userdata == {"answer": 42}
    assert client.user_data_get() is userdata


def test_on_disconnect_in_the_old_shape(client):
    client.on_disconnect = gone = ThreeArguments()
    client.disconnect_from_server()
    assert gone.next(0.1)[2] == 0


def test_on_disconnect_in_the_newer_shape(client):
    client.on_disconnect = gone = FiveArguments()
    client.disconnect_from_server()
    _, _, flags, reason_code, _ = gone.next(0.1)
    assert not flags.is_disconnect_packet_from_server
    assert reason_code == 0


def test_on_publish_and_its_kin_in_the_old_shape(client, topic):
    client.on_publish, client.on_unsubscribe = published, unsubscribed = ThreeArguments(), ThreeArguments()
    client.on_subscribe = subscribed = OldShape()
    assert subscribed_to(client, topic) == subscribed.next()[2:]
    for qos in (0, 1):
        assert client.publish(topic, "x", qos=qos).mid == published.next()[2]
    assert client.unsubscribe(topic).mid == unsubscribed.next()[2]


def subscribed_to(client, topic):
    receipt = client.subscribe([(topic, 1), (f"{topic}/more", 0)])
    return receipt.mid, (1, 0)


def test_on_publish_and_its_kin_in_the_newer_shape(client, topic):
    client.on_publish = published = FiveArguments()
    client.on_subscribe = subscribed = FiveArguments()
    client.on_unsubscribe = unsubscribed = FiveArguments()
    receipt = client.subscribe(topic, qos=1)
    _, _, mid, codes, _ = subscribed.next()
    assert (mid, list(codes)) == (receipt.mid, [1])
    receipt = client.publish(topic, "x", qos=1)
    _, _, mid, code, _ = published.next()
    assert (mid, code.is_failure) == (receipt.mid, False)
    receipt = client.unsubscribe(topic)
    assert unsubscribed.next()[2] == receipt.mid


@pytest.mark.needs("tcp", "mqtt_5")
def test_on_publish_tells_of_a_refusal(talking):
    from juham_core.wire import Puback

    client, conversation = talking(protocol=5)
    client.on_publish = published = FiveArguments()
    client.publish("a", "x", qos=1)
    conversation.send(Puback(conversation.expect(Publish).packet_id, 0x97))
    assert published.next()[3] == 0x97


@pytest.mark.needs("tcp")
def test_the_receiving_queue_drops_qos_0_past_its_bound_and_says_so(talking, caplog):
    client, conversation = talking(max_received=5)
    entered, go_on, inbox = threading.Event(), threading.Event(), Inbox()

    def handler(client, userdata, message):
        entered.set()
        go_on.wait(5)
        inbox(client, userdata, message)

    client.on_message = handler
    conversation.send(Publish("a", b"0"))
    assert entered.wait(5)
    conversation.send(*(Publish("a", str(number).encode()) for number in range(1, 11)))
    assert eventually(lambda: client.statistics.received == 11)
    go_on.set()
    assert inbox.texts(6) == ["0", "1", "2", "3", "4", "5"]
    assert client.statistics.dropped["receive queue full"] == 5
    assert "max_received" in caplog.text


@pytest.mark.needs("tcp")
def test_the_receiving_queue_drops_nothing_of_qos_1(talking):
    client, conversation = talking(max_received=5)
    go_on, inbox = threading.Event(), Inbox()

    def handler(client, userdata, message):
        go_on.wait(5)
        inbox(client, userdata, message)

    client.on_message = handler
    conversation.send(*(Publish("a", str(mid).encode(), 1, packet_id=mid) for mid in range(1, 21)))
    assert eventually(lambda: client.statistics.waiting >= 5)
    go_on.set()
    assert inbox.texts(20) == [str(mid) for mid in range(1, 21)]


def test_hooks_see_a_message_on_its_way(client, topic):
    seen = Recorder()

    class Watch:
        @juham.hookimpl
        def jmqtt_handled(self, client, message, handler, seconds, exception):
            seen(message.payload, type(exception))

    def bad(client, userdata, message):
        raise KeyError("on purpose")

    plugin = Watch()
    juham.hooks.hooks.register(plugin)
    try:
        client.on_message = bad
        client.subscribe(topic, qos=1).wait(5)
        client.publish(topic, "x", qos=1)
        assert seen.next() == (b"x", KeyError)
    finally:
        juham.hooks.hooks.unregister(plugin)
