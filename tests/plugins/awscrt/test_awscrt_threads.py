"""What Python keeps of the thread of awscrt's event loop: the same for all its calls, and nothing after."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import weakref

import pytest
from awscrt_support import Inbox, eventually


class Kept:
    """Something that a thread has of its own."""


def test_the_thread_is_the_same_one_to_python_from_one_message_to_the_next(connect, topic):
    client = connect(handlers="inline")
    own, inbox = threading.local(), Inbox()
    seen = []

    def on_message(client, userdata, message):
        if not hasattr(own, "kept"):
            own.kept = Kept()
            seen.append(weakref.ref(own.kept))
        inbox(client, userdata, message)

    client.on_message = on_message
    client.subscribe(topic).wait(5)
    for _ in range(3):
        client.publish(topic).wait(5)
    inbox.take(3)
    assert len(seen) == 1
    assert seen[0]() is not None
    client.disconnect_from_server()
    eventually(lambda: seen[0]() is None)


def test_with_handlers_inline_a_puback_after_which_nothing_follows_is_told_where_it_came(connect, topic):
    """Without a thread in between, which a round trip would wait for."""
    client = connect(handlers="inline")
    client.subscribe(topic).wait(5)  # else a broker might say that it has no subscribers
    eventually(lambda: client._link.reporter.idle)
    told = queue.SimpleQueue()
    for _ in range(3):
        client.publish(topic, "x", 1).add_done_callback(lambda _receipt: told.put(threading.get_ident()))
        assert told.get(timeout=5) == client._link.loop_thread


def test_with_handlers_inline_callbacks_that_publish_keep_the_order(connect, topic):
    client, inbox, count = connect(handlers="inline"), Inbox(), 200
    client.on_message = inbox
    client.subscribe(topic, 1).wait(5)
    publishing = threading.RLock()  # for a receipt that is done already calls back at once
    numbers = iter(range(count))

    def publish(_receipt=None):
        with publishing:  # the order is that of the calls
            number = next(numbers, None)
            if number is not None:
                client.publish(topic, str(number), 1).add_done_callback(publish)

    for _ in range(30):  # more than may be in flight
        publish()
    assert [int(message.payload) for message in inbox.take(count)] == list(range(count))


@pytest.mark.parametrize("handlers", ["thread", "inline"])
def test_a_program_that_ends_without_closing_ends(broker, topic, handlers):
    program = (
        "import sys, threading, juham_core as juham\n"
        "mqtt = juham.connect(sys.argv[1])\n"
        "came = threading.Event()\n"
        "mqtt.on_message = lambda *_: came.set()\n"
        "mqtt.subscribe(sys.argv[2]).wait(5)\n"
        "mqtt.publish(sys.argv[2]).wait(5)\n"
        "assert came.wait(5)\n"
        "for _ in range(200): mqtt.publish(sys.argv[2])\n"
    )
    url = f"mqtt+awscrt://127.0.0.1:{broker.options['port']}?handlers={handlers}"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url, topic],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
