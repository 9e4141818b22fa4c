"""What an application uses a JPaho2 as, paho's client or a JMqtt, and how that is decided."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from juham_core.errors import ConnectError, NotSupportedError
from juham_core.message import closed_error
from juham_paho.handover import Handover

if TYPE_CHECKING:
    from juham_paho.jpaho2 import JPaho2


class Use(Enum):
    """What an application uses a client as."""

    UNDECIDED = "a JMqtt, until it is connected the one way or the other"
    PAHO = "paho's client"
    JUHAM = "a JMqtt"


def become_paho(client: JPaho2) -> None:
    """Decide for paho's client, if nothing is decided yet, and hand over to it what the JMqtt has accepted.

    Raises NotSupportedError if that is in an outbox.
    """
    if client._use is not Use.UNDECIDED:
        return
    if client._options.outbox is not None:
        raise NotSupportedError(
            "an outbox is for clients that are connected with connect_to_server(); paho's own methods "
            "know nothing of it"
        )
    client._use = Use.PAHO
    client._handover = Handover(client, client._driver._paho)


@contextlib.contextmanager
def connecting_as_paho(client: JPaho2) -> Iterator[None]:
    """Around paho's own connecting: a loop that was started before goes on as paho's."""
    was_running = client._use is Use.UNDECIDED and client._delivery._dispatcher.running
    become_paho(client)
    yield
    if was_running:
        client._delivery.stop()
        Client.loop_start(client)


def close_as_paho(client: JPaho2) -> None:
    """End a connection of paho's; what was handed over and has had no answer fails."""
    Client.disconnect(client)
    Client.loop_stop(client)
    if client._thread is None:
        client._reset_sockets()
    if client._handover is not None:
        client._handover.fail(closed_error("a request"))
        client._handover = None


def become_juham(client: JPaho2) -> None:
    """Decide for the JMqtt, with all settings that were made through paho's constructor and attributes.

    Raises ConnectError if the client is connected as paho's.
    """
    if client._use is Use.JUHAM:
        return
    if client._sock is not None or client._thread is not None:
        raise ConnectError(
            "the client is connected through paho's own methods: disconnect() and loop_stop() come first"
        )
    client._adopt()
    client._reset_sockets()  # paho keeps those that woke its thread
    client._use = Use.JUHAM
    client._callback_api_version = CallbackAPIVersion.VERSION2  # the driver's; see callback_api_version
