"""Request and response (MQTT 5 section 4.10): answers are known by their correlation data."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from juham_core.aio.message import AsyncMessage
from juham_core.aio.threads import Post
from juham_core.errors import InvalidArgumentError, JuhamError, NotSupportedError, ReceiptTimeoutError
from juham_core.message import MqttMsg
from juham_core.topics import check_topic
from juham_core.wire.packets import MQTT_5
from juham_core.wire.properties import Properties

if TYPE_CHECKING:
    from juham_core.aio.client import AsyncMqtt


class Requests:
    """The requests of one client that wait for their answers. Belongs to the loop but for :meth:`take`."""

    def __init__(self, mqtt: AsyncMqtt, post: Post) -> None:
        self._mqtt = mqtt
        self._post = post
        self._topic: str | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[AsyncMessage]] = {}
        self._ready: asyncio.Task[Any] | None = None

    async def request(
        self,
        topic: str,
        payload: Any,
        timeout: float | None,
        qos: int,
        properties: Mapping[str, Any] | None,
    ) -> AsyncMessage:
        """See :meth:`~juham_core.aio.client.AsyncMqtt.request`."""
        if self._mqtt.client.options.protocol < MQTT_5:
            raise NotSupportedError("request() needs MQTT 5: connect with the option protocol=5")
        loop = asyncio.get_running_loop()
        key = b"%x" % next(self._numbers)
        answer: asyncio.Future[AsyncMessage] = loop.create_future()
        self._waiting[key] = answer
        timer = None
        if timeout is not None:
            timer = loop.call_later(max(0.0, timeout), _expire, answer, topic, timeout)
        asking = loop.create_task(self._ask(topic, payload, qos, properties, key))
        try:
            # Whichever comes first: an answer may overtake the acknowledgement of its request.
            first: list[asyncio.Future[Any]] = [asking, answer]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                asking.result()
            return await answer
        finally:
            del self._waiting[key]
            if timer is not None:
                timer.cancel()
            answer.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
            if not asking.cancelled():
                asking.exception()  # the answer, or its absence, says more

    async def _ask(
        self, topic: str, payload: Any, qos: int, properties: Mapping[str, Any] | None, key: bytes
    ) -> None:
        response_topic = await self._listen()
        wanted = Properties(properties)
        wanted["response_topic"] = response_topic
        wanted["correlation_data"] = key
        await self._mqtt.publish(topic, payload, qos, properties=wanted)

    async def _listen(self) -> str:
        """Subscribe to the answers, the first time; the task is everybody's and outlives who began it."""
        if self._topic is None:
            wanted = self._mqtt.response_topic or f"juham/responses/{secrets.token_hex(8)}"
            self._topic = self._mqtt.response_topic = check_topic(wanted)
        if self._ready is None or (self._ready.done() and _failed(self._ready)):
            self._ready = asyncio.get_running_loop().create_task(self._mqtt.subscribe(self._topic, qos=1))
        await asyncio.shield(self._ready)
        return self._topic

    def take(self, message: AsyncMessage) -> bool:
        """Take a message that is an answer, past all queues; on the library's thread."""
        if message.topic != self._topic:
            return False
        self._post.call(self._settle, message)
        return True

    def _settle(self, message: AsyncMessage) -> None:
        answer = self._waiting.get(message.properties.get("correlation_data", b""))
        if answer is not None and not answer.done():
            answer.set_result(message)
        else:
            self._mqtt.client._statistics.dropped["late answer"] += 1
        self._mqtt.client._ack_unseen(message)

    def fail_all(self, error: JuhamError) -> None:
        """End all waiting: no answer will come."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        if self._ready is not None and not self._ready.done():
            self._ready.cancel()

    @staticmethod
    def way_back(request: MqttMsg) -> tuple[str, Properties]:
        """Where the answer to a request goes, and what it has to carry."""
        asked = request.properties
        topic = asked.get("response_topic")
        if not topic:
            raise InvalidArgumentError(f"the message to {request.topic!r} has no response_topic to answer to")
        return topic, Properties(
            {"correlation_data": asked["correlation_data"]} if "correlation_data" in asked else {}
        )


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


def _expire(answer: asyncio.Future[AsyncMessage], topic: str, timeout: float) -> None:
    if not answer.done():
        answer.set_exception(
            ReceiptTimeoutError(f"nobody answered the request to {topic!r} within {timeout} s")
        )
