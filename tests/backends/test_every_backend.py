"""What users write that no case of the kit does: on every backend, over every broker."""

import copy
import pickle
import threading

import pytest
from waiting import Inbox, Recorder, eventually

import juham_core as juham
from juham_core import Subscription
from juham_core.broker import EmbeddedBroker
from juham_core.wire import Publish

EVENTS = ("on_connect", "on_disconnect", "on_message", "on_publish", "on_subscribe", "on_unsubscribe")


@pytest.fixture
def subscribed(client, topic):
    """A client that gets all of the test's topics."""
    client.subscribe(f"{topic}/#", qos=1).wait(5)
    return client


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


def test_handlers_publish_more_than_the_window(client, observer, topic):
    observer.subscribe(f"{topic}/out")

    def on_go(client, userdata, message):
        for number in range(100):
            client.publish(f"{topic}/out", str(number), qos=1)

    client.on_message = on_go
    client.subscribe(f"{topic}/go", qos=1).wait(5)
    client.publish(f"{topic}/go", "x", qos=1)
    assert observer.texts(100) == [str(number) for number in range(100)]


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


def test_the_ways_to_name_what_is_subscribed_to(client, topic):
    names = [f"{topic}/{letter}" for letter in "abcde"]
    client.subscribe(names[0]).wait(5)
    client.subscribe((names[1], 1)).wait(5)
    client.subscribe([(names[2], 1), (names[3], 0)]).wait(5)
    client.subscribe(Subscription(names[4], 1)).wait(5)
    assert client.subscriptions == dict(zip(names, (0, 1, 1, 0, 1), strict=True))


def test_the_url_names_the_backend(backend, broker, closing):
    client = closing(juham.connect(broker.url.replace("://", f"+{backend}://")))
    assert client.is_connected()
    assert type(client) is type(closing(juham.create(backend)))


def test_the_environment_names_broker_and_backend(backend, broker, closing, monkeypatch):
    monkeypatch.setenv("JUHAM_URL", f"{broker.url}?client_id=from-environment")
    monkeypatch.setenv("JUHAM_BACKEND", backend)
    client = closing(juham.connect())
    assert client.is_connected()
    assert client.client_id == "from-environment"
    assert type(client) is type(closing(juham.create(backend)))


@pytest.mark.needs("tcp")
def test_a_connection_that_is_accepted_amid_a_close_leaves_nothing_to_the_next(create, peer, monkeypatch):
    """CONNACK is taken note of and then, before anything is handed over, the client is closed."""
    client = create(**peer.options)
    entered, go_on = threading.Event(), threading.Event()
    close = client._close

    def pausing(**_):
        entered.set()
        go_on.wait(5)

    def closing(deliberate):
        go_on.set()
        close(deliberate)

    with monkeypatch.context() as patch:
        patch.setattr(client._outgoing, "session", pausing)
        patch.setattr(client, "_close", closing)
        client.connect_to_server()
        peer.take_up().accept()
        assert entered.wait(5)
        client.disconnect_from_server()
    client.connect_to_server()
    conversation = peer.take_up()
    receipt = client.publish("a", "x", qos=1)
    conversation.accept()
    assert conversation.take() == "x"
    receipt.wait(5)
    assert client.statistics.resent == 0  # it was not sent before CONNACK


@pytest.mark.needs("persistent_session")
def test_what_was_given_up_before_a_close_is_given_up_in_the_session(connect, topic):
    client = connect(client_id=topic.replace("/", "-"), clean_start=False)
    client.on_message = inbox = Inbox()
    client.subscribe([f"{topic}/a", f"{topic}/b"], qos=1).wait(5)
    client.disconnect_from_server()
    gone = client.unsubscribe(f"{topic}/a")
    client.disconnect_from_server()
    with pytest.raises(juham.NotConnectedError):
        gone.wait(0)
    client.connect_to_server()
    client.wait_until_connected(5)
    client.loop_start()
    client.subscribe(f"{topic}/b", qos=1).wait(5)
    for name in ("a", "b"):
        client.publish(f"{topic}/{name}", name, qos=1)
    assert inbox.texts(1) == ["b"]


@pytest.mark.needs("unix_sockets")
def test_a_socket_that_is_not_there_is_told(backend, tmp_path):
    url = f"unix://{tmp_path}/none"
    with pytest.raises(juham.ConnectError) as raised:
        juham.connect(url, backend=backend)
    assert str(raised.value).startswith(f"cannot connect to {url}: ")
    assert str(raised.value).endswith("; does a broker listen on this socket?")


@pytest.mark.needs("tcp")
@pytest.mark.parametrize("host", ["broker..local", "x" * 64])
def test_a_host_that_no_name_can_be_is_told(create, host):
    client = create(host=host, connect_timeout=2.0)
    with pytest.raises(juham.ConnectError):
        client.connect_to_server()


@pytest.mark.needs("tls")
@pytest.mark.lacks("in_process")
def test_a_port_that_does_not_speak_tls_is_told(backend):
    with EmbeddedBroker() as broker, pytest.raises(juham.ConnectError) as raised:
        juham.connect(broker.url.replace("mqtt://", "mqtts://"), backend=backend)
    assert str(raised.value).startswith("cannot connect to mqtts://")


