"""The packets that a connection brings, and what follows from each, in the event loop that gmqtt lives in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from juham_core.errors import MalformedPacketError
from juham_core.wire import packets
from juham_core.wire.exchanges import Finished
from juham_core.wire.packets import Packet
from juham_core.wire.reasons import PROTOCOL_ERROR, UNSPECIFIED_ERROR
from juham_gmqtt.link import Link
from juham_gmqtt.session import Session

if TYPE_CHECKING:
    from juham_gmqtt.backend import JGmqtt

_WINDOW: Final = 100
"""Messages that a broker may send unacknowledged, beyond those that may wait, before it is no longer read."""


class Incoming:
    """What one client is brought in one session."""

    def __init__(self, client: JGmqtt, session: Session) -> None:
        self._client = client
        self._delivery = client._delivery
        self._session = session

    def packet(self, link: Link, packet: Packet) -> None:
        """Take a packet. Raises MalformedPacketError for one that has no place where it comes."""
        handler = _HANDLERS.get(type(packet))
        if handler is None or link.accepted == isinstance(packet, packets.Connack):
            raise MalformedPacketError(
                f"the broker sent {packet.kind.upper()}, which has no place here", reason_code=PROTOCOL_ERROR
            )
        handler(self, link, packet)

    def pubacks(self, packet_ids: list[int]) -> None:
        """Take several PUBACKs that say success."""
        self._client._acknowledged_many(self._session.pubacks(packet_ids))

    def _connack(self, link: Link, packet: packets.Connack) -> None:
        client, session = self._client, self._session
        if packet.reason_code:
            client._connack(False, packet.reason_code, packet.properties)
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
        client._connack(packet.session_present, 0, packet.properties, resent=resent)

    def _publish(self, link: Link, packet: packets.Publish) -> None:
        properties, delivery = packet.properties, self._delivery
        if "topic_alias" in properties:
            packet.topic = link.aliases.resolve(packet.topic, properties.pop("topic_alias"))
        qos, packet_id = packet.qos, packet.packet_id
        manual = link.options.manual_ack
        # Past the bound the broker has to wait, by its window of what is not acknowledged. Acknowledgements
        # are sent in the order of the messages (section 4.6): once one waits, so do those that follow.
        full = qos > 0 and not manual and (bool(link.late) or not delivery.has_room())
        new = self._session.is_new(packet, later=qos > 0 and (manual or full))
        if new:
            self._client._received(
                packet.topic, packet.payload, qos, packet.retain, packet.dup, packet_id, properties
            )
        if full and new:
            link.late.append(packet_id)
            delivery.after(partial(self._acknowledge_late, link, packet_id, qos))
        elif qos == 2 or (qos == 1 and not manual):
            answer = self._session.accepted(packet_id, qos)
            if answer is not None:
                link.send(answer, answer=True)
        limit = delivery.limit
        most = max(limit, _WINDOW)
        too_many = len(link.late) >= most or (manual and delivery.waiting >= limit + most)
        if (too_many or delivery.overweight) and not link.held:
            # The broker's window is that large, or it does not keep to it.
            link.hold()
            delivery.after(link.release)

    def _acknowledge_late(self, link: Link, packet_id: int, qos: int) -> None:
        self._client._ack(packet_id, qos)
        link.late.popleft()

    def _answer(self, link: Link, packet: packets.Puback | packets.Pubrec | packets.Pubcomp) -> None:
        client, session = self._client, self._session
        if (
            isinstance(packet, packets.Pubrec)
            and packet.reason_code < UNSPECIFIED_ERROR
            and session.awaits_pubrec(packet.packet_id)
            and not client._pubrec(packet.packet_id)
        ):
            return  # JMqtt says when it may be released
        result = session.answered(packet)
        if isinstance(result, Finished):
            client._acknowledged(result.packet_id, result.reason_code, result.properties)
        elif result is not None:
            link.send(result, answer=True)

    def _pubrel(self, link: Link, packet: packets.Pubrel) -> None:
        link.send(self._session.released(packet), answer=True)

    def _suback(self, _link: Link, packet: packets.Suback) -> None:
        self._session.requested(packet.packet_id)
        self._client._suback(packet.packet_id, packet.reason_codes, packet.properties)

    def _unsuback(self, _link: Link, packet: packets.Unsuback) -> None:
        self._session.requested(packet.packet_id)
        self._client._unsuback(packet.packet_id, packet.reason_codes, packet.properties)

    def _disconnect(self, link: Link, packet: packets.Disconnect) -> None:
        link.end(None, report=False)
        self._client._lost(None, packet.reason_code, packet.properties, from_server=True)

    def _pingresp(self, _link: Link, _packet: packets.Pingresp) -> None:
        """That it came is all it says."""


_HANDLERS: Final[dict[type, Callable[[Incoming, Link, Any], None]]] = {
    packets.Publish: Incoming._publish,
    packets.Connack: Incoming._connack,
    packets.Puback: Incoming._answer,
    packets.Pubrec: Incoming._answer,
    packets.Pubcomp: Incoming._answer,
    packets.Pubrel: Incoming._pubrel,
    packets.Suback: Incoming._suback,
    packets.Unsuback: Incoming._unsuback,
    packets.Disconnect: Incoming._disconnect,
    packets.Pingresp: Incoming._pingresp,
}
