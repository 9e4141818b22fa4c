"""JMqtt: what an MQTT client is, written once, and the behaviour that all backends share.

A backend derives from :class:`JMqtt` and implements the primitives of :mod:`juham_core.primitives`. The rest
is here, or in the parts it puts together (connection, outgoing, ledger, delivery), so that a program behaves
the same on every backend.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from juham_core import process
from juham_core.connection import CONNECTED, State
from juham_core.defaults import HOST, KEEPALIVE, PORT, given
from juham_core.errors import (
    JuhamError,
    NotConnectedError,
    NotSupportedError,
    OptionError,
    PublishError,
    QueueFullError,
    translated,
)
from juham_core.events import Events
from juham_core.guards import Guards
from juham_core.hooks import hooks
from juham_core.message import (
    RC_NO_CONN,
    MqttMsg,
    PublishReceipt,
    SubscribeReceipt,
    UnsubscribeReceipt,
    check_qos,
    closed_error,
    encode_payload,
)
from juham_core.options import Options
from juham_core.statistics import Statistics
from juham_core.subscribing import filters_of, subscriptions_of
from juham_core.topics import known
from juham_core.vocabulary import Vocabulary
from juham_core.wire.properties import Properties
from juham_core.wire.terms import MAX_PAYLOAD

if TYPE_CHECKING:
    from typing_extensions import Self


class JMqtt(Vocabulary, Events, Guards):
    """An MQTT client over some library.

    **Threads.** Every public method may be called from any thread, from a handler, and before or after
    connecting. Handlers run one at a time, in the order in which things happened, on the client's dispatching
    thread (:meth:`loop_start`) or inside :meth:`loop_forever`; a slow one does not keep the client from its
    keepalive. One that raises is logged with its traceback and counted, and the next message comes.

    **Processes.** A connection belongs to the process that made it. In the child of a fork a client that was
    connected, or whose loop was started, before raises :class:`~juham_core.errors.NotConnectedError`, and
    closing it does nothing. At the end of a program that has not closed its client, what may be lost of its
    publishes is logged.

    **Inline.** With the option ``handlers="inline"`` there is no dispatching thread: a handler runs on the
    thread (or in the event loop) on which the library reports what happened, with no queue between; for
    ``on_publish`` at QoS 0, for "memory", and for what has waited until :meth:`loop_start`, that is the
    calling thread. All of the above holds but one thing: a slow handler keeps the client from its keepalive,
    and from everything else. So a handler must not wait: for a receipt of its own client, or for its
    connection, it cannot, which raises :class:`~juham_core.errors.DeadlockError` at once; for a lock that is
    held by whoever calls the client, it would wait for ever. What waits while the loop is stopped is handled
    first, in order.

    **Connections** come back by themselves, with exponential back-off and jitter between ``reconnect_min``
    and ``reconnect_max`` seconds, and bring the subscriptions with them. That ends when the broker refuses
    the credentials or another client takes the client identifier over.

    **Bad input** raises a :class:`~juham_core.errors.InvalidArgumentError` at the call, before anything is
    sent. So do control characters, such as a line break, and code points that are no characters, in topics,
    filters and properties: a broker may end the connection for them (MQTT 5 section 1.5.4), and with each
    next one again. Payloads may have any. What the backend or the protocol version lacks raises
    :class:`~juham_core.errors.NotSupportedError`.
    """

    contract_version: ClassVar[int] = 1
    """The version of this contract that a backend was written for."""
    library: ClassVar[str] = ""
    """The distribution of the client library underneath, for people who ask what they run on."""
    _constants: ClassVar[frozenset[str]] = frozenset({"contract_version", "capabilities", "library"})
    backend: str | None = None
    """Class configuration of JMqtt itself: the backend to use where nothing else names one."""

    def __init__(self, name: str = "mqtt") -> None:
        """Make a client that is not connected. ``name`` shows in logs and begins the client identifier."""
        super().__init__()
        self._set_up(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        self._apply_bounds()
        process.look_after(self)
        hooks.load()
        if hooks.created:
            hooks.notify("created", client=self)

    # --- settings -----------------------------------------------------------------------------------

    @property
    def options(self) -> Options:
        """The options of the connection; assigning checks them against the backend's capabilities."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        self._require(options)
        self._options = options
        self._apply_bounds()

    @property
    def statistics(self) -> Statistics:
        """What the client has done so far."""
        counts = self._statistics
        counts.queued = self._outgoing.queued
        counts.in_flight = self._outgoing.in_flight
        counts.resent = self._outgoing.resent
        counts.bytes_sent = self._bytes_sent + self._outgoing.bytes_sent
        counts.outbox_messages, counts.outbox_bytes = self._outgoing.stored
        counts.requests = len(self._open_requests)
        counts.untold = self._delivery.untold_publishes + self._delivery.untold_answers
        counts.waiting = self._delivery.waiting
        counts.waiting_bytes = self._delivery.waiting_bytes
        counts.short_lived = self._connection.short_lived
        return counts

    @property
    def native(self) -> Any:
        """The client object of the library underneath: the documented way out. None before it exists."""
        return None

    @property
    def client_id(self) -> str:
        """The client identifier of the connection (MQTT 5 section 3.1.3.1)."""
        return self._options.client_id or self._own_id or ""

    @property
    def server(self) -> str | None:
        """The server that the client is connected to, or is asking, as ``mqtt://host:port``; or None.

        Of several servers in the options it is the one whose turn it is.
        """
        standing = self._connection.state in (State.OPENING, State.CONNECTED)
        return self._attempted.describe() if standing else None

    # --- connecting ---------------------------------------------------------------------------------

    def connect_to_server(
        self,
        host: str = HOST,
        port: int = PORT,
        keepalive: int = KEEPALIVE,
        bind_address: str = "",
        clean_start: bool = True,
        properties: Mapping[str, Any] | None = None,
    ) -> int:
        """Connect to a broker: return 0 once the transport stands and CONNECT is on its way.

        The broker's verdict comes to ``on_connect`` and to :meth:`wait_until_connected`. What is not given is
        taken from :attr:`options`. ``keepalive`` is in seconds; ``clean_start=False`` asks for the session of
        an earlier connection (MQTT 5 section 3.1.2.4); ``properties`` go into CONNECT, MQTT 5 only. Handlers
        run once :meth:`loop_start` or :meth:`loop_forever` is called.

        Of several servers, each gets ``options.connect_timeout`` seconds, in the order of the options, until
        one is reached. Raises ConnectError if there is no transport to any, naming each and why, or if the
        client is connected already; OptionError and NotSupportedError before anything is tried.
        """
        changes: dict[str, Any] = {
            **given(host=host, port=port, keepalive=keepalive),
            **({"bind_address": bind_address} if bind_address else {}),
            **({} if clean_start else {"clean_start": False}),
            **({"properties": Properties(properties)} if properties else {}),
        }
        if changes:
            self.options = self._options.changed(**changes)
        self._require(self._options)
        if not self._delivery.run_handlers(self._options.handlers):
            raise OptionError(
                f"handlers={self._options.handlers!r} was set while the loop runs: loop_stop() comes first"
            )
        self._connection.open(self._prepare)
        return 0

    def _prepare(self) -> None:
        """Before the first attempt."""
        self._require_sendable(self._outgoing.open())
        if self._own_id is None or self._options.client_id is not None:
            self._own_id = self._options.with_client_id(self.name).client_id

    def connect(
        self,
        host: str = HOST,
        port: int = PORT,
        keepalive: int = KEEPALIVE,
        bind_address: str = "",
        bind_port: int = 0,
        clean_start: bool | int = True,
        properties: Any = None,
    ) -> Any:
        """Paho's name and order of arguments for :meth:`connect_to_server`."""
        if bind_port:
            raise NotSupportedError("only some libraries bind to a local port: see client.native")
        return self.connect_to_server(host, port, keepalive, bind_address, bool(clean_start), properties)

    def wait_until_connected(self, timeout: float | None = None) -> None:
        """Block until the broker has accepted the connection.

        ``timeout`` in seconds, default ``options.connect_timeout`` for each server. Raises AuthError as soon
        as a server refuses the credentials, ConnectError as soon as all have refused or the connection to
        the last has ended, ConnectTimeoutError when the time is over, and DeadlockError in a handler that
        runs inline, as long as no broker has answered.
        """
        if self._connection.state is State.OPENING:
            self._delivery.turn.check_may_wait("the connection")
        if timeout is None:
            timeout = self._options.connect_timeout * len(self._options.targets)
        self._connection.wait(timeout)

    def is_connected(self) -> bool:
        """True from an accepting CONNACK until the connection ends."""
        return self._connection.state is State.CONNECTED

    def disconnect_from_server(self) -> None:
        """Disconnect, deliberately: the broker sends no will (MQTT 5 section 3.14).

        Publishes under way get ``options.close_timeout`` seconds to be acknowledged, and received messages as
        long to be handled. Then every receipt is resolved (failed, if it must be), ``on_disconnect`` has been
        called, no handler runs any more, and no thread, task, socket or file is left. Calling it again does
        nothing. Called inside a handler, it returns with everything closed but the handler itself; where that
        runs inline, it is the last one, the client is connected no longer, and the rest is done by a thread
        that ends with it, for the library's own is busy with the handler. So it is inside a receipt's
        callback and a hook that tells of a connection or a publish, but for handlers, which go on as in any
        close. Until all that is done, connecting raises ConnectError, in ``on_disconnect`` too.

        On the main thread another one does the work, and this one waits for it: what a signal's handler
        raises, KeyboardInterrupt for one, ends the wait for the broker's answers, and is raised once the rest
        is done. Raised again, it is raised at once.
        """
        delivery = self._delivery
        here = delivery.inside_handler or delivery.turn.telling or self._connection.opening_here
        if here or threading.current_thread() is not threading.main_thread():
            self._disconnect()
        else:
            from juham_core.apart import apart  # noqa: PLC0415  # making a client does without

            apart(self._disconnect, self._outgoing.stop, f"juham-{self.name}-closing")

    def _disconnect(self) -> None:
        told = self._delivery.turn.telling
        if not self._connection.begin_close():
            if not (self._delivery.inside_handler or told):
                # Publishes have that long, and then handlers.
                self._connection.wait_closed(2 * self._options.close_timeout)
                self._close_unconnected()
                closing = self._closing_thread
                if closing is not None and closing is not threading.current_thread():
                    closing.join(self._options.close_timeout)
            return
        if not self.is_connected():  # else the broker may have been faster than _open() was to return
            self._give_up()
        was_connected, inline = self.is_connected(), self._delivery.inside_inline
        if not (inline or told):
            self._finish_close(was_connected, ended=False)
            return
        self._connection.leave()
        if inline:
            self._delivery.cease()
            if was_connected:
                self._delivery.disconnected(from_server=False, reason_code=0, properties=None)
        # Not a daemon: what is under way is to be finished, be it the end of the program.
        self._closing_thread = threading.Thread(
            target=self._finish_close, args=(was_connected, inline), name=f"juham-{self.name}-closing"
        )
        self._closing_thread.start()

    def _finish_close(self, was_connected: bool, ended: bool) -> None:
        """Close what :meth:`disconnect_from_server` has begun to; ``ended``: no handler runs any more."""
        bound = time.monotonic() + self._options.close_timeout
        with ExitStack() as each:  # the last first, and all of them, should KeyboardInterrupt end the wait
            each.callback(self._connection.closed)
            each.callback(self._end_delivery, bound, told=not was_connected or ended)
            each.callback(self._fail_unfinished)
            each.callback(self._connection.finish_close)
            if was_connected and not self._outgoing.wait_empty(self._options.close_timeout):
                self.warning(f"{self.name}: closed with publishes unacknowledged")
            self._outgoing.stop()
        if was_connected and hooks.disconnected:
            hooks.notify("disconnected", client=self, reason="disconnect_from_server")
        if hooks.closed:
            hooks.notify("closed", client=self)

    def _end_delivery(self, bound: float, *, told: bool) -> None:
        if not told:
            self._delivery.disconnected(from_server=False, reason_code=0, properties=None)
        self._delivery.close(max(0.5, bound - time.monotonic()))

    def disconnect(self, reasoncode: Any = None, properties: Any = None) -> Any:
        """Paho's name for :meth:`disconnect_from_server`; returns 0."""
        if reasoncode is not None or properties is not None:
            raise NotSupportedError("a DISCONNECT with reason or properties needs the library: client.native")
        self.disconnect_from_server()
        return 0

    def loop_start(self) -> Any:
        """Run the handlers in a thread of their own from now on; returns 0. Does nothing if they run."""
        self._delivery.start()
        return 0

    def loop_stop(self) -> Any:
        """Run no further handler; what arrives waits for the next :meth:`loop_start`. Returns 0.

        Blocks until the handler that runs has returned, unless called from inside it.
        """
        self._delivery.stop()
        return 0

    def loop_forever(self) -> Any:
        """Run the handlers on the calling thread until the client is disconnected; returns 0.

        At once if it has been disconnected already, perhaps by another thread a moment ago.
        What ends a program's main loop ends this one too: KeyboardInterrupt and SystemExit pass through.
        """
        self._delivery.run_forever(lambda: self._connection.closing)
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect_from_server()

    # --- publishing and subscribing -----------------------------------------------------------------

    def publish(
        self,
        topic: str,
        msg: Any = None,
        qos: int = 0,
        retain: bool = False,
        properties: Mapping[str, Any] | None = None,
        payload: Any = None,  # not by keyword only, for which each call would pay
    ) -> PublishReceipt:
        """Publish a message (MQTT 5 section 3.3); never blocks on the network.

        ``msg`` (or, in paho's word, ``payload``) is str, bytes, bytearray, memoryview, int, float or None.
        At QoS 0 the receipt is done once the library has the message; without a connection it has failed
        already, with ``rc`` 4. At QoS 1 and 2 the message waits in a bounded queue where it must, is sent in
        order, survives lost connections, and the receipt is done when the broker has acknowledged.

        Raises TopicError, PayloadError, QosError, InvalidArgumentError (``properties`` that MQTT forbids in
        PUBLISH, or a ``topic_alias`` that the broker does not take), NotSupportedError (``properties``
        without MQTT 5; a ``topic_alias`` at QoS 1 or 2, for it holds for one connection alone), and
        QueueFullError if ``options.max_queued`` messages wait already, or more calls of ``on_publish`` than
        messages may be queued and in flight.
        """
        if self._delivery.untold_publishes > self._most_untold:
            raise QueueFullError(
                f"{self._delivery.untold_publishes:,} calls of on_publish wait for their turn: this message "
                "was not accepted; publish slower, let handlers return sooner, and see that the loop runs"
            )
        data = msg if payload is None else payload
        statistics = self._statistics
        if type(data) is not bytes or len(data) > MAX_PAYLOAD:
            data = encode_payload(data)
        given = Properties(properties) if properties else None
        if retain is not False:
            retain = bool(retain)
        message = MqttMsg(topic, data, qos, retain, False, 0, given)
        # Most are plainly in order, which is seen here without a call.
        if type(topic) is not str or topic not in known or type(qos) is not int or not 0 <= qos <= 1 or given:
            self._checked(message)
        receipt = PublishReceipt(next(self._mids), message, self._delivery.turn)
        if hooks.publishing:
            changed = hooks.replace("publishing", self, message)
            if changed is None:
                statistics.dropped["hook"] += 1
                receipt._resolve(PublishError("a hook dropped the message"))
                return receipt
            message = receipt._message = self._checked(changed)
        if message.qos != 0:
            receipt = self._outgoing.offer(receipt)
        else:
            self._publish_now(receipt, message)
        statistics.published += 1
        return receipt

    def subscribe(
        self,
        topic: Any,
        qos: int = 0,
        options: Any = None,
        properties: Any = None,
    ) -> SubscribeReceipt:
        """Subscribe to one or more topic filters (MQTT 5 section 3.8).

        ``topic`` is a filter, a tuple ``(filter, qos)``, a :class:`~juham_core.wire.packets.Subscription`,
        or a list of these. ``options`` holds MQTT 5's subscription options: a Subscription, or an object with
        paho's attributes. Without a connection the subscription waits for one. It stands, through every
        reconnect, until :meth:`unsubscribe`.

        A message that matches several filters is delivered once, to every handler whose filter matches it.
        Where the broker sends a copy for each (MQTT 5 section 3.3.4), JMqtt tells them apart by subscription
        identifiers of its own, and gives the application the one that comes first; ``statistics.dropped``
        counts the others as ``copy``. MQTT 3.1.1 has nothing that tells copies apart: there a broker that
        sends them has them delivered. A retained message is replayed for each subscription.

        The receipt's ``wait`` raises SubscribeError, naming the filters, if the broker refuses any. Raises
        TopicError, QosError and NotSupportedError at the call, and QueueFullError if ``options.max_requests``
        subscribes and unsubscribes wait for their answer already.
        """
        if properties:
            raise NotSupportedError(
                "properties of SUBSCRIBE are not kept across reconnects: see client.native"
            )
        subscriptions = subscriptions_of(topic, qos, options)
        self._require_subscribable(subscriptions)
        names = [subscription.topic_filter for subscription in subscriptions]
        receipt = SubscribeReceipt(next(self._mids), names, self._delivery.turn)
        self._open_requests.admit(receipt, self._delivery.untold_answers)
        if self._outgoing.gathered:  # they were published before
            self._outgoing.hand_over()
        if self._delivery.inside_on_connect and self._ledger.was_restored(subscriptions):
            # paho's idiom is to subscribe in on_connect; the ledger has just done that.
            self._ledger.join(receipt)
        elif self._ledger.want(subscriptions, receipt):
            self._outgoing.hand_over()
        return receipt

    def unsubscribe(self, topic: Any, properties: Any = None) -> UnsubscribeReceipt:
        """End subscriptions to a filter or a list of filters (MQTT 5 section 3.10); unknown ones do no harm.

        Raises TopicError at the call, and QueueFullError as :meth:`subscribe` does.
        """
        if properties:
            raise NotSupportedError("properties of UNSUBSCRIBE need the library: see client.native")
        topic_filters = filters_of(topic)
        receipt = UnsubscribeReceipt(next(self._mids), topic_filters, self._delivery.turn)
        self._open_requests.admit(receipt, self._delivery.untold_answers)
        if self._outgoing.gathered:  # they were published before
            self._outgoing.hand_over()
        if self._ledger.give_up(topic_filters, receipt):
            self._outgoing.hand_over()
        return receipt

    @property
    def subscriptions(self) -> dict[str, int | None]:
        """Each topic filter subscribed to, with the QoS the broker granted; None until it has answered."""
        return self._ledger.subscriptions()

    def ack(self, mid: int, qos: int) -> Any:
        """Acknowledge a received message of QoS 1 or 2, on a connection made with ``manual_ack``; returns 0.

        ``mid`` and ``qos`` are the message's. Once the connection that brought it has ended it does nothing,
        for the broker sends it again if the session goes on (section 4.4). Raises NotSupportedError where
        the backend or the options do not have the application acknowledge.
        """
        self.capabilities.require("manual_ack", self.get_class_id())
        if not self._in_force.manual_ack:
            raise NotSupportedError(
                "messages are acknowledged by themselves; manual_ack_set(True) changes that"
            )
        if qos > 0:
            with suppress(NotConnectedError):
                self._ack(mid, check_qos(qos))
        return 0

    def _publish_now(self, receipt: PublishReceipt, message: MqttMsg) -> None:
        try:
            if self._connection.state is CONNECTED:
                limits = self._outgoing.limits
                refused = limits.on_publish(message) if limits is not None else None
                if refused is not None:
                    self._on_acknowledged([receipt], refused)
                    return
                if self._outgoing.gathered:  # they were published before this one
                    self._outgoing.hand_over()
                self._publish(message)
                size = len(message.payload)  # before: nothing may come between adding and storing the sum
                self._bytes_sent += size
                # Nobody else has the receipt yet, so there is nobody to be told.
                receipt._done = True
                receipt._message = None
                if hooks.published or "on_publish" in self._event_handlers:
                    self._report_published(receipt, None)
                return
            error = NotConnectedError(
                f"not connected: the message to {message.topic!r} was not sent; at QoS 1 or 2 it would wait"
            )
        except NotConnectedError as exc:
            # Without its traceback, whose frames would hold what the library holds while the receipt is kept.
            error = exc.with_traceback(None)
        except JuhamError:  # the backend's own word, such as a buffer that is full
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the library raises, this one message has failed
            receipt._resolve(translated(exc, f"publish to {message.topic!r}"))
            return
        receipt.rc = RC_NO_CONN
        self._statistics.dropped["not connected"] += 1
        receipt._resolve(error)

    def _close_unconnected(self) -> None:
        """Of a client that is not connected, end what waits for a connection, and its loop."""
        if self._connection.begin_clearing():
            try:
                self._fail_unfinished()
                self._delivery.close(self._options.close_timeout)
            finally:
                self._connection.closed()

    def _fail_unfinished(self) -> None:
        self._ledger.orphan(self._outgoing.collect())
        failed = self._outgoing.fail_all(lambda receipt: closed_error(f"publish {receipt.mid}"))
        if failed:
            self._statistics.dropped["closed"] += failed
        self._ledger.fail_all(closed_error("a subscription"))

    def _withdraw(self, receipt: PublishReceipt) -> None:
        """Do not send a publish that still waits: whoever asked for it has given up."""
        if self._outgoing.withdraw(receipt):
            self._statistics.dropped["withdrawn"] += 1
            receipt._resolve(PublishError(f"publish {receipt.mid} was withdrawn before it was sent"))
            receipt._message = None
            self._report_published(receipt, None)

    def _apply_bounds(self) -> None:
        bounds = self._options.outbox_bounds
        if bounds != self._outgoing.bounds:
            before, self._outgoing = self._outgoing, self._make_outgoing(bounds)
            self._outgoing.resent, self._outgoing.bytes_sent = before.resent, before.bytes_sent
        if self._connection.state in (State.CLOSED, State.STOPPED):
            self._delivery.run_handlers(self._options.handlers)
        self._outgoing.max_queued = self._options.max_queued
        self._most_untold = self._options.max_queued + self._options.max_inflight
        self._open_requests.most = self._options.max_requests
        self._delivery.limit = self._options.max_received
        self._delivery.limit_bytes = self._options.max_received_bytes

    # --- saving -------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The client as JSON knows it: class, name and options, without secrets."""
        data = super().to_dict()
        data["_object"]["options"] = self._options.to_dict()
        return data

    def from_dict(self, data: Mapping[str, Any]) -> None:
        """Take name and options over from :meth:`to_dict`."""
        state = dict(data.get("_object", {}))
        options = state.pop("options", {})
        super().from_dict({**data, "_object": state})
        self.configure(**options)

    def copy(self) -> Any:
        """A client of the same class, name and options, credentials included; it is not connected."""
        clone = super().copy()
        clone.options = self._options
        return clone

    def __reduce__(self) -> NoReturn:
        # Half a copy would share the connection: two objects, one of which knows nothing of what it sends.
        raise TypeError(
            f"{self.get_class_id()} {self.name!r} is neither pickled nor copied by the module copy, for it "
            "may be connected: copy() makes another with the same options, and to_dict() and from_dict() "
            "carry them to another process"
        )

    def __repr__(self) -> str:
        server = f" to {self.server}" if self._options.servers and self.is_connected() else ""
        return (
            f"<{self.get_class_id()} {self.name!r}: "
            f"{self._options.describe()}, {self._connection.state.value}{server}>"
        )