@pytest.mark.needs("manual_ack")
def test_what_a_connection_brought_may_be_acknowledged_whatever_the_next_one_does(connect, topic):
    client = connect(manual_ack=True, protocol=5, properties={"receive_maximum": 1})
    client.on_message = inbox = Inbox()
    client.subscribe(topic, qos=1).wait(5)
    client.manual_ack_set(False)
    for number in range(3):
        client.publish(topic, str(number), qos=1)
    for number in range(3):
        message = inbox.next()
        assert message.payload == str(number).encode()
        client.ack(message.mid, message.qos)


@pytest.mark.needs("tcp", "mqtt_5", "persistent_session")
def test_the_identifier_that_a_broker_has_chosen_is_kept_for_its_session(create, peer):
    client = create(
        **peer.options, protocol=5, client_id="", clean_start=False, reconnect_min=0.01, reconnect_max=0.1
    )
    client.connect_to_server()
    conversation = peer.take_up()
    assert conversation.accept(assigned_client_identifier="chosen").client_id == ""
    client.wait_until_connected(5)
    conversation.reset()
    assert peer.take_up().accept(session_present=True).client_id == "chosen"


@pytest.mark.parametrize("handlers", ["thread", "inline"])
def test_loop_forever_returns_at_once_after_the_close(connect, handlers):
    client = connect(handlers=handlers)
    client.disconnect_from_server()
    thread = threading.Thread(target=client.loop_forever)
    thread.start()
    thread.join(5)
    returned = not thread.is_alive()
    client.loop_stop()
    thread.join()
    assert returned


@pytest.mark.needs("tcp")
def test_a_close_does_not_wait_for_answers_on_a_connection_that_has_ended(create, peer):
    client = create(**peer.options, close_timeout=60.0)
    client.loop_start()
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.accept()
    client.wait_until_connected(5)
    receipt = client.publish("a", "x", qos=1)
    conversation.expect(Publish)
    closing = threading.Thread(target=client.disconnect_from_server)
    closing.start()
    assert eventually(lambda: client._connection.closing)
    conversation.reset()
    closing.join(20)
    assert not closing.is_alive()
    with pytest.raises(juham.NotConnectedError):
        receipt.wait(0)


def _close_in_a_callback(client, receipt):
    """Close the client in the callback of a receipt; what is seen right after it."""
    seen = Recorder()

    def close(receipt):
        client.disconnect_from_server()
        seen(client.is_connected(), type(receipt.exception()))

    receipt.add_done_callback(close)
    return seen


def test_a_client_may_be_closed_in_the_callback_of_any_receipt(connect, topic):
    for ask in ("publish", "subscribe", "unsubscribe"):
        client = connect()
        client.on_disconnect = ended = Recorder()
        receipt = client.publish(topic, "x", qos=1) if ask == "publish" else getattr(client, ask)(topic)
        assert _close_in_a_callback(client, receipt).next() == (False, type(None)), ask
        ended.next()
        client.disconnect_from_server()
        assert ended.count == 0


@pytest.mark.needs("tcp", "mqtt_5")
@pytest.mark.parametrize("ask", ["publish", "subscribe"])
def test_and_of_one_that_fails_amid_the_hand_over(create, peer, ask):
    client = create(**peer.options, protocol=5)
    receipt = client.publish("a", bytes(300), qos=1) if ask == "publish" else client.subscribe("a" * 300)
    seen = _close_in_a_callback(client, receipt)
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.accept(maximum_packet_size=200)
    connected, error = seen.next()
    assert (connected, issubclass(error, juham.JuhamError)) == (False, True)
    client.disconnect_from_server()
    assert conversation.ended()


@pytest.mark.needs("tcp", "mqtt_5")
def test_and_in_a_hook_that_tells_of_a_publish_amid_the_hand_over(create, peer):
    client = create(**peer.options, protocol=5)
    seen = Recorder()

    class Closes:
        @juham.hookimpl
        def jmqtt_published(self, client):
            client.disconnect_from_server()
            seen(client.is_connected())

    plugin = Closes()
    juham.hooks.hooks.register(plugin)
    try:
        client.publish("a", bytes(300), qos=1)
        client.connect_to_server()
        conversation = peer.take_up()
        conversation.accept(maximum_packet_size=200)
        assert seen.next() == (False,)
        client.disconnect_from_server()
        assert conversation.ended()
    finally:
        juham.hooks.hooks.unregister(plugin)


def test_and_of_one_that_fails_because_it_is_closed(create):
    client = create()
    seen = _close_in_a_callback(client, client.publish("a", "x", qos=1))
    client.disconnect_from_server()
    assert seen.next() == (False, juham.NotConnectedError)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_not_copied_with_its_connection(client, make):
    with pytest.raises(TypeError, match=r"copy\(\).*to_dict\(\)"):
        make(client)
    other = client.copy()
    assert (type(other), other.name, other.is_connected()) == (type(client), client.name, False)
    assert other.options.host == client.options.host
