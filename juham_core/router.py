"""Which handlers a message goes to, by the filters they were added with, and calling them.

They are called on the dispatching thread. What a handler returns is passed on, for a dispatcher of the
asyncio face awaits what is awaitable.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from juham_core.filtertree import FilterTree
from juham_core.handlers import Handler
from juham_core.hooks import hooks
from juham_core.message import MqttMsg
from juham_core.statistics import Statistics
from juham_core.topics import check_filter, split_share

if TYPE_CHECKING:
    from juham_core.primitives import Backend

log = logging.getLogger("juham.delivery")
MOST_PLANS: Final = 10_000
"""Topics whose handlers are remembered."""


class Router:
    """The handlers of one client's messages."""

    def __init__(self, client: Backend, statistics: Statistics) -> None:
        self.closed = False
        """True once no handler is to run any more."""
        self.bytes_taken = 0
        """Payload bytes of the messages whose turn has come; only the dispatching thread counts them."""
        self.routes: FilterTree[Handler] = FilterTree()
        self._client = client
        self._statistics = statistics
        # The handlers of topics that have come lately; replaced, never emptied, when the routes change, for a
        # thread that has just looked into them may still be about to enter what it found.
        self._plans: dict[str, list[Handler]] = {}
        self._on_message: tuple[Handler | None, list[Handler]] = (None, [])
        self._told = False
        self._routes_lock = threading.Lock()

    def add(self, topic_filter: str, handler: Handler) -> None:
        """Route messages that match the filter to the handler."""
        if not callable(handler):
            raise TypeError(f"message_callback_add takes a function, not {type(handler).__name__}")
        _, plain = split_share(check_filter(topic_filter))
        with self._routes_lock:
            self.routes.add(plain, handler)
            self._plans = {}

    def remove(self, topic_filter: str, handler: Handler | None) -> None:
        """Undo :meth:`add`."""
        _, plain = split_share(check_filter(topic_filter))
        with self._routes_lock:
            self.routes.remove(plain, handler)
            self._plans = {}

    def handlers_of(self, topic: str) -> list[Handler]:
        """The handlers whose filters match the topic."""
        plans = self._plans
        handlers = plans.get(topic)
        return handlers if handlers is not None else self._plan(plans, topic)

    def passed(self, message: MqttMsg) -> None:
        """Take note that a message waits no longer, though no handler of ours gets it."""
        self.bytes_taken += len(message.payload)

    def deliver(self, message: MqttMsg, fall_back: bool = True) -> Awaitable[None] | None:
        """Call the handlers of a message; ``fall_back`` to on_message where no filter matches."""
        self.bytes_taken += len(message.payload)
        plans = self._plans
        handlers = plans.get(message.topic)
        if handlers is None:
            handlers = self._plan(plans, message.topic)
        if not handlers:
            if not fall_back:
                return None
            handlers = self._fall_back()
            if not handlers:
                self._drop(message)
                return None
        if len(handlers) != 1 or hooks.handled:
            return self._call_all(handlers, message)
        if self.closed:
            return None
        # As _call_with_message() does, without its call: this is the way of most messages.
        client, handler = self._client, handlers[0]
        try:
            result = handler(client, client._userdata, message)
        except Exception as exc:  # noqa: BLE001 - a handler that fails must not keep the next message from coming
            self.report(exc, f"the handler of {message.topic!r}")
            return None
        if result is not None and isinstance(result, Awaitable):
            return self._await_handler(handler, result, message, 0.0)
        self._statistics.handled += 1
        return None

    def _drop(self, message: MqttMsg) -> None:
        self._statistics.dropped["no handler"] += 1
        if message.qos and not self._told and self._client._in_force.manual_ack:
            self._told = True
            log.warning(
                "%s: there is no handler for %r, so nobody acknowledges this message of QoS %d (manual_ack): "
                "the broker keeps it for the session's next connection, and sends no more once it keeps as "
                "many as it may; add a handler, or unsubscribe",
                self._client.name,
                message.topic,
                message.qos,
            )

    def _call_all(self, handlers: list[Handler], message: MqttMsg) -> Awaitable[None] | None:
        for position, handler in enumerate(handlers):
            if self.closed:
                return None
            unfinished = self._call_with_message(handler, message)
            if unfinished is not None:
                return self._finish(unfinished, handlers[position + 1 :], message)
        return None

    def _plan(self, plans: dict[str, list[Handler]], topic: str) -> list[Handler]:
        """Find the handlers whose filters match, and keep them while neither these nor the topics change."""
        handlers = self.routes.match(topic) if self.routes else []
        if len(plans) >= MOST_PLANS:
            plans.clear()
        plans[topic] = handlers
        return handlers

    def _fall_back(self) -> list[Handler]:
        """The handler on_message, as the backend has it called; kept until another one is set."""
        handler = self._client._event_handlers.get("on_message")
        known, handlers = self._on_message
        if known is not handler or handler is None:
            called = self._client._get_handler("on_message")
            handlers = [] if called is None else [called]
            self._on_message = handler, handlers
        return handlers

    async def _finish(
        self, unfinished: Awaitable[None] | None, handlers: list[Handler], message: MqttMsg
    ) -> None:
        """Await a handler, and then call those that come after it."""
        if unfinished is not None:
            await unfinished
        for handler in handlers:
            if self.closed:
                return
            unfinished = self._call_with_message(handler, message)
            if unfinished is not None:
                await unfinished

    def _call_with_message(self, handler: Handler, message: MqttMsg) -> Awaitable[None] | None:
        started = time.perf_counter() if hooks.handled else 0.0
        failure: Exception | None = None
        try:
            result = handler(self._client, self._client._userdata, message)
            if result is not None and isinstance(result, Awaitable):
                return self._await_handler(handler, result, message, started)
        except Exception as exc:  # noqa: BLE001 - as above
            failure = exc
        self._ended(handler, message, started, failure)
        return None

    async def _await_handler(
        self, handler: Handler, result: Awaitable[Any], message: MqttMsg, started: float
    ) -> None:
        failure: Exception | None = None
        try:
            await result
        except Exception as exc:  # noqa: BLE001 - as above
            failure = exc
        self._ended(handler, message, started, failure)

    def _ended(
        self, handler: Handler, message: MqttMsg, started: float, failure: Exception | None
    ) -> None:
        if failure is None:
            self._statistics.handled += 1
        else:
            self.report(failure, f"the handler of {message.topic!r}")
        if hooks.handled:
            hooks.notify(
                "handled",
                client=self._client,
                message=message,
                handler=handler,
                seconds=time.perf_counter() - started,
                exception=failure,
            )

    def report(self, error: BaseException, what: str = "a handler") -> None:
        """Count and log what a handler has raised."""
        self._statistics.handler_errors += 1
        log.error("%s: %s raised %r", self._client.name, what, error, exc_info=error)
