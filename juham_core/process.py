"""What becomes of clients when their process forks, or ends without closing them."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, Final

from juham_core.connection import State
from juham_core.errors import NotConnectedError

if TYPE_CHECKING:
    from juham_core.jmqtt import JMqtt

log = logging.getLogger("juham.connection")

_clients: Final[weakref.WeakSet[JMqtt]] = weakref.WeakSet()
_WORKING: Final = (
    "connect_to_server",
    "publish",
    "subscribe",
    "unsubscribe",
    "ack",
    "loop_start",
    "loop_forever",
)
_ENDING: Final = ("disconnect_from_server", "disconnect", "loop_stop")


def look_after(client: JMqtt) -> None:
    """Have this client seen to when the process forks or ends, unless it is gone by then."""
    _clients.add(client)


def _forked() -> None:
    """In the child: leave the parent's connections, and the threads that run its handlers, to the parent.

    Their sockets are in both processes, and their threads, with the locks that these may hold, are not: the
    child would wait for ever, or write into the midst of what the parent sends.
    """
    inherited = [
        client
        for client in _clients
        if client._connection.state is not State.CLOSED or client._delivery.has_thread
    ]
    _clients.clear()
    for client in inherited:
        client._connection.state = State.CLOSED
        for name in _WORKING:
            _replace(client, name, _refuse(client.name))
        for name in _ENDING:
            _replace(client, name, lambda *_args, **_named: 0)


def _replace(client: JMqtt, name: str, method: Any) -> None:
    # On the object, so that no client pays for a look at the process with each message.
    vars(client)[name] = method


def _refuse(name: str) -> Any:
    parent = os.getppid()

    def refuse(*_args: Any, **_named: Any) -> Any:
        raise NotConnectedError(
            f"the client {name!r} was connected, or its loop started, by process {parent} before it forked, "
            "and its connection and threads stay there: make a client of its own in each process"
        )

    return refuse


def _ending() -> None:
    """At the end of the program: say what is lost that was accepted, for nobody is left to send it."""
    for client in list(_clients):
        outgoing = client._outgoing
        lost = 0 if client._options.outbox else outgoing.queued + outgoing.in_flight
        if lost:
            log.warning(
                "%s: the program ends, and the client was not closed: %s of QoS 1 and 2 without the broker's "
                "acknowledgement may be lost; a with block, or disconnect_from_server(), waits for it",
                client.name,
                f"{lost:,} publish{'es' * (lost > 1)}",
            )


atexit.register(_ending)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
