"""AsyncMqtt: any backend's client, awaited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from juham_core.aio.handlers import AsyncHandler, EventHandler
from juham_core.aio.life import Life
from juham_core.aio.message import AsyncMessage
from juham_core.aio.requests import Requests
from juham_core.aio.streams import Stream
from juham_core.handlers import Handler
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.statistics import Statistics
from juham_core.subscribing import subscriptions_of

if TYPE_CHECKING:
    from typing_extensions import Self

YIELD_EVERY: Final = 32
"""Publishes that need not be waited for, after which the loop gets a turn."""


class AsyncMqtt(Life):
    """A client for coroutines. Everything but :attr:`client` belongs to the event loop it was connected in.

    ``async with AsyncMqtt(juham.create("paho")) as mqtt`` connects and closes;
    :func:`juham_core.aio.connect` makes the client, too. The loop is never blocked: what blocks runs in a
    thread. The errors are those of :class:`~juham_core.jmqtt.JMqtt`, raised where the call is awaited;
    cancelling a call leaves nothing of it behind, but a message that is on its way.
    """

    on_connect = EventHandler("on_connect")
    on_disconnect = EventHandler("on_disconnect")
    on_message = EventHandler("on_message")
    on_publish = EventHandler("on_publish")
    on_subscribe = EventHandler("on_subscribe")
    on_unsubscribe = EventHandler("on_unsubscribe")

    def _make_requests(self) -> Requests:
        return Requests(self, self._post)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def is_connected(self) -> bool:
        """True from an accepting CONNACK until the connection ends."""
        return self.client.is_connected()

    @property
    def statistics(self) -> Statistics:
        """What the client has done so far."""
        return self.client.statistics

    # --- publishing and subscribing -----------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: Any = None,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> PublishReceipt:
        """Publish a message, and return its receipt once it is delivered as its QoS promises.

        At QoS 0 that is when the library has it, at QoS 1 and 2 when the broker has acknowledged; without a
        connection they wait for one. If cancelled, or after ``timeout`` seconds, a message that has not gone
        to the library yet is withdrawn; one that has may still arrive.

        Raises what :meth:`~juham_core.jmqtt.JMqtt.publish` and its receipt raise: InvalidArgumentError,
        NotSupportedError, QueueFullError, NotConnectedError, PublishError, ReceiptTimeoutError; and
        ConnectError once the client has given up connecting.
        """
        self._check_up()
        outgoing = self.client._outgoing
        outgoing.gathering = threading.get_ident()
        try:
            receipt: PublishReceipt = self.client.publish(topic, payload, qos, retain, properties)
        finally:
            outgoing.gathering = None
        if outgoing.gathered and not self._turn_ends:
            self._turn_ends = True
            self._loop.call_soon(self._end_turn)
        if receipt._done:
            if receipt._error is not None:
                raise receipt._error
            self._quick += 1
            if self._quick % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            return receipt
        try:
            await self._answers.wait(receipt, timeout)
        except BaseException:
            self.client._withdraw(receipt)
            raise
        return receipt

    def _end_turn(self) -> None:
        self._turn_ends = False
        self.client._outgoing.hand_over()

    async def subscribe(
        self, topic: Any, qos: int = 0, options: Any = None, *, timeout: float | None = None
    ) -> dict[str, int]:
        """Subscribe, and return each topic filter with the QoS that the broker granted.

        The arguments are those of :meth:`~juham_core.jmqtt.JMqtt.subscribe`. Without a connection, waits for
        one. All or nothing: if the broker refuses any, if cancelled, or after ``timeout`` seconds, filters
        that were not subscribed to before are given up again. Raises SubscribeError, naming the filters, if
        the broker refuses any; TopicError, QosError, NotSupportedError, ReceiptTimeoutError,
        NotConnectedError and ConnectError.
        """
        self._check_up()
        return await self._subscribing.subscribe(subscriptions_of(topic, qos, options), timeout)

    async def unsubscribe(self, topic: Any, *, timeout: float | None = None) -> None:
        """End subscriptions to a filter or a list of filters, and return once the broker has said so.

        A filter that an open stream reads stays subscribed to until the stream is left. Raises TopicError,
        ReceiptTimeoutError, NotConnectedError and ConnectError.
        """
        self._check_up()
        await self._subscribing.unsubscribe(topic, timeout)

    def messages(
        self,
        topic: Any,
        qos: int = 0,
        options: Any = None,
        *,
        max_queued: int = 1024,
        overflow: str = "wait",
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Stream]:
        """A scope in which the messages that match come as a stream: ``async for message in stream``.

        Entering subscribes, as :meth:`subscribe` does and with the same errors; leaving unsubscribes, unless
        another stream, a callback of the same filter or :meth:`subscribe` wants the filter. Streams that
        overlap have every message each; one that goes to a stream does not go to ``on_message``. A filter
        that a wider subscription covers is read through that one, for the broker might send copies.

        ``max_queued`` messages may wait to be read, of ``max_received_bytes`` (an option) in all. What
        happens to one more is up to ``overflow``:

        - ``"wait"``: it waits, and with it all that has arrived later, for callbacks and other streams too,
          until somebody reads. ``max_received`` and, again, ``max_received_bytes`` bound what waits there.
        - ``"drop_oldest"``, ``"drop_newest"``: one is lost, and counted in ``stream.dropped``.
        - ``"raise"``: it is lost and counted, and the reader gets a QueueFullError where it is missing.
        """
        self._check_up()
        subscriptions, most = subscriptions_of(topic, qos, options), self.client.options.max_received_bytes
        stream = Stream(self._streams, subscriptions, max_queued, overflow, most)
        return self._subscribing.reading(stream, timeout)

    def message_callback_add(self, sub: str, callback: Handler) -> None:
        """Call ``callback(mqtt, userdata, message)``, a function or a coroutine function, for each match.

        Callbacks, ``on_message`` and the other handlers run in the loop, one at a time, in order: a coroutine
        ends before the next one begins. Exceptions are logged and counted. This routes; :meth:`subscribe`
        asks the broker.
        """
        self.client.message_callback_add(sub, AsyncHandler(self, callback))

    def message_callback_remove(self, sub: str, callback: Handler | None = None) -> None:
        """Remove one callback of a topic filter, or all of them; unknown ones do no harm."""
        self.client.message_callback_remove(sub, None if callback is None else AsyncHandler(self, callback))

    # --- request and response -----------------------------------------------------------------------

    async def request(
        self,
        topic: str,
        payload: Any = None,
        timeout: float | None = 10.0,
        *,
        qos: int = 1,
        properties: Mapping[str, Any] | None = None,
    ) -> AsyncMessage:
        """Publish a request, and return the answer (MQTT 5 section 4.10).

        It carries a response topic, which is this client's own and subscribed to once, and correlation data,
        by which the answer is known. Raises ReceiptTimeoutError if none has come after ``timeout`` seconds,
        NotSupportedError unless connected with ``protocol=5``, and what :meth:`subscribe` and
        :meth:`publish` raise.
        """
        self._check_up()
        return await self._requests.request(topic, payload, timeout, qos, properties)

    async def respond(
        self, request: MqttMsg, payload: Any = None, *, qos: int = 1, timeout: float | None = None
    ) -> PublishReceipt:
        """Answer a request: publish to its response topic, with its correlation data.

        Raises InvalidArgumentError if the message asks for no answer, and what :meth:`publish` raises.
        """
        topic, properties = self._requests.way_back(request)
        return await self.publish(topic, payload, qos, properties=properties, timeout=timeout)

    def __repr__(self) -> str:
        return f"<AsyncMqtt of {self.client!r}>"
