"""The life of a client in an event loop: connecting, closing, and what is to end when it has given up."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Final

from juham_core.aio.answers import Answers
from juham_core.aio.dispatcher import LoopDispatcher
from juham_core.aio.message import AsyncMessage
from juham_core.aio.requests import Requests
from juham_core.aio.streams import Streams
from juham_core.aio.subscribing import Subscribing
from juham_core.aio.threads import Post, in_thread, running_loop
from juham_core.aio.watchdog import LoopWatchdog
from juham_core.connection import State
from juham_core.errors import ConnectError, NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.watchdog import watchdog
from juham_core.wire.properties import Properties

CANCEL_GRACE: Final = 1.0
"""Seconds that a cancelled connect waits for the library to let go; past that it does so by itself."""


class Life(ABC):
    """What :class:`~juham_core.aio.client.AsyncMqtt` does before and after it is of use."""

    def __init__(self, client: JMqtt) -> None:
        """Wrap a client that is not connected."""
        self.client: Final = client
        """The client underneath: the way out to all that has no asyncio face.

        What waits there would block the loop: ``wait`` of a receipt raises DeadlockError in the loop's
        thread, and ``disconnect_from_server`` should not be called there.
        """
        self.response_topic: str | None = None
        """Where answers to :meth:`request` come; made up when it is first needed, unless set before."""
        self._quick = 0
        self._attempt: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._up = False

    # --- connecting and closing ---------------------------------------------------------------------

    async def connect(self, timeout: float | None = None) -> None:
        """Connect as ``client.options`` say, and return once the broker has accepted.

        ``timeout`` in seconds, for the broker to answer, is by default the option ``connect_timeout``. Raises
        ConnectError if the client is connected already, or another task connects it, and else as
        :func:`juham_core.connect` does. Handlers run from then on; those that were set before are told of a
        failure, too: ``on_connect`` of a refusal.
        """
        client = self.client
        connecting = self._attempt is not None and not self._attempt.done()
        if connecting or client._connection.state is not State.CLOSED:
            now = "being connected" if connecting else client._connection.state.value
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

        attempt = self._attempt = in_thread(connect, f"juham-{client.name}-connecting")
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            abandoned = True
            closing = asyncio.ensure_future(self.close())
            await asyncio.wait([attempt, closing], timeout=CANCEL_GRACE)
            raise
        except BaseException:
            self._let_handlers_run()
            await self.close()
            raise
        self._let_handlers_run()

    def _let_handlers_run(self) -> None:
        if self._closing is None:  # else the loop may be theirs no longer
            self.client.loop_start()

    @abstractmethod
    def _make_requests(self) -> Requests:
        """The requests that live as long as the connection."""

    def _move_in(self) -> None:
        """Have all that the client reports come to the running loop."""
        client, loop = self.client, running_loop()
        self._loop = loop
        self._post = Post(loop)
        self._answers = Answers(loop)
        self._streams = Streams(client._statistics)
        self._requests = self._make_requests()
        self._subscribing = Subscribing(client, self._streams, self._answers)
        self._dispatcher = LoopDispatcher(
            client.name,
            client._delivery.router.report,
            self._streams,
            lambda message: AsyncMessage(message, client),
            self._requests.take,
            client._delivery.router.handlers_of,
            client._delivery.router.passed,
        )
        client._delivery.dispatch_by(self._dispatcher)
        if client.capabilities.callers_loop:
            client._run_in(loop)
        client._outgoing.loop_thread = client._delivery.turn.loop = threading.get_ident()
        client._connection.watch = self._on_state
        client._watchdog = LoopWatchdog()
        self._closing = None
        self._turn_ends = False
        self._up = True

    async def close(self) -> None:
        """Disconnect, as :meth:`~juham_core.jmqtt.JMqtt.disconnect_from_server` does; twice does no harm.

        Coroutine handlers get ``options.close_timeout`` seconds to end and are cancelled then, streams end
        after what they hold, and what is still awaited raises NotConnectedError.
        """
        if not self._up:
            return
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        untold = self._dispatcher.leave_behind() and self.client.is_connected()
        self._streams.begin_close()
        self._closing = in_thread(self.client.disconnect_from_server, f"juham-{self.client.name}-closing")
        self._closing.add_done_callback(self._move_out)
        await asyncio.shield(self._closing)
        if untold:  # the callback that closes is the last in its line, and the end would come after it
            await self._tell_of_end()

    async def _tell_of_end(self) -> None:
        delivery = self.client._delivery
        try:
            unfinished = delivery._disconnected(from_server=False, reason_code=0, properties=Properties())
            if isinstance(unfinished, Awaitable):
                await unfinished
        except Exception as exc:  # noqa: BLE001 - a handler's, which is no matter of whoever closes
            delivery.router.report(exc, "on_disconnect")

    def _move_out(self, _closing: asyncio.Future[None]) -> None:
        self._up = False
        error = NotConnectedError(f"the client {self.client.name!r} was closed")
        self._streams.end_all()
        self._answers.fail_all(error)
        self._requests.fail_all(error)
        self.client._outgoing.loop_thread = self.client._delivery.turn.loop = None
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
