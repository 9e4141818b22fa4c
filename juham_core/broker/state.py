"""The embedded broker without its sockets: packets in, packets out, and a clock.

Whatever carries the packets (sockets, or another thread's queue) is a :class:`~juham_core.broker.Link`.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from juham_core.broker.admission import (
    Admission,
    allowed_expiry,
    connack_properties,
    is_keepalive_forced,
    session_expiry,
)
from juham_core.broker.connection import Connection, Link
from juham_core.broker.limits import Counters, Limits, Statistics
from juham_core.broker.routing import ProtocolViolationError, Router
from juham_core.broker.session import Session
from juham_core.broker.subscribing import subscribe, unsubscribe
from juham_core.broker.timers import Timers
from juham_core.wire import reasons
from juham_core.wire.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    Will,
)
from juham_core.wire.properties import Properties

DEFAULT_LIMITS: Final = Limits()


class Broker:
    """An MQTT broker, 3.1.1 and 5, as a plain object: no I/O, no threads, no locks.

    The caller serializes: one call at a time, from any thread, and never from within ``Link.send`` or
    ``Link.close``. It passes each packet that a client sends to :meth:`received`, says with :meth:`lost`
    that a transport ended, and calls :meth:`tick` when :attr:`deadline` has come. No method raises for
    anything that a client does.

    ``users`` maps names to passwords; given, everybody else is refused. ``authenticate`` is called with each
    CONNECT and returns a CONNACK reason code (section 3.2.2.2), 0 to let it in. ``clock`` gives seconds.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        authenticate: Callable[[Connect], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        self._admission = Admission(users, authenticate)
        self._clock = clock
        self._timers = Timers()
        self._counters = Counters()
        self._router = Router(limits, self._timers, self._counters, clock)
        self._sessions: dict[str, Session] = {}
        self._connections: dict[Link, Connection] = {}
        self._handlers: Final[dict[type, Callable[[Connection, Any], None]]] = {
            Publish: self._router.received,
            Pubrel: self._router.released,
            Puback: self._puback,
            Pubrec: self._pubrec,
            Pubcomp: self._pubcomp,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Pingreq: self._pingreq,
            Disconnect: self._disconnect,
            Auth: self._auth,
        }

    def received(self, link: Link, packet: Packet) -> None:
        """Take a packet that arrived on a link; the first of each must be CONNECT (section 3.1)."""
        connection = self._connections.get(link)
        if connection is None:
            if isinstance(packet, Connect):
                self._connect(link, packet)
            else:
                link.close()
            return
        if connection.keepalive:
            connection.seen = self._clock()
        handler = self._handlers.get(type(packet))
        if handler is None:
            # A second CONNECT, or what only a server may send.
            self._drop(connection, reasons.PROTOCOL_ERROR)
            return
        try:
            handler(connection, packet)
        except ProtocolViolationError as exc:
            self._drop(connection, exc.reason_code)

    def receivers(self, link: Link, topic: str) -> list[Link] | None:
        """To whom a message of QoS 0 from a link goes just as it is, without retain and properties.

        For whoever carries messages in a form of its own, without keepalive: they count as sent. None if it
        is not as simple as that, and :meth:`received` is to be called.
        """
        return self._router.receivers(topic) if link in self._connections else None

    def known_receivers(self, link: Link, topic: str) -> list[Link] | None:
        """What :meth:`receivers` has found for this topic, if nothing has changed since; else None.

        Unlike everything else here it may be called at any time, from any thread.
        """
        subscriptions = self._router.subscriptions
        route = subscriptions.routes.get(topic)
        if route is None or route.epoch != subscriptions.epoch or link not in self._connections:
            return None
        links = route.links
        if links is not None:
            counters = self._counters
            counters.received += 1
            counters.sent += len(links)
        return links

    def lost(self, link: Link) -> None:
        """The link's transport ended without DISCONNECT: the client's will is due (section 3.1.2.5)."""
        connection = self._connections.get(link)
        if connection is not None:
            self._end(connection)

    def malformed(self, link: Link, reason_code: int) -> None:
        """The link brought what cannot be decoded: tell the client as its version allows, and close."""
        connection = self._connections.get(link)
        if connection is not None:
            self._drop(connection, reason_code)
        else:
            link.send(Connack(reason_code=reason_code))
            link.close()

    def shutdown(self) -> None:
        """Close every connection, saying that the server shuts down; sessions and retained messages stay."""
        for connection in list(self._connections.values()):
            if connection.link in self._connections:
                self._drop(connection, reasons.SERVER_SHUTTING_DOWN)

    def count_dropped(self, reason: str) -> None:
        """Count a QoS 0 message that a link dropped instead of passing it on."""
        self._counters.dropped[reason] += 1

    @property
    def deadline(self) -> float | None:
        """When :meth:`tick` is to be called, on the broker's clock; None while nothing is due."""
        return self._timers.next

    def tick(self) -> float | None:
        """Do what is due (keepalive, wills, expiry); return the seconds until the next, None if none."""
        for action in self._timers.due(self._clock()):
            action()
        deadline = self._timers.next
        return None if deadline is None else max(0.0, deadline - self._clock())

    @property
    def statistics(self) -> Statistics:
        """What the broker holds and has done, at this moment."""
        return Statistics(
            sessions=len(self._sessions),
            connected=len(self._connections),
            subscriptions=self._router.subscriptions.count,
            retained=len(self._router.retained),
            received=self._counters.received,
            sent=self._counters.sent,
            dropped=dict(self._counters.dropped),
        )

    # --- connections and sessions -------------------------------------------------------------------------

    def _connect(self, link: Link, connect: Connect) -> None:
        refused = self._admission.check(connect)
        if refused:
            link.send(Connack(reason_code=refused))
            link.close()
            return
        client_id = connect.client_id or f"auto-{uuid.uuid4().hex}"
        session = self._sessions.get(client_id)
        if session is not None and session.connection is not None:
            self._drop(session.connection, reasons.SESSION_TAKEN_OVER)
            session = self._sessions.get(client_id)  # it may have ended with its connection
        if session is not None and connect.clean_start:
            self._end_session(session)
            session = None
        present = session is not None
        if session is None:
            session = Session(client_id, self.limits.max_queued, self._counters)
            self._sessions[client_id] = session
        # Section 3.1.3.2.2: a client that is back in time takes its delayed will back.
        session.delayed_will = None
        self._timers.cancel(("will", session))
        self._timers.cancel(("session", session))
        session.expiry = session_expiry(connect, self.limits)
        connection = Connection(link, connect, session, self.limits, self._counters)
        self._connections[link] = connection
        self._router.subscriptions.epoch += 1
        self._watch(connection, connect)
        link.send(Connack(present, reasons.SUCCESS, connack_properties(connect, client_id, self.limits)))
        session.resume(connection, self._clock())

    def _watch(self, connection: Connection, connect: Connect) -> None:
        if is_keepalive_forced(connect, self.limits) and self.limits.max_keepalive is not None:
            connection.keepalive = self.limits.max_keepalive
        if connection.keepalive:
            connection.seen = self._clock()
            self._check_alive(connection)

    def _check_alive(self, connection: Connection) -> None:
        """Section 3.1.2.10: silence for one and a half keepalives ends the connection."""
        silent_until = connection.seen + 1.5 * connection.keepalive
        if silent_until <= self._clock():
            self._drop(connection, reasons.KEEP_ALIVE_TIMEOUT)
        else:
            check = partial(self._check_alive, connection)
            self._timers.set(("keepalive", connection), silent_until, check)

    def _drop(self, connection: Connection, reason_code: int) -> None:
        """End a connection from the broker's side; only MQTT 5 has a way to say why."""
        if connection.is_v5:
            connection.send(Disconnect(reason_code))
        connection.link.close()
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        session = connection.session
        del self._connections[connection.link]
        self._router.subscriptions.epoch += 1
        self._timers.cancel(("keepalive", connection))
        session.suspend()
        will = connection.will
        if will is not None:
            session.delayed_will = will
            delay = will.properties.get("will_delay_interval", 0)
            if delay:
                action = partial(self._publish_will, session)
                self._timers.set(("will", session), self._clock() + delay, action)
            else:
                self._publish_will(session)
        if not session.expiry:
            self._end_session(session)
        elif session.expiry != math.inf:
            end = partial(self._end_session, session)
            self._timers.set(("session", session), self._clock() + session.expiry, end)

    def _end_session(self, session: Session) -> None:
        for key in ("will", "session", "queue"):
            self._timers.cancel((key, session))
        del self._sessions[session.client_id]
        for topic_filter in list(session.subscriptions):
            self._router.subscriptions.remove(session, topic_filter)
        self._router.redistribute(session)
        self._publish_will(session)

    def _publish_will(self, session: Session) -> None:
        will, session.delayed_will = session.delayed_will, None
        if will is not None:
            self._router.publish(_will_message(will), session)

    # --- packets ------------------------------------------------------------------------------------------

    def _puback(self, connection: Connection, packet: Puback) -> None:
        if not connection.session.on_puback(packet.packet_id, self._clock()):
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)

    def _pubrec(self, connection: Connection, packet: Pubrec) -> None:
        if not connection.session.on_pubrec(packet.packet_id, packet.reason_code, self._clock()):
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)

    def _pubcomp(self, connection: Connection, packet: Pubcomp) -> None:
        if not connection.session.on_pubcomp(packet.packet_id, self._clock()):
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)

    def _subscribe(self, connection: Connection, packet: Subscribe) -> None:
        subscribe(self._router, connection, packet)

    def _unsubscribe(self, connection: Connection, packet: Unsubscribe) -> None:
        unsubscribe(self._router, connection, packet)

    def _pingreq(self, connection: Connection, _packet: Pingreq) -> None:
        connection.send(Pingresp())

    def _disconnect(self, connection: Connection, packet: Disconnect) -> None:
        interval = packet.properties.get("session_expiry_interval")
        if interval is not None:
            if connection.session_expiry == 0 and interval:
                raise ProtocolViolationError(reasons.PROTOCOL_ERROR)  # section 3.14.2.2.2
            connection.session.expiry = allowed_expiry(interval, self.limits)
        if packet.reason_code == reasons.SUCCESS:
            connection.will = None
        connection.link.close()
        self._end(connection)

    def _auth(self, _connection: Connection, _packet: Auth) -> None:
        # No authentication method was agreed: CONNECTs that ask for one are refused (section 4.12).
        raise ProtocolViolationError(reasons.PROTOCOL_ERROR)


def _will_message(will: Will) -> Publish:
    properties = Properties(will.properties)
    properties.pop("will_delay_interval", None)
    return Publish(will.topic, will.payload, will.qos, will.retain, properties=properties)
