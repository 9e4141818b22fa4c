"""What a backend implements, and what it reports: the five primitives and the six reports.

A page of code over a decent library: implement ``_open``, ``_close``, ``_publish``, ``_subscribe`` and
``_unsubscribe``, and call ``_connack``, ``_lost``, ``_acknowledged``, ``_suback``, ``_unsuback`` and
``_received`` as the library tells what happened. :class:`~juham_core.jmqtt.JMqtt` makes a client of it.
"""

from __future__ import annotations

import itertools
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from juham_core import credentials
from juham_core.awaiting import Request, SubscribeRequest
from juham_core.capabilities import Capabilities
from juham_core.connection import Connection, State
from juham_core.copies import Copies
from juham_core.delivery import Delivery
from juham_core.dial import Attempt
from juham_core.errors import (
    ConnectError,
    JuhamError,
    MalformedPacketError,
    NotConnectedError,
    NotSupportedError,
    PublishError,
)
from juham_core.handlers import Handler
from juham_core.hooks import hooks
from juham_core.ledger import Ledger
from juham_core.message import MqttMsg, PublishReceipt, succeed
from juham_core.options import Options, OutboxBounds
from juham_core.outgoing import Outgoing
from juham_core.servers import Server
from juham_core.statistics import Statistics
from juham_core.unanswered import Unanswered
from juham_core.verdicts import unreachable
from juham_core.watchdog import Watchdog, watchdog
from juham_core.wire.aliases import TopicAliases
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import PROTOCOL_ERROR, UNSPECIFIED_ERROR, ReasonCode, connack_to_v3
from juham_core.wire.terms import MQTT_5, MQTT_311, Subscription

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("juham.backend")
_SUCCESS: Final = ReasonCode(0)


