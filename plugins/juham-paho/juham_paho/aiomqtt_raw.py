"""aiomqtt, for comparison in ``juham bench``: it is another asyncio face of paho, and has no backend.

Its entry point has the extra ``bench`` (``pip install juham-paho[bench]``), so the bench loads it only where
aiomqtt is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import aiomqtt

from juham_core.bench import LoopDriver, Task
from juham_core.bench.driver import PATIENCE


class AioMqttDriver(LoopDriver):
    """Implements :class:`juham_core.bench.Driver`.

    As many coroutines publish and await as the window is wide, at QoS 0 too: one alone would wait for paho's
    thread after each publish.
    """

    library: ClassVar[str] = "aiomqtt"
    window: ClassVar[str] = "library"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._client: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._qos = -1

    async def _connect(self) -> None:
        options = self.task.options
        password = options.password_bytes
        self._client = aiomqtt.Client(
            options.host,
            options.effective_port,
            username=options.username,
            password=password.decode() if password is not None else None,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion(options.protocol),
            keepalive=options.keepalive,
            max_inflight_messages=self.task.window,
            max_queued_outgoing_messages=0,
            tls_context=options.make_ssl_context(),
        )
        # aiomqtt warns when more than this are awaited at once.
        self._client.pending_calls_threshold = self.task.window + 10
        await self._client.__aenter__()

    async def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        arrived = self.task.arrivals.arrived
        await self._client.subscribe([(topic_filter, qos) for topic_filter in topic_filters])

        async def read() -> None:
            async for _message in self._client.messages:
                arrived()

        self._reading = asyncio.create_task(read())

    async def _publish(self, messages: int, qos: int) -> int:
        publish, topic, payload = self._client.publish, self.task.topic, self.task.payload
        return await self.side_by_side(
            messages, lambda: publish(topic, payload, qos, timeout=PATIENCE), aiomqtt.MqttError
        )

    async def _ping_pong(self, messages: int, qos: int) -> list[float]:
        publish, topic, payload = self._client.publish, self.task.topic, self.task.payload
        if qos != self._qos:
            self._qos = qos
            await self._client.subscribe(self.task.pong_topic, qos)
        return await self.trips(messages, lambda: publish(topic, payload, qos), aiter(self._client.messages))

    async def _close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self._client.__aexit__(None, None, None)
