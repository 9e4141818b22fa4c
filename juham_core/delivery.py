"""From what the library reports to the application's handlers: hooks, bounds, and each in its turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from juham_core.dispatch import INLINE, Dispatcher
from juham_core.handlers import call_on_connect, call_on_disconnect, takes_five
from juham_core.hooks import hooks
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.router import Router
from juham_core.statistics import Statistics
from juham_core.transitions import Transitions
from juham_core.turn import Turn
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from juham_core.primitives import Backend

log = logging.getLogger("juham.delivery")


class Delivery:
    """The receiving half of one client."""

    def __init__(self, client: Backend, statistics: Statistics) -> None:
        self.limit = 1
        self.limit_bytes = 1
        self.blocks = True
        self._client = client
        self._statistics = statistics
        self.turn = Turn()
        """For receipts: the thread on which none of them may be waited for."""
        self.router = Router(client, statistics)
        self._deliver = self.router.deliver
        self._dispatcher = self.make_dispatcher()
        self._inline = False
        self._close_lock = threading.Lock()
        self._transitions = Transitions(statistics)
        self._telling = threading.Lock()  # guards the next two
        self.untold_publishes = 0
        """Calls of on_publish that wait for their turn."""
        self.untold_answers = 0
        """Calls of on_subscribe and on_unsubscribe that do."""
        self._in_on_connect = False
        self._full = False
        self._stands_still = self._told_of_it = False
        # Bytes of payload that have come to wait, which the library's thread counts, where the router counts
        # those whose turn has come on the dispatching thread: so neither needs a lock.
        self._bytes_put = 0

    @property
    def waiting(self) -> int:
        """Messages and events that wait for their handlers."""
        return self._dispatcher.waiting

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes of the messages that wait for their handlers."""
        return self._bytes_put - self.router.bytes_taken

    def has_room(self, count: int = 1) -> bool:
        """True if so many messages more may wait."""
        return self._dispatcher.waiting + count <= self.limit and self.waiting_bytes < self.limit_bytes

    @property
    def overweight(self) -> bool:
        """True if twice the bytes wait that may: then a backend that does not block should read no further.

        For one that leaves what is beyond the bound unacknowledged, and goes on reading what the broker's
        window still lets it send.
        """
        return self.waiting_bytes >= 2 * self.limit_bytes

    @property
    def inside_handler(self) -> bool:
        """True on the thread that runs the handlers."""
        return self._dispatcher.current

    @property
    def inside_inline(self) -> bool:
        """True in a handler that keeps the library's thread from everything else."""
        return self._inline and self._dispatcher.current

    @property
    def inside_on_connect(self) -> bool:
        """True inside the handler of an accepted connection."""
        return self._in_on_connect and self._dispatcher.current

    # --- the loop -----------------------------------------------------------------------------------

    def make_dispatcher(self, kind: str = "thread") -> Dispatcher:
        """A dispatcher as the option ``handlers`` names it; a client begins with one that has a thread."""
        name = f"juham-{self._client.name}-handlers"
        if kind == INLINE:
            from juham_core.inline import InlineDispatcher  # noqa: PLC0415  # making a client does without

            return InlineDispatcher(name, self.router.report, self.turn)
        return Dispatcher(name, self.router.report)

    def run_handlers(self, kind: str) -> bool:
        """Do as the option ``handlers`` says; False if the loop runs otherwise, as it does until it ends.

        While the client is closed. A dispatcher that was given by :meth:`dispatch_by` is left in its place.
        """
        old = self._dispatcher
        if old.kind is None or old.kind == kind:
            return True
        if old.running:
            return False
        self.dispatch_by(self.make_dispatcher(kind))
        for function, args in old.take_all():
            self._dispatcher.put(function, *args)
        return True

    def dispatch_by(self, dispatcher: Dispatcher) -> None:
        """Have another dispatcher run the handlers; only while the client is closed."""
        self._dispatcher = dispatcher
        self._inline = dispatcher.kind == INLINE

    @property
    def has_thread(self) -> bool:
        """True while a thread of this process waits for handlers to run."""
        return self._dispatcher.running and not self._inline

    def start(self) -> None:
        """Run handlers in a thread of their own."""
        self._dispatcher.start()

    def stop(self) -> None:
        """Run no further handler."""
        self._dispatcher.stop()

    def mind_the_loop(self) -> None:
        """Say so, once, if messages wait and nothing runs handlers, as at the call before this one."""
        stood_still = self._stands_still
        self._stands_still = not self._dispatcher.running and self.waiting_bytes > 0
        if self._stands_still and stood_still and not self._told_of_it:
            self._told_of_it = True
            log.warning(
                "%s: messages wait (%d), and nothing runs handlers: loop_start() or loop_forever() would",
                self._client.name,
                self.waiting,
            )

    def run_forever(self, ended: Callable[[], bool]) -> None:
        """Run handlers on this thread until the client is closed, if it has not ``ended``, or the loop is."""
        self._dispatcher.run(ended)

    def cease(self) -> None:
        """Inside a handler: let it be the last one, before the client is closed by another thread."""
        self.router.closed = True
        self._dispatcher.stop()
        self._forget()

    def _forget(self) -> None:
        tasks = self._dispatcher.take_all()
        forgotten = len(tasks)
        # Nothing comes any more that would count here as well.
        self._bytes_put -= sum(
            len(arguments[0].payload)
            for _, arguments in tasks
            if arguments and isinstance(arguments[0], MqttMsg)
        )
        self._transitions.forget()
        with self._telling:
            self.untold_publishes = self.untold_answers = 0
        if forgotten:
            self._statistics.dropped["closed"] += forgotten

    def close(self, timeout: float) -> None:
        """Let the handlers finish what waits, for at most ``timeout`` seconds; then none runs any more."""
        with self._close_lock:  # another thread's close would forget what this one waits for
            if not self._dispatcher.drain(timeout):
                log.warning("%s: closed with handlers unfinished after %.1f s", self._client.name, timeout)
            self.router.closed = True
            self._forget()
            if not self._dispatcher.stop(timeout=timeout):
                log.error("%s: a handler still runs after the client was closed", self._client.name)

    # --- what happens, on the library's thread ------------------------------------------------------

    def connected(
        self, session_present: bool, reason_code: int, old_code: int, properties: Properties
    ) -> Callable[[], None]:
        """Put the broker's verdict in the queue; its handler runs once the function returned is called."""
        self.router.closed = False
        call = self._connected, (session_present, reason_code, old_code, properties)
        return self._transitions.connecting(self._dispatcher, accepted=reason_code == 0, call=call)

    def disconnected(self, from_server: bool, reason_code: int, properties: Properties | None) -> None:
        """Put the end of a connection in the queue; inside a handler, handle it at once."""
        arguments = (from_server, reason_code, properties if properties is not None else Properties())
        if self._dispatcher.current:
            self._disconnected(*arguments)
        else:
            self._transitions.ended(self._dispatcher, (self._disconnected, arguments))

    def received(self, message: MqttMsg) -> bool:
        """Put a message in the queue, past the hooks and within the bound; False if there was no room."""
        statistics, size = self._statistics, len(message.payload)
        statistics.received += 1
        statistics.bytes_received += size
        if hooks.received:
            changed = hooks.replace("received", self._client, message)
            if changed is None:
                self._statistics.dropped["hook"] += 1
                self._client._ack_unseen(message)
                return True
            message = _in_place_of(message, changed)
            size = len(message.payload)
        dispatcher = self._dispatcher
        if self._inline:
            self._bytes_put += size  # whose turn has come at once
            if dispatcher.deliver_now(self._deliver, message):
                return True
            self._bytes_put -= size
        if dispatcher.waiting >= self.limit or self._bytes_put - self.router.bytes_taken >= self.limit_bytes:
            if not self._make_room(message):
                return False
        elif self._full:
            self._full = False
        self._bytes_put += size
        if not dispatcher.put_message(self._deliver, message):
            self._bytes_put -= size
        return True

    def received_many(self, messages: list[MqttMsg]) -> None:
        """Put messages in the queue, each as :meth:`received` does."""
        size = sum([len(message.payload) for message in messages])
        if (
            hooks.received
            or self._dispatcher.waiting + len(messages) > self.limit
            or self.waiting_bytes + size > self.limit_bytes
        ):
            for message in messages:
                self.received(message)
            return
        self._full = False
        statistics = self._statistics
        statistics.received += len(messages)
        statistics.bytes_received += size
        self._bytes_put += size
        put, deliver = self._dispatcher.put_message, self._deliver
        delivered = self._dispatcher.deliver_many(deliver, messages)
        for message in messages[delivered:] if delivered else messages:
            if not put(deliver, message):
                self._bytes_put -= len(message.payload)

    def after(self, function: Callable[[], None]) -> None:
        """Have a function called on the dispatching thread once all that has been received is handled."""
        self._dispatcher.put(function)

    def published(self, receipt: PublishReceipt, properties: Properties | None) -> None:
        """Put the end of a publish in the queue."""
        with self._telling:
            self.untold_publishes += 1
        self._dispatcher.put(self._published, receipt, properties if properties is not None else Properties())

    def answered(self, event: str, mid: int, codes: list[int], properties: Properties | None) -> None:
        """Put a SUBACK or UNSUBACK in the queue."""
        with self._telling:
            self.untold_answers += 1
        self._dispatcher.put(
            self._answered, event, mid, codes, properties if properties is not None else Properties()
        )

    def _make_room(self, message: MqttMsg) -> bool:
        """Past the bound, QoS 0 is dropped, as brokers do; what the broker will not repeat waits."""
        if message.qos == 0:
            self._statistics.dropped["receive queue full"] += 1
            if not self._full:
                self._full = True
                log.error(
                    "%s: %d received messages of %d bytes wait for their handlers (max_received=%d, "
                    "max_received_bytes=%d): dropping QoS 0",
                    self._client.name,
                    self._dispatcher.waiting,
                    self.waiting_bytes,
                    self.limit,
                    self.limit_bytes,
                )
            return False
        connection = self._client._connection
        return not self.blocks or self._dispatcher.wait_for_room(self.has_room, lambda: connection.closing)

    # --- what the application sees, on the dispatching thread ---------------------------------------

    def _connected(
        self, session_present: bool, reason_code: int, old_code: int, properties: Properties
    ) -> Any:
        handler = self._client._get_handler("on_connect")
        if handler is None:
            return None
        self._in_on_connect = reason_code == 0
        unfinished = False
        try:
            result = call_on_connect(
                handler,
                self._client,
                self._client.user_data_get(),
                session_present,
                reason_code,
                old_code,
                properties,
            )
            unfinished = isinstance(result, Awaitable)
        finally:
            self._in_on_connect = self._in_on_connect and unfinished
        return self._finish_on_connect(result) if unfinished else None

    async def _finish_on_connect(self, unfinished: Awaitable[Any]) -> None:
        try:
            await unfinished
        finally:
            self._in_on_connect = False

    def _disconnected(self, from_server: bool, reason_code: int, properties: Properties) -> Any:
        handler = self._client._get_handler("on_disconnect")
        if handler is None:
            return None
        try:
            return call_on_disconnect(
                handler, self._client, self._client.user_data_get(), from_server, reason_code, properties
            )
        except Exception as exc:  # noqa: BLE001 - reported like any handler's; it may be called while closing
            self.router.report(exc, "on_disconnect")
            return None

    def _published(self, receipt: PublishReceipt, properties: Properties) -> Any:
        with self._telling:
            self.untold_publishes = max(0, self.untold_publishes - 1)
        handler = self._client._get_handler("on_publish")
        if handler is None:
            return None
        userdata = self._client.user_data_get()
        if takes_five(handler):
            code = receipt.reason_code or ReasonCode(0)
            return handler(self._client, userdata, receipt.mid, code, properties)
        return handler(self._client, userdata, receipt.mid)

    def _answered(self, event: str, mid: int, codes: list[int], properties: Properties) -> Any:
        with self._telling:
            self.untold_answers = max(0, self.untold_answers - 1)
        handler = self._client._get_handler(event)
        if handler is None:
            return None
        userdata = self._client.user_data_get()
        if takes_five(handler):
            return handler(self._client, userdata, mid, [ReasonCode(code) for code in codes], properties)
        if event == "on_subscribe":
            return handler(self._client, userdata, mid, tuple(codes))
        return handler(self._client, userdata, mid)


def _in_place_of(message: MqttMsg, changed: MqttMsg) -> MqttMsg:
    """What a plugin made of a message, delivered and to be acknowledged as that was."""
    if changed is message:
        return message
    # A new one: a plugin may return the same for every message.
    return MqttMsg(
        changed.topic,
        changed.payload,
        message.qos,
        changed.retain,
        message.dup,
        message.mid,
        changed._properties,
    )