class Backend(ABC):
    """The half of a client that its library shapes; see :class:`~juham_core.jmqtt.JMqtt` for the other."""

    name: str
    capabilities: ClassVar[Capabilities]
    _wanted_id: int = 0
    """The packet identifier for what :meth:`_publish` is given next; 0: any that is free."""
    _sent_before: bool = False
    """True if an earlier process may have sent it, with that identifier, in the session that goes on."""

    def _set_up(self, name: str) -> None:
        """Make the parts that all backends share; no ``__init__``, for a backend may have a second base."""
        self.name = name
        self._options = Options()
        self._attempted = self._options  # those of the last attempt, as hooks have changed them
        self._dialling = Attempt()
        # Made up when first needed and kept: the next attempt must not look like another client.
        self._own_id: str | None = None
        self._userdata: Any = None
        self._mids = itertools.count(1)
        self._event_handlers: dict[str, Handler] = {}
        self._closing_thread: threading.Thread | None = None
        self._statistics = Statistics()
        self._bytes_sent = 0  # at QoS 0
        self._delivery = Delivery(self, self._statistics)
        self._ledger = Ledger(self._send_soon)
        self._open_requests = Unanswered()
        self._most_untold = 0  # publishes
        self._most_aliases = 0
        """The largest topic alias that the broker takes (MQTT 5 section 3.2.2.3.8)."""
        self._copies = Copies(self._ledger.expected, self._delivery.received)
        self._watchdog: Watchdog = watchdog
        self._outgoing = self._make_outgoing(None)
        self._aliases = TopicAliases()
        self._connection = Connection(
            name, self._attempt, self._release, lambda: self._options, lambda: self._attempted
        )

    def _make_outgoing(self, outbox: OutboxBounds | None) -> Outgoing:
        """The queue of what goes out: in memory, or in the outbox."""
        if outbox is None:
            together = type(self)._publish_many is not Backend._publish_many
            return Outgoing(self, self._on_acknowledged, self._on_subscribed, together)
        from juham_core.outbox import StoredOutgoing  # noqa: PLC0415  # SQLite is for those who need it

        return StoredOutgoing(self, outbox, self._mids, self._statistics.dropped)

    def _get_handler(self, event: str) -> Handler | None:
        return self._event_handlers.get(event)

    def user_data_set(self, userdata: Any) -> None:
        """Set what handlers get as their second argument."""
        self._userdata = userdata

    def user_data_get(self) -> Any:
        """What handlers get as their second argument."""
        return self._userdata

    # --- what a backend implements ------------------------------------------------------------------

    @abstractmethod
    def _open(self, options: Options) -> None:
        """Bring the transport up and CONNECT on its way; the network runs from here on.

        One attempt: the library must not reconnect by itself. Called again, with options that may differ,
        after :meth:`_close`; never twice at once; on a thread that may block. Raise OSError (ssl.SSLError is
        one) or ConnectError within ``options.connect_timeout`` seconds. Report CONNACK to :meth:`_connack`.
        """

    @abstractmethod
    def _close(self, deliberate: bool) -> None:
        """End the connection if there is one and release all that :meth:`_open` made.

        ``deliberate``: send DISCONNECT first, after what was handed over. No report may follow the return.
        Messages in flight are kept if the library can send them again after the next ``_open``. Called after
        a failed ``_open`` too, and possibly twice; never on the library's own thread.
        """

    @abstractmethod
    def _publish(self, message: MqttMsg) -> int:
        """Hand a message to the library and return its key for it, to be given to :meth:`_acknowledged`.

        For QoS 1 and 2, called by one thread at a time, for QoS 0 by any number, and the key is ignored. It
        must not block on the network. Raise NotConnectedError if the library did not take the message.

        ``self._wanted_id``, unless 0, is the packet identifier to use, and the key (MQTT 5 section 2.2.1): by
        it the outbox goes on, in the session of a process that was killed, with what that one had sent. Every
        backend with QoS 2 has to use it, or its messages and those of the dead process would be taken for one
        another. Whatever else needs an identifier takes one above 60,000 from then on. With
        ``self._sent_before`` the packet has the flag DUP (section 3.3.1.1), if the library can set it.
        """

    def _publish_many(self, messages: list[MqttMsg]) -> Sequence[int]:
        """Hand over several messages of QoS 1 and 2, in order, and return their keys, as :meth:`_publish`.

        For backends that gain by it: whoever implements it is given together what the window lets go
        together, and what coroutines publish in one turn of their event loop, but for what comes from an
        outbox. Called as :meth:`_publish` is, and besides it. Either all are taken, or none is and it raises;
        then each is handed over by itself, unless it was NotConnectedError. Where the library has refused one
        of them alone, that is reported as its answer, to :meth:`_acknowledged`.
        """
        raise NotSupportedError(f"{self.name} takes {len(messages)} messages one by one")

    def _push(self) -> None:  # noqa: B027 - most backends have nothing to do
        """Send what has been handed over, if it is still being gathered: threads are about to be woken.

        Called inside :meth:`_acknowledged_many`, on the thread that has called that.
        """

    def _pubrel(self, key: int, message: MqttMsg) -> None:
        """Send PUBREL for a message of QoS 2, after :meth:`_pubrec` has returned False; on any thread.

        It may be of an earlier process, and known to the library by nothing but this: PUBCOMP is reported to
        :meth:`_acknowledged` as for any other, and one that says "packet identifier not found" as a success
        (MQTT 5 section 3.7.2.1), for the broker had finished. ``message`` is for a library that publishes
        again by itself what a broker without the session has lost. Raise NotConnectedError if PUBREL was not
        sent.
        """
        raise NotSupportedError(f"{self.name} cannot release {message.topic!r}, message {key}")

    @abstractmethod
    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        """Send one SUBSCRIBE and return the key that :meth:`_suback` will be given.

        Under MQTT 5 ``subscriptions[0].identifier`` is its subscription identifier (section 3.8.2.1.2),
        unless that is 0: report it with each message of this subscription, in the properties. A library
        without them leaves it out; the application then gets all copies of a broker that sends one for each
        filter.
        """

    @abstractmethod
    def _unsubscribe(self, topic_filters: list[str]) -> int:
        """Send one UNSUBSCRIBE and return the key that :meth:`_unsuback` will be given."""

    def _ack(self, mid: int, qos: int) -> None:
        """Acknowledge a received message; for backends that declare ``manual_ack``.

        It may be called before the report of that message has returned: by inline handlers, and for what a
        plugin drops. May raise NotConnectedError once the connection that brought the message has ended: that
        is no error.
        """
        raise NotSupportedError(f"{self.name} cannot acknowledge message {mid} of QoS {qos}")

    def _run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Live in this running event loop from the next :meth:`_open` on; None: no longer.

        For backends that declare ``callers_loop``; called in the loop's thread. The library then reports in
        that loop. :meth:`_open` and :meth:`_close` are called on other threads, and may wait for the loop.
        """
        raise NotSupportedError(f"{self.name} cannot live in the event loop {loop!r}")

    # --- what a backend reports: from any one thread, in the order in which things happened ----------

    def _connack(
        self,
        session_present: bool,
        reason_code: int = 0,
        properties: Properties | None = None,
        *,
        resent: bool = False,
    ) -> None:
        """Report CONNACK. ``reason_code`` is MQTT 5's, also under 3.1.1 (``reasons.connack_to_v5``).

        ``resent``: the library sends by itself what was in flight, so JMqtt does not.
        """
        properties = properties if properties is not None else Properties()
        old_code = connack_to_v3(reason_code) if self._spoken_protocol == MQTT_311 else reason_code
        if reason_code >= UNSPECIFIED_ERROR:
            if self._connection.refused(reason_code, properties.reason_string, properties.server_reference):
                self._delivery.connected(False, reason_code, old_code, properties)()
            return
        if not properties.get("receive_maximum", 1) or not properties.get("maximum_packet_size", 1):
            # Nothing could ever be sent: MQTT 5 calls it a protocol error (sections 3.2.2.3.3 and .6).
            self._lost(MalformedPacketError("CONNACK names a limit of 0", reason_code=PROTOCOL_ERROR))
            return
        # The event takes its place before the messages that subscriptions bring, and its handler waits
        # until the subscriptions are sent.
        if not self._connection.accepted():
            return
        ready = self._delivery.connected(session_present, reason_code, 0, properties)
        try:
            if properties.assigned_client_identifier is not None:
                self._own_id = properties.assigned_client_identifier
            self._statistics.connects += 1
            self._statistics.reconnects += self._statistics.connects > 1
            self._outgoing.window = min(
                self._options.max_inflight, properties.get("receive_maximum", self._options.max_inflight)
            )
            self._most_aliases = properties.get("topic_alias_maximum", 0)
            from juham_core.limits import BrokerLimits  # noqa: PLC0415  # making a client does without

            self._outgoing.limits = BrokerLimits.announced(properties)
            self._outgoing.session(present=session_present, kept=not self._attempted.clean_start)
            self._ledger.orphan(self._outgoing.leftover())
            if not session_present:
                self._copies.clear()
            requests = self._ledger.restore(session_present, self._takes_identifiers(properties))
            self._outgoing.up(resent, requests)
            if self._options.ack_timeout:
                self._watchdog.watch(self._connection, self._options.ack_timeout / 4, self._look_after)
        finally:
            ready()
        if hooks.connected:
            self._delivery.turn.tell(
                hooks.notify, "connected", client=self, session_present=session_present
            )

    def _lost(
        self,
        error: Exception | None = None,
        reason_code: int = UNSPECIFIED_ERROR,
        properties: Properties | None = None,
        *,
        from_server: bool = False,
    ) -> None:
        """Report that the connection ended by itself.

        ``from_server``: the broker said so with DISCONNECT; its ``reason_code`` and ``properties``.
        """
        self._outgoing.stop()
        why = properties.reason_string if properties else None
        reference = properties.server_reference if properties else None
        if self._connection.lost(error, reason_code if from_server else 0, why, reference):
            self._delivery.disconnected(from_server, reason_code, properties)
            if hooks.disconnected:
                reason = str(self._connection.ending)
                self._delivery.turn.tell(hooks.notify, "disconnected", client=self, reason=reason)

    def _acknowledged(self, key: int, reason_code: int = 0, properties: Properties | None = None) -> None:
        """Report PUBACK or PUBCOMP, or the PUBREC that ends an exchange with a refusal."""
        self._outgoing.acknowledged(key, (reason_code, properties))

    def _pubrec(self, key: int) -> bool:
        """Report PUBREC, unless it refuses; True: send PUBREL now.

        False: leave the message as one that is to be published again, if the connection is lost, until
        :meth:`_pubrel` is called. The outbox first notes on disk that the broker has it.
        """
        return self._outgoing.may_release(key)

    def _suback(self, key: int, reason_codes: list[int], properties: Properties | None = None) -> None:
        """Report SUBACK."""
        self._outgoing.subscribed(key, (reason_codes, properties))

    def _unsuback(
        self, key: int, reason_codes: list[int] | None = None, properties: Properties | None = None
    ) -> None:
        """Report UNSUBACK; MQTT 3.1.1 has no codes there."""
        self._outgoing.unsubscribed(key, (reason_codes or [], properties))

    def _received(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        mid: int = 0,
        properties: Properties | None = None,
    ) -> None:
        """Report a message. A topic alias is resolved here: report it as it came.

        ``dup`` and ``mid`` are what the packet says (section 3.3), from backends that declare
        ``dup_and_mid``. From others ``dup`` is False and ``mid``, above QoS 0, any number but 0 that
        :meth:`_ack` knows the message by.
        """
        if properties and "topic_alias" in properties:
            try:
                topic = self._aliases.resolve(topic, properties.pop("topic_alias"))
            except MalformedPacketError as exc:
                self._lost(exc)
                return
        self._received_one(MqttMsg(topic, payload, qos, retain, dup, mid, properties))

    def _received_many(self, messages: list[MqttMsg]) -> None:
        """Report messages that came together, in order, of which no topic is an alias (any more).

        For backends that have more than one at a time; the list is theirs no longer. Each message is treated
        as by :meth:`_received`.
        """
        if not self._ledger.overlapping:
            self._delivery.received_many(messages)
            return
        for message in messages:
            self._received_one(message)

    def _received_one(self, message: MqttMsg) -> None:
        if not self._ledger.overlapping or message.retain:  # a replay answers one subscription: it is no copy
            self._delivery.received(message)
            return
        manual = message.qos > 0 and self._attempted.manual_ack
        if not self._copies.received(message, manual):
            self._statistics.dropped["copy"] += 1
            self._ack_unseen(message)

    def _ack_unseen(self, message: MqttMsg) -> None:
        """Acknowledge what the application will not see, where it is to acknowledge what it sees."""
        if message.qos > 0 and self._attempted.manual_ack:
            with suppress(NotConnectedError):
                self._ack(message.mid, message.qos)

    def _acknowledged_many(self, keys: list[int]) -> None:
        """Report several PUBACKs or PUBCOMPs that say success and no more, in order."""
        self._outgoing.acknowledged_many(keys, (0, None))

    def _takes_identifiers(self, connack: Properties) -> bool:
        five = self._spoken_protocol == MQTT_5
        return five and connack.get("subscription_identifier_available", 1) != 0

    @property
    def _spoken_protocol(self) -> int:
        """The version that the connection speaks, or will speak: the options may have been changed since."""
        return self._in_force.protocol

    @property
    def _in_force(self) -> Options:
        """The options that the connection was made with, where one stands."""
        standing = self._connection.state in (State.OPENING, State.CONNECTED)
        return self._attempted if standing else self._options

    # --- between the parts --------------------------------------------------------------------------

    def _attempt(self, server: Server) -> None:
        options = self._options.at(server)
        if not options.client_id and self._own_id:  # "" is for the broker to choose, the first time
            options = options.changed(client_id=self._own_id)
        options = credentials.for_attempt(options)
        if hooks.connecting:
            options = self._changed_by_hooks(options)
        options = options.announced(self.capabilities.packet_limit)
        if options.tls and not options.verifies:
            where = options.describe()
            log.warning("%s: nobody verifies that %s is the broker: insecure is set", self.name, where)
        self._aliases = TopicAliases(options.properties.get("topic_alias_maximum", 0))
        self._attempted = options
        self._dialling = Attempt()
        if self._connection.closing:  # since before there was an attempt to give up
            self._dialling.give_up()
        try:
            self._dialling.check()
            self._outgoing.over = False
            self._open(options)
        except ConnectError:
            raise
        except (OSError, UnicodeError) as exc:  # the latter for a host that cannot be the name of one
            self._dialling.check()  # then it is no fault of the network's
            raise unreachable(exc, options) from exc
        finally:
            self._dialling.over()

    def _changed_by_hooks(self, options: Options) -> Options:
        return hooks.change_options(self, options)

    def _give_up(self) -> None:
        """End the wait of an attempt that :meth:`_open` makes on another thread, if there is one: it raises.

        Called when the client is closed. Enough as it is for whoever connects with
        :func:`juham_core.dial.dial` and tells ``self._dialling`` what it waits for; without that an attempt
        lasts until ``connect_timeout``, and closing with it.
        """
        self._dialling.give_up()

    def _look_after(self, now: float) -> None:
        """What is looked at from time to time while a connection stands; on the watchdog's thread."""
        self._check_answers(now)
        self._delivery.mind_the_loop()

    def _check_answers(self, now: float) -> None:
        """Give up a connection on which the broker owes an answer for too long; on the watchdog's thread."""
        since = self._outgoing.waiting_since()
        timeout = self._options.ack_timeout
        late = since is not None and timeout and now - since > timeout
        if late and self._connection.state is State.CONNECTED:
            self._lost(TimeoutError(f"a request was not answered within {timeout} s (ack_timeout)"))

    def _release(self, deliberate: bool) -> None:
        self._outgoing.stop()
        try:
            self._close(deliberate)
        except Exception:  # one that fails to close must not keep us from going on
            log.exception("%s: the library failed to close", self.name)
        # Only now, and once more: CONNACK may have come meanwhile.
        self._outgoing.stop()
        self._watchdog.unwatch(self._connection)
        self._ledger.orphan(self._outgoing.collect())

    def _send_soon(self, request: Request) -> None:
        self._outgoing.enter(request)

    def _on_acknowledged(self, receipts: list[PublishReceipt], answer: tuple[int, Properties | None]) -> None:
        code, properties = answer
        if code < UNSPECIFIED_ERROR:
            self._statistics.acknowledged += len(receipts)
            succeed(receipts, ReasonCode(code) if code else _SUCCESS)
        else:
            for receipt in receipts:
                self._refuse(receipt, ReasonCode(code), (properties and properties.reason_string) or "")
        if hooks.published or "on_publish" in self._event_handlers:
            for receipt in receipts:
                self._report_published(receipt, properties)

    def _refuse(self, receipt: PublishReceipt, code: ReasonCode, why: str) -> None:
        self._statistics.dropped["refused"] += 1
        receipt.reason_code = code
        text = f"the broker refused publish {receipt.mid}: {code}" + (f" ({why})" if why else "")
        receipt._resolve(PublishError(text, reason_code=code))
        receipt._message = None  # a receipt that is kept must not keep the payload

    def _report_published(self, receipt: PublishReceipt, properties: Properties | None) -> None:
        if "on_publish" in self._event_handlers:
            self._delivery.published(receipt, properties)
        if hooks.published:
            self._delivery.turn.tell(hooks.notify, "published", client=self, receipt=receipt)

    def _on_subscribed(
        self, request: Request, answer: tuple[list[int], Properties | None] | JuhamError
    ) -> None:
        """Take the broker's answer, or what the library has raised instead of asking."""
        if isinstance(answer, JuhamError):
            self._ledger.failed(request, answer)
            return
        codes, properties = answer
        if isinstance(request, SubscribeRequest):
            if len(codes) != len(request.subscriptions):
                text = f"SUBACK has {len(codes)} codes for {len(request.subscriptions)} topic filters"
                self._ledger.orphan([request])  # the next connection asks again
                self._lost(MalformedPacketError(text))
                return
            own = tuple(request.receipts)
            lost = self._ledger.answered(request, codes, (properties and properties.reason_string) or "")
            if lost:
                log.error("%s: the broker no longer grants %s", self.name, ", ".join(lost))
            if "on_subscribe" in self._event_handlers:
                for receipt in request.receipts:
                    answer_codes = receipt._codes(codes if receipt in own else [])
                    if answer_codes:
                        self._delivery.answered("on_subscribe", receipt.mid, answer_codes, properties)
        else:
            # MQTT 3.1.1 has no codes there, and its handlers get none.
            verdict = dict.fromkeys(request.topic_filters, 0)
            verdict.update(zip(request.topic_filters, codes, strict=False))
            for receipt in request.receipts:
                if receipt._answer(verdict) and "on_unsubscribe" in self._event_handlers:
                    told = receipt._codes() if codes else []
                    self._delivery.answered("on_unsubscribe", receipt.mid, told, properties)
