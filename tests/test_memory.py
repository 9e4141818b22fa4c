"""JMemory: what is particular to a broker in the same process."""

import secrets
import threading

import pytest
from waiting import FiveArguments, Inbox, OldShape, Recorder, ThreeArguments, eventually

import juham_core as juham
from juham_core.memory import JMemory


@pytest.fixture
def hub():
    return secrets.token_hex(6)


@pytest.fixture
def join(hub, closing):
    def make(**options):
        client = closing(juham.create("memory", host=hub, **options))
        client.connect_to_server()
        client.wait_until_connected(5)
        client.loop_start()
        return client

    return make


def test_clients_meet_by_the_name_of_the_host(join, closing, hub):
    here, there = join(), closing(juham.connect(f"memory://other-{hub}"))
    here.on_message, there.on_message = near, far = Inbox(), Inbox()
    here.subscribe("a").wait(5)
    there.subscribe("a").wait(5)
    join().publish("a", "near").wait(5)
    there.publish("a", "far").wait(5)
    assert (near.texts(1), far.texts(1)) == (["near"], ["far"])
    assert near.count == far.count == 0


def test_the_scheme_says_which_backend(closing, hub):
    assert isinstance(closing(juham.connect(f"memory://{hub}")), JMemory)


def test_native_is_the_broker(join):
    client = join()
    assert client.native.statistics.connected == 1
    join()
    assert client.native.statistics.connected == 2


def test_retained_messages_and_sessions_outlive_their_clients(join):
    client = join(client_id="lasting", clean_start=False)
    client.subscribe("a", qos=1).wait(5)
    client.disconnect_from_server()
    publisher = join()
    publisher.publish("a", "meanwhile", qos=1).wait(5)
    publisher.publish("kept", "retained", retain=True).wait(5)
    client.on_message = inbox = Inbox()
    client.on_connect = verdict = OldShape()
    client.connect_to_server()
    client.loop_start()
    assert verdict.next()[2]["session present"] == 1
    assert inbox.texts(1) == ["meanwhile"]
    client.subscribe("kept").wait(5)
    assert inbox.texts(1) == ["retained"]


def test_what_was_not_acknowledged_comes_again_with_dup_and_its_packet_identifier(join):
    """No network fails here, so the kit, which tries what is declared on its own broker, does not."""
    assert JMemory.capabilities.dup_and_mid
    client = join(client_id="lasting", clean_start=False, manual_ack=True)
    client.on_message = inbox = Inbox()
    client.subscribe("a", qos=1).wait(5)
    publisher = join()
    for payload in ("first", "second"):
        publisher.publish("a", payload, qos=1).wait(5)
    first, second = inbox.next(), inbox.next()
    assert first.mid != second.mid
    assert (first.dup, second.dup) == (False, False)
    client.ack(first.mid, first.qos)
    client.disconnect_from_server()
    client.connect_to_server()
    client.loop_start()
    again = inbox.next()
    assert (again.payload, again.mid, again.dup) == (b"second", second.mid, True)


def test_a_takeover_ends_the_first(join):
    first = join(client_id="same", protocol=5)
    first.on_disconnect = gone = FiveArguments()
    second = join(client_id="same", protocol=5)
    assert gone.next()[3] == 0x8E
    assert not first.is_connected()
    assert second.is_connected()


def test_a_takeover_sends_the_will_and_a_disconnect_does_not(join):
    watcher = join()
    watcher.on_message = inbox = Inbox()
    watcher.subscribe("will/#", qos=1).wait(5)
    join(client_id="a", will=juham.Will("will/a", b"gone", 1)).disconnect_from_server()
    join(client_id="b", will=juham.Will("will/b", b"gone", 1))
    join(client_id="b")
    assert inbox.next().topic == "will/b"
    assert inbox.count == 0


def test_the_broker_s_clock_goes_while_somebody_is_connected(join):
    watcher = join()
    watcher.on_message = inbox = Inbox()
    watcher.subscribe("will", qos=1).wait(5)
    will = juham.Will("will", b"late", 1, properties=juham.Properties(will_delay_interval=1))
    dying = {"client_id": "dying", "protocol": 5, "session_expiry": 60}
    first = join(**dying, will=will, clean_start=True)
    first._link.close()  # nothing public cuts an in-process connection
    first._hub.leave(first._link, False)
    first._link.dead = True
    assert inbox.texts(1) == ["late"]


def test_a_hundred_thousand_messages_to_a_slow_handler_wait_at_the_broker(join):
    """At QoS 1 the broker's window bounds what waits in the client, and nothing is lost."""
    slow, publisher = join(), join()
    entered, go_on, inbox = threading.Event(), threading.Event(), Inbox()

    def handler(client, userdata, message):
        entered.set()
        go_on.wait(5)
        inbox(client, userdata, message)

    slow.on_message = handler
    slow.subscribe("a", qos=1).wait(5)
    for number in range(500):
        publisher.publish("a", str(number), qos=1).wait(5)
    assert entered.wait(5)
    assert slow.statistics.waiting < 100
    go_on.set()
    assert inbox.texts(500) == [str(number) for number in range(500)]


def test_a_handler_may_wait_for_what_another_handler_does(join):
    one, other = join(), join()
    answers = Recorder()
    other.message_callback_add("ask", lambda client, u, m: client.publish("answer", m.payload, qos=1).wait(5))
    other.subscribe("ask", qos=1).wait(5)
    one.message_callback_add("answer", lambda client, u, m: answers(m.payload))
    one.message_callback_add("go", lambda client, u, m: client.publish("ask", "42", qos=1).wait(5))
    one.subscribe(["answer", "go"], qos=1).wait(5)
    other.publish("go", "x", qos=1)
    assert answers.next() == (b"42",)


def test_two_clients_publish_at_each_other_from_many_threads(join):
    """Handlers of two clients that publish to each other must not wait for one another's locks."""
    left, right = join(), join()
    counts = {"left": Recorder(), "right": Recorder()}
    left.message_callback_add("left", lambda *args: counts["left"]())
    right.message_callback_add("right", lambda *args: counts["right"]())
    left.subscribe("left", qos=1).wait(5)
    right.subscribe("right", qos=1).wait(5)

    def publish(client, topic):
        for _ in range(200):
            client.publish(topic, "x", qos=1).wait(5)

    threads = [
        threading.Thread(target=publish, args=arguments)
        for arguments in ((left, "right"), (right, "left"), (left, "left"), (right, "right"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert eventually(lambda: counts["left"].count == counts["right"].count == 400)


def test_nothing_of_a_broker_without_clients_runs(join):
    client = join(client_id="short", protocol=5, session_expiry=30)
    client.on_disconnect = ThreeArguments()
    client.disconnect_from_server()
    assert not [thread for thread in threading.enumerate() if thread.name == "juham-memory-clock"]
