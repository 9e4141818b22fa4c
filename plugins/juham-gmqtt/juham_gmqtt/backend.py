"""JGmqtt: an MQTT client over gmqtt, an asyncio library, for programs that need not know asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from juham_core.capabilities import Capabilities
from juham_core.errors import MalformedPacketError, NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire import packets
from juham_core.wire.exchanges import Finished
from juham_core.wire.packets import Packet, Subscription
from juham_core.wire.reasons import PROTOCOL_ERROR, UNSPECIFIED_ERROR
from juham_gmqtt import library
from juham_gmqtt.home import CallersLoop, Home, OwnThread
from juham_gmqtt.link import Link
from juham_gmqtt.session import Session

_WINDOW: Final = 100
"""Messages that a broker may send unacknowledged, beyond those that may wait, before it is no longer read."""


class JGmqtt(JMqtt):
    """A client that uses gmqtt, in a thread with an event loop of its own for each connection.

    Under :mod:`juham_core.aio` it lives in the program's own event loop, and has no thread while connected.
    """

    capabilities = Capabilities(
        mqtt_311=True,
        mqtt_5=True,
        qos_2=True,
        tcp=True,
        tls=True,
        ssl_context=True,
        bind_address=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        packet_limit=True,
        early_packet_limit=True,
        callers_loop=True,
    )
    library = "gmqtt"

    def __init__(self, name: str = "gmqtt") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        # The loop must not wait for handlers, or it would send no pings: see _on_publish_packet.
        self._delivery.blocks = False
        self._callers_loop: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._link: Link | None = None
        self._session: Session | None = None

    @property
    def native(self) -> Any:
        """The ``gmqtt.Client``, or None before the first connection.

        It belongs to the thread of its event loop. Its callbacks are not called: Juham reads what comes.
        """
        return self._session.client if self._session is not None else None

    # --- what JMqtt asks for ------------------------------------------------------------------------

    def _open(self, options: Options) -> None:
        if self._session is None or not self._session.fits(options):
            self._session = Session(options)
        home: Home = OwnThread(f"juham-{self.name}-gmqtt")
        if self._callers_loop is not None:
            home = CallersLoop(*self._callers_loop)
        self._link = Link(
            home,
            self._session.client,
            options,
            self._on_packet,
            self._received_many,
            self._on_pubacks,
            self._lost,
            self._dialling,
        )
        self._link.open()

    def _run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._callers_loop = None if loop is None else (loop, threading.get_ident())

    def _close(self, deliberate: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(deliberate)
        if self._session is not None:
            self._session.disconnected()

    def _publish(self, message: MqttMsg) -> int:
        link, session = self._connected()
        if message.qos == 0:
            link.send(library.build_publish(message, link.protocol)[1], bounded=True)
            return 0
        return session.start(message, link, self._wanted_id, self._sent_before)

    def _pubrel(self, key: int, message: MqttMsg) -> None:  # noqa: ARG002 - JMqtt publishes it again
        link, session = self._connected()
        link.send(session.release(key))

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        link, session = self._connected()
        return session.request(subscriptions, [], link)

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        link, session = self._connected()
        return session.request([], topic_filters, link)

    def _ack(self, mid: int, qos: int) -> None:
        link, session = self._link, self._session
        answer = session.acknowledge(mid, qos) if session is not None else None
        if answer is not None and link is not None:
            with contextlib.suppress(NotConnectedError):  # then the broker sends the message again
                link.send(answer, answer=True)

    def _connected(self) -> tuple[Link, Session]:
        link, session = self._link, self._session
        if link is None or session is None:
            raise NotConnectedError("the connection to the broker has ended")
        return link, session

    # --- what gmqtt's connection brings, in its loop ------------------------------------------------

    def _on_packet(self, link: Link, packet: Packet) -> None:
        handler = _HANDLERS.get(type(packet))
        if handler is None or link.accepted == isinstance(packet, packets.Connack):
            raise MalformedPacketError(
                f"the broker sent {packet.kind.upper()}, which has no place here", reason_code=PROTOCOL_ERROR
            )
        assert self._session is not None
        handler(self, link, self._session, packet)

    def _on_connack_packet(self, link: Link, session: Session, packet: packets.Connack) -> None:
        if packet.reason_code:
            self._connack(False, packet.reason_code, packet.properties)
            link.end(None, report=False)
            return
        link.accept()
        if "server_keep_alive" in packet.properties:
            link.keep_alive(packet.properties["server_keep_alive"])
        resent = packet.session_present and not session.fresh
        session.fresh = False
        if packet.session_present:
            for package in session.resume():  # before anything new, for the order's sake
                link.send(package)
        else:
            session.forget()
        self._connack(packet.session_present, 0, packet.properties, resent=resent)

    def _on_publish_packet(self, link: Link, session: Session, packet: packets.Publish) -> None:
        properties = packet.properties
        if "topic_alias" in properties:
            packet.topic = link.aliases.resolve(packet.topic, properties.pop("topic_alias"))
        qos, packet_id = packet.qos, packet.packet_id
        manual = link.options.manual_ack
        # Past the bound the broker has to wait, by its window of what is not acknowledged. Acknowledgements
        # are sent in the order of the messages (section 4.6): once one waits, so do those that follow.
        full = qos > 0 and not manual and (bool(link.late) or not self._delivery.has_room())
        new = session.is_new(packet, later=qos > 0 and (manual or full))
        if new:
            self._received(
                packet.topic, packet.payload, qos, packet.retain, packet.dup, packet_id, properties
            )
        if full and new:
            link.late.append(packet_id)
            self._delivery.after(partial(self._ack_late, link, packet_id, qos))
        elif qos == 2 or (qos == 1 and not manual):
            answer = session.accepted(packet_id, qos)
            if answer is not None:
                link.send(answer, answer=True)
        limit = self._delivery.limit
        most = max(limit, _WINDOW)
        too_many = len(link.late) >= most or (manual and self._delivery.waiting >= limit + most)
        if (too_many or self._delivery.overweight) and not link.held:
            # The broker's window is that large, or it does not keep to it.
            link.hold()
            self._delivery.after(link.release)

    def _ack_late(self, link: Link, packet_id: int, qos: int) -> None:
        self._ack(packet_id, qos)
        link.late.popleft()

    def _on_answer_packet(
        self, link: Link, session: Session, packet: packets.Puback | packets.Pubrec | packets.Pubcomp
    ) -> None:
        if (
            isinstance(packet, packets.Pubrec)
            and packet.reason_code < UNSPECIFIED_ERROR
            and session.awaits_pubrec(packet.packet_id)
            and not self._pubrec(packet.packet_id)
        ):
            return  # JMqtt says when it may be released
        result = session.answered(packet)
        if isinstance(result, Finished):
            self._acknowledged(result.packet_id, result.reason_code, result.properties)
        elif result is not None:
            link.send(result, answer=True)

    def _on_pubacks(self, packet_ids: list[int]) -> None:
        assert self._session is not None
        self._acknowledged_many(self._session.pubacks(packet_ids))

    def _on_pubrel_packet(self, link: Link, session: Session, packet: packets.Pubrel) -> None:
        link.send(session.released(packet), answer=True)

    def _on_suback_packet(self, _link: Link, session: Session, packet: packets.Suback) -> None:
        session.requested(packet.packet_id)
        self._suback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_unsuback_packet(self, _link: Link, session: Session, packet: packets.Unsuback) -> None:
        session.requested(packet.packet_id)
        self._unsuback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_disconnect_packet(self, link: Link, _session: Session, packet: packets.Disconnect) -> None:
        link.end(None, report=False)
        self._lost(None, packet.reason_code, packet.properties, from_server=True)

    def _on_pingresp_packet(self, _link: Link, _session: Session, _packet: packets.Pingresp) -> None:
        """That it came is all it says."""


_HANDLERS: Final[dict[type, Callable[[JGmqtt, Link, Session, Any], None]]] = {
    packets.Publish: JGmqtt._on_publish_packet,
    packets.Connack: JGmqtt._on_connack_packet,
    packets.Puback: JGmqtt._on_answer_packet,
    packets.Pubrec: JGmqtt._on_answer_packet,
    packets.Pubcomp: JGmqtt._on_answer_packet,
    packets.Pubrel: JGmqtt._on_pubrel_packet,
    packets.Suback: JGmqtt._on_suback_packet,
    packets.Unsuback: JGmqtt._on_unsuback_packet,
    packets.Disconnect: JGmqtt._on_disconnect_packet,
    packets.Pingresp: JGmqtt._on_pingresp_packet,
}
