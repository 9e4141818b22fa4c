"""The hooks: what a plugin may watch and change, on every client of every backend.

A plugin is a module or an object with functions named as below and marked with :data:`hookimpl`; each takes
as many of the hook's arguments as it needs, by name. Installed plugins are found through the entry-point
group ``juham_core.hooks``; :meth:`juham_core.hooks.Hooks.register` adds one by hand.

Hooks run between the client and its connection, on the threads named here, so they must be quick: one that
waits for the broker waits for itself. Whatever one raises is logged and otherwise ignored. ``client`` is
the :class:`~juham_core.jmqtt.JMqtt` concerned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pluggy import HookimplMarker, HookspecMarker

from juham_core.hooks import DROP as DROP  # noqa: PLC0414  # plugins look for it here, too
from juham_core.hooks import Drop
from juham_core.message import MqttMsg, Receipt
from juham_core.options import Options

PROJECT: Final = "juham_core"

hookspec: Final = HookspecMarker(PROJECT)
hookimpl: Final = HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook whose name it has."""


@hookspec
def jmqtt_created(client: Any) -> None:
    """A client has been made and is not connected yet.

    Thread: the one that made it. Returns nothing.
    """


@hookspec
def jmqtt_connecting(client: Any, options: Options) -> Options | None:
    """A client is about to try to connect, for the first time or again.

    Thread: the one that makes the attempt. Returns None, or the options for this attempt alone, such as
    ``options.changed(password=fetch_token())``; the next plugin sees those. The attempt fails if they ask for
    what the backend lacks. Those of queues, the outbox, handlers and reconnecting are not asked again.
    """


@hookspec
def jmqtt_connected(client: Any, session_present: bool) -> None:
    """The broker has accepted the connection and says whether it kept the session (MQTT 5 section 3.2.2.1).

    Thread: the network's. Returns nothing.
    """


@hookspec
def jmqtt_disconnected(client: Any, reason: str) -> None:
    """An accepted connection has ended, for the reason given in words.

    Thread: the network's, or the one that disconnects, which for the main one is another. Returns nothing.
    """


@hookspec
def jmqtt_publishing(client: Any, message: MqttMsg) -> MqttMsg | Drop | None:
    """The application publishes a message, which is neither sent nor queued yet.

    Thread: the one that called ``publish``. Returns None, another message to be published in its place, or
    :data:`DROP`. Make another message rather than changing this one: a change outlives an exception.
    """


@hookspec
def jmqtt_published(client: Any, receipt: Receipt) -> None:
    """The receipt of a publish is done: ``receipt.exception()`` is None if the broker has the message.

    Thread: whichever brought the answer or gave up. Returns nothing.
    """


@hookspec
def jmqtt_received(client: Any, message: MqttMsg) -> MqttMsg | Drop | None:
    """A message has arrived, and no handler has seen it yet.

    Thread: the network's. Returns None, another message for the handlers in its place, or :data:`DROP`.
    The other one is given the QoS, DUP and packet identifier of the one that came, by which it is
    acknowledged. What is dropped is acknowledged at once, with the option ``manual_ack``, too.
    """


@hookspec
def jmqtt_handled(
    client: Any,
    message: MqttMsg,
    handler: Callable[..., Any],
    seconds: float,
    exception: BaseException | None,
) -> None:
    """A handler is through with a message after this many seconds, and raised this exception or None.

    Thread: the one that runs the handlers. Returns nothing.
    """


@hookspec
def jmqtt_closed(client: Any) -> None:
    """A client has been closed for good: its receipts are done and no handler will run.

    Thread: the one that closes it, which for the main one is another. Returns nothing.
    """
