"""The asyncio face as the bench drives it: any backend, awaited, in a loop of asyncio's or uvloop's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from juham_core import factory
from juham_core.aio import AsyncMqtt
from juham_core.bench.driver import PATIENCE, Task
from juham_core.bench.loops import LoopDriver
from juham_core.errors import JuhamError
from juham_core.message import MqttMsg


class AioDriver(LoopDriver):
    """Implements :class:`~juham_core.bench.driver.Measured` for any backend, by :class:`AsyncMqtt`.

    Messages are received through a stream, as ``async for`` gives them. At QoS 1 and 2 as many coroutines
    publish and await as the window is wide: awaited one after the other, publishes would wait for the broker.
    """

    def __init__(self, task: Task, backend: str) -> None:
        super().__init__(task)
        self._backend = backend
        self._mqtt: AsyncMqtt | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._scopes: AsyncExitStack | None = None
        self._answers: Any = None
        self._qos = -1

    @property
    def mqtt(self) -> AsyncMqtt:
        """The client that is connected."""
        assert self._mqtt is not None
        return self._mqtt

    async def _connect(self) -> None:
        client = factory.create(self._backend, "bench")
        client.options = self.task.options.changed(max_inflight=self.task.window)
        self._scopes = AsyncExitStack()
        self._mqtt = await self._scopes.enter_async_context(AsyncMqtt(client))

    async def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        arrived = self.task.arrivals.arrived
        if len(topic_filters) == 1:
            stream = await self._stream(topic_filters[0], qos)

            async def read() -> None:
                async for _message in stream:
                    arrived()

            self._reading.add(asyncio.create_task(read()))
            return

        def on_message(_mqtt: Any, _userdata: Any, _message: MqttMsg) -> None:
            arrived()

        for topic_filter in topic_filters:
            self.mqtt.message_callback_add(topic_filter, on_message)
        await self.mqtt.subscribe([(topic_filter, qos) for topic_filter in topic_filters], timeout=PATIENCE)

    async def _stream(self, topic_filter: str, qos: int) -> Any:
        assert self._scopes is not None
        return await self._scopes.enter_async_context(self.mqtt.messages(topic_filter, qos))

    async def _publish(self, messages: int, qos: int) -> int:
        publish, topic, payload = self.mqtt.publish, self.task.topic, self.task.payload
        if qos == 0:
            done = 0
            with contextlib.suppress(JuhamError):  # the connection is lost, and with it the rest
                while done < messages:
                    await publish(topic, payload)
                    done += 1
            return done
        return await self.side_by_side(
            messages, lambda: publish(topic, payload, qos, timeout=PATIENCE), JuhamError
        )

    async def _ping_pong(self, messages: int, qos: int) -> list[float]:
        publish, topic, payload = self.mqtt.publish, self.task.topic, self.task.payload
        if qos != self._qos:
            self._qos = qos
            self._answers = aiter(await self._stream(self.task.pong_topic, qos))
        return await self.trips(messages, lambda: publish(topic, payload, qos), self._answers)

    async def _close(self) -> None:
        for task in self._reading:
            task.cancel()
        if self._scopes is not None:
            await self._scopes.aclose()

