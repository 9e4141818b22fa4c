"""Messages by awscrt's C functions and by its public interface: both must come to the same."""

from __future__ import annotations

import threading

import awscrt
import pytest
from awscrt_support import Inbox, eventually
from juham_awscrt import link
from juham_awscrt.direct import DirectMessages, messages_for
from juham_awscrt.messages import Messages

from juham_core.wire.properties import Properties

PROPERTIES = Properties(
    payload_format_indicator=1,
    message_expiry_interval=600,
    response_topic="reply/to",
    correlation_data=b"\xff\x00",
    content_type="text/plain",
    user_property=[("b", "1"), ("a", "2"), ("b", "3")],
)


@pytest.fixture(params=[DirectMessages, Messages], ids=["direct", "public"])
def way(request, monkeypatch):
    """Have messages pass in one of the ways."""
    monkeypatch.setattr(link, "messages_for", lambda _version: request.param())


def test_the_installed_version_is_known_and_one_to_come_is_not():
    assert type(messages_for(awscrt.__version__)) is DirectMessages
    assert type(messages_for("0.999.0")) is Messages


@pytest.mark.parametrize("handlers", ["thread", "inline"])
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_and_their_properties_pass(way, connect, topic, qos, handlers):
    client = connect(handlers=handlers)
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(topic, 1).wait(5)
    client.publish(topic, b"plain", qos=qos).wait(5)
    client.publish(topic, b"rich", qos=qos, properties=PROPERTIES).wait(5)
    plain, rich = inbox.take(2)
    assert (plain.payload, plain.qos, dict(plain.properties)) == (b"plain", qos, {})
    expiry = rich.properties.pop("message_expiry_interval")
    assert 590 < expiry <= 600
    assert rich.payload == b"rich"
    assert dict(rich.properties) == {
        name: value for name, value in PROPERTIES.items() if name != "message_expiry_interval"
    }


@pytest.mark.parametrize("handlers", ["thread", "inline"])
def test_each_message_is_acknowledged_so_that_a_narrow_window_moves_on(way, connect, topic, handlers):
    client = connect(handlers=handlers, properties=Properties(receive_maximum=2))
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(topic, 1).wait(5)
    for number in range(50):
        client.publish(topic, str(number), qos=1)
    assert [message.payload for message in inbox.take(50)] == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("qos", [0, 1])
def test_what_an_inline_handler_publishes_does_not_overtake_what_others_have(way, connect, topic, qos):
    client = connect(handlers="inline")
    inbox = Inbox()
    observer = connect()
    observer.on_message = inbox
    observer.subscribe(f"{topic}/out", 1).wait(5)
    asked, published = threading.Event(), threading.Event()

    def handler(client, _userdata, _message):
        asked.set()
        published.wait(10)
        client.publish(f"{topic}/out", b"second", qos=qos)

    client.on_message = handler
    client.subscribe(f"{topic}/in", 1).wait(5)
    observer.publish(f"{topic}/in", b"")
    assert asked.wait(10)
    client.publish(f"{topic}/out", b"first", qos=qos)
    published.set()
    assert [message.payload for message in inbox.take(2)] == [b"first", b"second"]


@pytest.mark.parametrize("qos", [0, 1])
def test_what_an_inline_handler_publishes_keeps_its_order(way, connect, topic, qos):
    client = connect(handlers="inline")
    inbox = Inbox()
    observer = connect()
    observer.on_message = inbox
    observer.subscribe(f"{topic}/out", 1).wait(5)
    numbers = [b"%d" % number for number in range(50)]

    def handler(client, _userdata, _message):
        for number in numbers:
            client.publish(f"{topic}/out", number, qos=qos)

    client.on_message = handler
    client.subscribe(f"{topic}/in", 1).wait(5)
    observer.publish(f"{topic}/in", b"")
    assert [message.payload for message in inbox.take(50)] == numbers


@pytest.mark.parametrize("qos", [0, 1])
def test_what_an_inline_handler_publishes_alone_is_handed_over_there(monkeypatch, connect, topic, qos):
    handled: list[int] = []
    handed_over: list[int] = []

    class Noting(DirectMessages):
        def publish(self, *args):
            handed_over.append(threading.get_ident())
            super().publish(*args)

    def handler(client, _userdata, _message):
        handled.append(threading.get_ident())
        client.publish(f"{topic}/out", b"", qos=qos)

    monkeypatch.setattr(link, "messages_for", lambda _version: Noting())
    client = connect(handlers="inline")
    client.on_message = handler
    client.subscribe(f"{topic}/in", 1).wait(5)
    monkeypatch.setattr(link, "messages_for", messages_for)
    inbox = Inbox()
    observer = connect()
    observer.on_message = inbox
    observer.subscribe(f"{topic}/out", 1).wait(5)
    observer.publish(f"{topic}/in", b"")
    inbox.take(1)
    assert handed_over == handled


def test_a_handler_that_asks_for_its_thread_leaves_none_behind(way, connect, topic):
    client = connect(handlers="inline")
    asked = Inbox()

    def handler(*_args):
        thread = threading.current_thread()
        asked(None, None, (thread, thread in threading.enumerate()))

    client.on_message = handler
    client.subscribe(topic, 0).wait(5)
    client.publish(topic, b"x")
    thread, is_known = asked.get()
    assert is_known
    client.disconnect_from_server()
    eventually(lambda: thread not in threading.enumerate())
