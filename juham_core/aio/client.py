"""AsyncMqtt: any backend's client, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from juham_core.aio.answers import Answers
from juham_core.aio.dispatcher import LoopDispatcher
from juham_core.aio.handlers import AsyncHandler, EventHandler
from juham_core.aio.message import AsyncMessage
from juham_core.aio.requests import Requests
from juham_core.aio.streams import Stream, Streams
from juham_core.aio.subscribing import Subscribing
from juham_core.aio.threads import Post, in_thread
from juham_core.aio.watchdog import LoopWatchdog
from juham_core.connection import State
from juham_core.errors import ConnectError, NotConnectedError
from juham_core.handlers import Handler
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.statistics import Statistics
from juham_core.subscribing import subscriptions_of
from juham_core.watchdog import watchdog

if TYPE_CHECKING:
    from typing_extensions import Self

YIELD_EVERY: Final = 32
"""Publishes that need not be waited for, after which the loop gets a turn."""
CANCEL_GRACE: Final = 1.0
"""Seconds that a cancelled connect waits for the library to let go; past that it does so by itself."""


class AsyncMqtt:
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

    def __init__(self, client: JMqtt) -> None:
        """Wrap a client that is not connected."""
        self.client: Final = client
        """The client underneath: the way out to all that has no asyncio face.

        What waits there (``wait`` of a receipt, ``disconnect_from_server``) would block the loop.
        """
        self.response_topic: str | None = None
        """Where answers to :meth:`request` come; made up when it is first needed, unless set before."""
        self._quick = 0
        self._closing: asyncio.Future[None] | None = None
        self._up = False

    # --- connecting and closing ---------------------------------------------------------------------

    async def connect(self, timeout: float | None = None) -> None:
        """Connect as ``client.options`` say, and return once the broker has accepted.

        ``timeout`` in seconds, for the broker to answer, is by default the option ``connect_timeout``. Raises
        ConnectError if the client is connected already, and else as :func:`juham_core.connect` does.
        """
        client = self.client
        if client._connection.state is not State.CLOSED:
            now = client._connection.state.value
            raise ConnectError(f"the client {client.name!r} is {now}: AsyncMqtt connects it itself")
        self._move_in()

        abandoned = False

        def connect() -> None:
            if not abandoned:
                client.connect_to_server()
            if abandoned:  # closing may have come before there was anything to close
                client.disconnect_from_server()
            else:
                client.wait_until_connected(timeout)

        attempt = in_thread(connect, f"juham-{client.name}-connecting")
        try:
            await asyncio.shield(attempt)
        except BaseException:
            abandoned = True
            closing = asyncio.ensure_future(self.close())
            await asyncio.wait([attempt, closing], timeout=CANCEL_GRACE)
            raise
        client.loop_start()

    def _move_in(self) -> None:
        """Have all that the client reports come to the running loop."""
        client, loop = self.client, asyncio.get_running_loop()
        self._loop = loop
        self._post = Post(loop)
        self._answers = Answers(client, self._post, loop)
        self._streams = Streams(client._statistics)
        self._requests = Requests(self, self._post)
        self._subscribing = Subscribing(client, self._streams, self._answers)
        self._dispatcher = LoopDispatcher(
            client.name,
            client._delivery._report,
            self._streams,
            lambda message: AsyncMessage(message, client),
            self._requests.take,
        )
        client._delivery.dispatch_by(self._dispatcher)
        if client.capabilities.callers_loop:
            client._run_in(loop)
        client._connection.watch = self._on_state
        client._watchdog = LoopWatchdog()
        self._closing = None
        self._up = True

    async def close(self) -> None:
        """Disconnect, as :meth:`~juham_core.jmqtt.JMqtt.disconnect_from_server` does; twice does no harm.

        Coroutine handlers get ``options.close_timeout`` seconds to end and are cancelled then, streams end
        after what they hold, and what is still awaited raises NotConnectedError.
        """
        if not self._up:
            return
        if self._closing is None:
            self._dispatcher.leave_behind()
            self._streams.begin_close()
            self._closing = in_thread(
                self.client.disconnect_from_server, f"juham-{self.client.name}-closing"
            )
            self._closing.add_done_callback(self._move_out)
        await asyncio.shield(self._closing)

    def _move_out(self, _closing: asyncio.Future[None]) -> None:
        self._up = False
        error = NotConnectedError(f"the client {self.client.name!r} was closed")
        self._streams.end_all()
        self._answers.fail_all(error)
        self._requests.fail_all(error)
        self.client._connection.watch = None
        self.client._watchdog = watchdog
        if self.client.capabilities.callers_loop:
            self.client._run_in(None)
        self.client._delivery.dispatch_by(self.client._delivery.make_dispatcher())

    def _on_state(self, state: State) -> None:
        if state is State.STOPPED:  # on whichever thread noticed
            self._post.call(self._give_up)

    def _give_up(self) -> None:
        error = self._given_up()
        if error is not None and self._closing is None:
            self._streams.end_all(error)
            self._answers.fail_all(error)
            self._requests.fail_all(error)

    def _given_up(self) -> ConnectError | None:
        connection = self.client._connection
        if connection.state is not State.STOPPED:
            return None
        return connection.error or ConnectError(f"the client {self.client.name!r} has given up connecting")

    def _check_up(self) -> None:
        """Raise unless there is a connection, or there will be one."""
        if not self._up:
            raise NotConnectedError(f"the client {self.client.name!r} is closed: connect() comes first")
        error = self._given_up()
        if error is not None:
            raise error

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
        receipt: PublishReceipt = self.client.publish(topic, payload, qos, retain, properties)
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

    async def subscribe(
        self, topic: Any, qos: int = 0, options: Any = None, *, timeout: float | None = None
    ) -> dict[str, int]:
        """Subscribe, and return each topic filter with the QoS that the broker granted.

        The arguments are those of :meth:`~juham_core.jmqtt.JMqtt.subscribe`. Without a connection, waits for
        one. If cancelled, or after ``timeout`` seconds, filters that were not subscribed to before are given
        up again. Raises SubscribeError, naming the filters, if the broker refuses any; TopicError, QosError,
        NotSupportedError, ReceiptTimeoutError, NotConnectedError and ConnectError.
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

        ``max_queued`` messages may wait to be read. What happens to one more is up to ``overflow``:

        - ``"wait"``: it waits, and with it all that has arrived later, for callbacks and other streams too,
          until somebody reads. The option ``max_received`` bounds what waits.
        - ``"drop_oldest"``, ``"drop_newest"``: one is lost, and counted in ``stream.dropped``.
        - ``"raise"``: it is lost and counted, and the reader gets a QueueFullError where it is missing.
        """
        self._check_up()
        stream = Stream(self._streams, subscriptions_of(topic, qos, options), max_queued, overflow)
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
