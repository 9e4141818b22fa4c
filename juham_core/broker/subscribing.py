"""SUBSCRIBE and UNSUBSCRIBE: what is granted, and what retained messages follow (sections 3.8 to 3.11)."""

from __future__ import annotations

from dataclasses import replace

from juham_core.broker.connection import Connection
from juham_core.broker.routing import ProtocolViolationError, Router
from juham_core.broker.session import Session
from juham_core.broker.subscriptions import Held
from juham_core.errors import TopicError
from juham_core.topics import check_filter, split_share
from juham_core.wire import encode, reasons
from juham_core.wire.packets import MQTT_5, Suback, Subscribe, Unsuback, Unsubscribe
from juham_core.wire.properties import Properties


def subscribe(router: Router, connection: Connection, packet: Subscribe) -> None:
    """Grant each valid filter, answer, and send the retained messages; raises ProtocolViolationError."""
    identifier = _identifier(packet)
    codes: list[int] = []
    replays: list[Held] = []
    problem = ""
    for wanted in packet.subscriptions:
        if wanted.qos not in (0, 1, 2) or wanted.retain_handling not in (0, 1, 2):
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
        try:
            group, _ = split_share(check_filter(wanted.topic_filter))
        except TopicError as exc:
            problem = problem or str(exc)
            codes.append(reasons.TOPIC_FILTER_INVALID if connection.is_v5 else reasons.UNSPECIFIED_ERROR)
            continue
        if group is not None and wanted.no_local:
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)  # section 3.8.3.1
        held = Held(replace(wanted), identifier)
        is_new = router.subscriptions.add(connection.session, held)
        codes.append(wanted.qos)
        # Section 4.8.2: a shared subscription gets no retained messages.
        if group is None and (wanted.retain_handling == 0 or (wanted.retain_handling == 1 and is_new)):
            replays.append(held)
    properties = Properties()
    # Sections 3.1.2.11.7 and 3.9.2.1.2: only if asked for, and only if the packet stays small enough.
    if problem and connection.is_v5 and connection.wants_problems:
        properties["reason_string"] = problem
        most = connection.max_packet_size
        if most is not None and len(encode(Suback(packet.packet_id, codes, properties), MQTT_5)) > most:
            properties = Properties()
    connection.send(Suback(packet.packet_id, codes, properties))
    for held in replays:
        router.replay(connection.session, held)


def unsubscribe(router: Router, connection: Connection, packet: Unsubscribe) -> None:
    """Let go of each filter and answer; raises ProtocolViolationError."""
    if not packet.packet_id or not packet.topic_filters:
        raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
    codes = [_unsubscribed(router, connection.session, each) for each in packet.topic_filters]
    connection.send(Unsuback(packet.packet_id, codes if connection.is_v5 else []))


def _identifier(packet: Subscribe) -> int | None:
    identifiers: list[int] = packet.properties.get("subscription_identifier", [])
    if not packet.packet_id or not packet.subscriptions or len(identifiers) > 1 or 0 in identifiers:
        raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
    return identifiers[0] if identifiers else None


def _unsubscribed(router: Router, session: Session, topic_filter: str) -> int:
    try:
        check_filter(topic_filter)
    except TopicError:
        return reasons.TOPIC_FILTER_INVALID
    existed = router.subscriptions.remove(session, topic_filter)
    return reasons.SUCCESS if existed else reasons.NO_SUBSCRIPTION_EXISTED
