"""From an incoming PUBLISH to its subscribers: checks, acknowledgements, retaining and fanning out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from juham_core.broker.connection import Connection, Link
from juham_core.broker.limits import Counters, Limits
from juham_core.broker.retained import Kept, Retained
from juham_core.broker.session import Outgoing, Session, with_remaining_expiry
from juham_core.broker.subscriptions import Delivery, Held, Route, Subscriptions
from juham_core.broker.timers import Timers
from juham_core.errors import TopicError
from juham_core.topics import check_topic
from juham_core.wire import reasons
from juham_core.wire.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel
from juham_core.wire.properties import Properties


class ProtocolViolationError(Exception):
    """A client broke the protocol: its connection ends with this reason code (section 4.13)."""

    def __init__(self, reason_code: int) -> None:
        super().__init__(reasons.ReasonCode(reason_code).getName())
        self.reason_code = reason_code


class Router:
    """The message path of the broker. Not locked: the broker's caller serializes."""

    def __init__(
        self, limits: Limits, timers: Timers, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self.subscriptions = Subscriptions()
        self.retained = Retained()
        self._limits = limits
        self._timers = timers
        self._counters = counters
        self._clock = clock

    def receivers(self, topic: str) -> list[Link] | None:
        """Who gets a message of QoS 0 without retain and properties just as it is; they count as sent it.

        None if that takes a closer look, and :meth:`received`: the topic is new, a subscription is shared,
        has an identifier or is not for everybody's messages, a receiver is away or particular about sizes.
        """
        subscriptions = self.subscriptions
        route = subscriptions.routes.get(topic)
        if route is None:
            return None
        if route.epoch != subscriptions.epoch:
            route.links = _links_of(route)
            route.epoch = subscriptions.epoch  # last, for Broker.known_receivers
        links = route.links
        if links is not None:
            counters = self._counters
            counters.received += 1
            counters.sent += len(links)
        return links

    def received(self, connection: Connection, publish: Publish) -> None:
        """Take a PUBLISH from a client and acknowledge it; raises ProtocolViolationError."""
        qos = publish.qos
        if qos == 0 and not publish.retain and not publish.properties:
            receivers = self.receivers(publish.topic)
            if receivers is not None:
                for receiver in receivers:
                    receiver.send(publish)
                return
        self._counters.received += 1
        publish = self._checked(connection, publish)
        if qos == 0:
            self.publish(publish, connection.session)
        elif qos == 1:
            self._check_quota(connection)
            code = self._publish_acknowledged(connection, publish)
            connection.send(Puback(publish.packet_id, code))
        elif publish.packet_id in connection.session.received:
            # Sent again because PUBREC got lost: delivered already (section 4.3.3).
            connection.receiving.add(publish.packet_id)
            connection.send(Pubrec(publish.packet_id))
        else:
            self._check_quota(connection)
            connection.session.received.add(publish.packet_id)
            connection.receiving.add(publish.packet_id)
            code = self._publish_acknowledged(connection, publish)
            connection.send(Pubrec(publish.packet_id, code))

    def released(self, connection: Connection, pubrel: Pubrel) -> None:
        """Answer a PUBREL: its packet id is free again."""
        known = pubrel.packet_id in connection.session.received
        connection.session.received.discard(pubrel.packet_id)
        connection.receiving.discard(pubrel.packet_id)
        code = reasons.SUCCESS if known or not connection.is_v5 else reasons.PACKET_IDENTIFIER_NOT_FOUND
        connection.send(Pubcomp(pubrel.packet_id, code))

    def publish(self, publish: Publish, sender: Session | None) -> bool:
        """Retain a message if it says so and fan it out; False if nobody was subscribed.

        Raises :class:`~juham_core.errors.TopicError` for an invalid topic.
        """
        expires: float | None = None
        interval = publish.properties.get("message_expiry_interval")
        if interval is not None:
            expires = self._clock() + interval
        route = self.subscriptions.route(publish.topic)
        if publish.retain:
            self.retained.set(Kept(publish, expires, sender.client_id if sender else None))
            if expires is not None:
                self._discard_retained_at(expires)
        for delivery in route.deliveries:
            self._deliver(delivery, publish, sender, expires)
        for group in route.groups:
            chosen = group.choose()
            if chosen is not None:
                self._deliver(chosen, publish, sender, expires)
        return bool(route.deliveries or route.groups)

    def replay(self, session: Session, held: Held) -> None:
        """Send the retained messages that a new subscription matches (section 3.8.4)."""
        identifiers = [] if held.identifier is None else [held.identifier]
        delivery = Delivery(session, held.options.qos, retain_as_published=True, identifiers=identifiers)
        now = self._clock()
        for kept in self.retained.match(held.options.topic_filter):
            if kept.expires is not None and kept.expires <= now:
                continue
            if held.options.no_local and kept.client_id == session.client_id:
                continue
            publish = with_remaining_expiry(kept.publish, kept.expires, now)
            self._deliver(delivery, publish, None, kept.expires)

    def redistribute(self, session: Session) -> None:
        """Pass what an ended session had of shared subscriptions on to other members (section 4.8.2).

        QoS 2 messages that it may have seen stay lost: nobody else may get them.
        """
        abandoned = [out for out in session.inflight.values() if out.publish.qos == 1] + list(session.queue)
        for outgoing in abandoned:
            chosen = outgoing.group.choose() if outgoing.group else None
            if chosen is None:
                self._counters.dropped["session_ended"] += 1
            else:
                properties = Properties(outgoing.publish.properties)
                properties.pop("subscription_identifier", None)
                publish = replace(outgoing.publish, properties=properties)
                self._deliver(chosen, publish, None, outgoing.expires)

    def _checked(self, connection: Connection, publish: Publish) -> Publish:
        """The message as subscribers may get it, with its alias resolved."""
        if publish.qos not in (0, 1, 2):
            raise ProtocolViolationError(reasons.MALFORMED_PACKET)
        if publish.qos and not publish.packet_id:
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
        properties = publish.properties
        if properties:
            if not connection.is_v5 or "subscription_identifier" in properties:
                raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
            response_topic = properties.get("response_topic")
            if response_topic is not None:
                _check_name(response_topic)
            if "topic_alias" in properties:
                publish = self._without_alias(connection, publish)
        if not publish.topic:
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
        if publish.topic not in self.subscriptions.routes:
            _check_name(publish.topic)
        return publish

    def _without_alias(self, connection: Connection, publish: Publish) -> Publish:
        """Section 3.3.2.3.4: with a topic the alias is set, without one it stands for the topic."""
        properties = Properties(publish.properties)
        alias = properties.pop("topic_alias")
        if not 1 <= alias <= self._limits.topic_alias_maximum:
            raise ProtocolViolationError(reasons.TOPIC_ALIAS_INVALID)
        if publish.topic:
            _check_name(publish.topic)
            connection.aliases[alias] = publish.topic
        topic = connection.aliases.get(alias)
        if topic is None:
            raise ProtocolViolationError(reasons.PROTOCOL_ERROR)
        return replace(publish, topic=topic, properties=properties)

    def _check_quota(self, connection: Connection) -> None:
        """Section 3.3.4: the client may not have more under way than the receive maximum it was told."""
        if connection.is_v5 and len(connection.receiving) >= self._limits.receive_maximum:
            raise ProtocolViolationError(reasons.RECEIVE_MAXIMUM_EXCEEDED)

    def _publish_acknowledged(self, connection: Connection, publish: Publish) -> int:
        if self.publish(publish, connection.session) or not connection.is_v5:
            return reasons.SUCCESS
        return reasons.NO_MATCHING_SUBSCRIBERS

    def _deliver(
        self, delivery: Delivery, publish: Publish, sender: Session | None, expires: float | None
    ) -> None:
        """Give one session its copy: at the lesser QoS, with its identifiers and the retain flag it wants."""
        session = delivery.session
        if session is sender:
            if delivery.own is None:
                return
            delivery = delivery.own
        qos = min(publish.qos, delivery.qos)
        connection = session.connection
        if qos == 0 and connection is None:
            self._counters.dropped["offline"] += 1
            return
        properties = publish.properties
        if delivery.identifiers:
            properties = Properties(properties, subscription_identifier=delivery.identifiers)
        retain = publish.retain and delivery.retain_as_published
        copy = Publish(publish.topic, publish.payload, qos, retain, properties=properties)
        if connection is not None and qos == 0:
            connection.publish(copy)
            return
        session.offer(Outgoing(copy, expires, delivery.group))
        if expires is not None and session.queue:
            self._discard_queued_at(session, expires)

    def _discard_retained_at(self, when: float) -> None:
        def discard() -> None:
            following = self.retained.discard_expired(self._clock())
            if following is not None:
                self._discard_retained_at(following)

        self._timers.set_earlier("retained", self._swept(when), discard)

    def _discard_queued_at(self, session: Session, when: float) -> None:
        def discard() -> None:
            following = session.discard_expired(self._clock())
            if following is not None:
                self._discard_queued_at(session, following)

        self._timers.set_earlier(("queue", session), self._swept(when), discard)

    def _swept(self, when: float) -> float:
        """Expired messages are never sent; clearing them away happens once a second at most."""
        return max(when, self._clock() + 1.0)


def _check_name(topic: str) -> None:
    try:
        check_topic(topic)
    except TopicError as exc:
        raise ProtocolViolationError(reasons.TOPIC_NAME_INVALID) from exc


def _links_of(route: Route) -> list[Link] | None:
    """Where all messages of a route go as they are; None if one of them might have to be changed or kept."""
    links = []
    for delivery in route.deliveries:
        receiver = delivery.session.connection
        if (
            receiver is None
            or receiver.max_packet_size is not None
            or delivery.identifiers
            or delivery.own is not delivery
        ):
            return None
        links.append(receiver.link)
    return None if route.groups else links
