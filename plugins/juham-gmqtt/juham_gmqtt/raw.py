"""gmqtt without Juham, for ``juham bench --raw``: coroutines in an event loop, asyncio's or uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import gmqtt
from gmqtt.storage import PersistentStorage

from juham_core.bench import LoopDriver, PingPong, Task
from juham_core.bench.driver import PATIENCE

YIELD_EVERY = 100
"""Publishes at QoS 0 after which the loop gets a turn, as a program must give it one."""


class Acknowledgements(PersistentStorage):  # type: ignore[misc]  # gmqtt has no annotations
    """gmqtt's store of what is unacknowledged: the one public place that sees an acknowledgement."""

    def __init__(self) -> None:
        super().__init__()
        self.unacknowledged = 0
        self.changed = asyncio.Event()

    def remove_message_by_mid(self, mid: int) -> None:
        """The broker has acknowledged for good."""
        super().remove_message_by_mid(mid)
        self.unacknowledged -= 1
        self.changed.set()


class GmqttDriver(LoopDriver):
    """Implements :class:`juham_core.bench.Driver`."""

    library: ClassVar[str] = "gmqtt"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._client: Any = None
        self._store: Any = None
        self._qos = -1

    async def _connect(self) -> None:
        options = self.task.options
        self._store = Acknowledgements()
        self._client = gmqtt.Client(options.client_id, persistent_storage=self._store)
        if options.username is not None:
            self._client.set_auth_credentials(options.username, options.password_bytes)
        await self._client.connect(
            options.host,
            options.effective_port,
            ssl=options.make_ssl_context() or False,
            keepalive=options.keepalive,
            version=options.protocol,
        )

    async def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        # gmqtt has one callback for all that is subscribed to.
        arrived = self.task.arrivals.arrived

        def on_message(_client: Any, _topic: str, _payload: bytes, _qos: int, _properties: Any) -> int:
            arrived()
            return 0

        self._client.on_message = on_message
        await self._grant(topic_filters, qos)

    async def _grant(self, topic_filters: Sequence[str], qos: int) -> None:
        granted = asyncio.Event()
        self._client.on_subscribe = lambda *_arguments: granted.set()
        self._client.subscribe([gmqtt.Subscription(topic_filter, qos) for topic_filter in topic_filters])
        await asyncio.wait_for(granted.wait(), PATIENCE)

    async def _publish(self, messages: int, qos: int) -> int:
        publish, topic, payload = self._client.publish, self.task.topic, self.task.payload
        if qos == 0:
            for number in range(messages):
                publish(topic, payload)
                if number % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            return messages
        store, window = self._store, self.task.window
        store.unacknowledged = 0
        for number in range(messages):
            if store.unacknowledged >= window and not await self._acknowledged(window - 1):
                return number - int(store.unacknowledged)
            store.unacknowledged += 1
            publish(topic, payload, qos=qos)
        await self._acknowledged(0)
        return messages - int(store.unacknowledged)

    async def _acknowledged(self, at_most: int) -> bool:
        """Wait until no more than this are unacknowledged; False if nothing happens."""
        store = self._store
        while store.unacknowledged > at_most:
            store.changed.clear()
            try:
                await asyncio.wait_for(store.changed.wait(), PATIENCE)
            except asyncio.TimeoutError:
                return False
        return True

    async def _ping_pong(self, messages: int, qos: int) -> list[float]:
        publish, topic, payload = self._client.publish, self.task.topic, self.task.payload
        pinging = PingPong(messages)
        over = asyncio.Event()

        def on_pong(_client: Any, _topic: str, _payload: bytes, _qos: int, _properties: Any) -> int:
            if pinging.pong():
                pinging.ping()
                publish(topic, payload, qos=qos)
            else:
                over.set()
            return 0

        self._client.on_message = on_pong
        if qos != self._qos:
            self._qos = qos
            await self._grant([self.task.pong_topic], qos)
        pinging.ping()
        publish(topic, payload, qos=qos)
        await self._until(over, pinging)
        return pinging.seconds

    @staticmethod
    async def _until(over: asyncio.Event, pinging: PingPong) -> None:
        seen = -1
        while not over.is_set() and len(pinging.seconds) != seen:
            seen = len(pinging.seconds)
            try:
                await asyncio.wait_for(over.wait(), PATIENCE)
            except asyncio.TimeoutError:
                continue

    async def _close(self) -> None:
        await self._client.disconnect()
