"""Clients of one backend for its own tests, quick to reconnect, and what their handlers got."""

from __future__ import annotations

import contextlib
from queue import Empty, SimpleQueue

SECONDS = 10


def clients_of(cls, own_name):
    """Two functions: one makes a client of the class, the other is a scope in which it is connected."""

    def client(port, name=own_name, **options):
        made = cls(name)
        quick = {"reconnect_min": 0.01, "reconnect_max": 0.05}
        chosen = {"host": "127.0.0.1", "port": port, "client_id": name} | quick | options
        made.options = made.options.changed(**chosen)
        return made

    @contextlib.contextmanager
    def connected(port, name=own_name, **options):
        with client(port, name, **options) as made:
            made.loop_start()
            made.connect_to_server()
            made.wait_until_connected()
            yield made

    return client, connected


def collect(made, topic_filter="#"):
    """A queue of the messages that the client's handler gets."""
    messages = SimpleQueue()
    made.message_callback_add(topic_filter, lambda _client, _userdata, message: messages.put(message))
    return messages


def take(messages, count):
    return [messages.get(timeout=SECONDS) for _ in range(count)]


def empty(queue):
    try:
        queue.get_nowait()
    except Empty:
        return True
    return False
