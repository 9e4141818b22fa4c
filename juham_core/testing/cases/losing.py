"""What the cases about lost connections share: clients that are watched, and a look at their attempts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from juham_core.hooks import hooks
from juham_core.hookspecs import hookimpl
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.testing.kit import Kit
from juham_core.testing.patience import patience
from juham_core.testing.waiting import FiveArguments


def watched(kit: Kit, **options: Any) -> tuple[JMqtt, FiveArguments, FiveArguments]:
    """A connected client, its on_disconnect, and its on_connect from the second connection on."""
    client = kit.create(**options)
    lost, back = FiveArguments(), kit.verdicts(client)
    kit.handle(client, "on_disconnect", lost)
    kit.connect(client)
    back.next()
    return client, lost, back


def lasting(kit: Kit) -> dict[str, Any]:
    """The options of a client whose session outlives its connections."""
    return {"clean_start": False, "client_id": kit.topic.replace("/", "-")}


def subscribed(kit: Kit, connection: int) -> list[str]:
    """The filters that a client has subscribed to on one connection, in order."""
    packets = kit.broker.packets("subscribe", connection=connection)
    return [each.topic_filter for packet in packets for each in packet.subscriptions]


class Attempts:
    """A plugin that sees each attempt of one client to connect, and may change its options."""

    def __init__(self, client: JMqtt, change: Callable[[Options], Options]) -> None:
        self._client = client
        self._change = change
        self._begun = threading.Semaphore(0)

    @classmethod
    def of(
        cls, kit: Kit, client: JMqtt, change: Callable[[Options], Options] = lambda options: options
    ) -> Attempts:
        """One that is registered until the case ends."""
        plugin = cls(kit.seen_by_hooks(client), change)
        hooks.register(plugin)
        kit.keep(lambda: hooks.unregister(plugin))
        return plugin

    @hookimpl
    def jmqtt_connecting(self, client: Any, options: Options) -> Options | None:
        """See :func:`juham_core.hookspecs.jmqtt_connecting`."""
        if client is not self._client:
            return None
        changed = self._change(options)
        self._begun.release()
        return changed

    def next(self) -> None:
        """Wait for the next attempt to begin."""
        assert self._begun.acquire(timeout=patience()), "there is no further attempt"
