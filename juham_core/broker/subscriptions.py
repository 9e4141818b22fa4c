"""Who is to get a message published to a topic: the subscriptions of all sessions, plain and shared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from juham_core.broker.connection import Link
from juham_core.broker.session import Session
from juham_core.filtertree import FilterTree
from juham_core.topics import check_topic, split_share
from juham_core.wire.packets import Subscription

MAX_CACHED_TOPICS: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A subscription as granted, and the subscription identifier that came with it (section 3.8.2.1.2)."""

    options: Subscription
    identifier: int | None = None


@dataclass(slots=True, eq=False)
class Delivery:
    """How one session gets the messages of one topic: its matching subscriptions, merged into one copy.

    ``own`` is what it gets of its own messages: no-local subscriptions are left out, None if all are.
    """

    session: Session
    qos: int
    retain_as_published: bool
    identifiers: list[int]
    own: Delivery | None = None
    group: Group | None = None


class Group:
    """The members that share one filter under one group name; each message goes to one of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Session, Delivery] = {}
        self._waiting: list[Session] = []  # in the order of their turns

    def add(self, session: Session, held: Held) -> None:
        """Make the session a member, or change how it is subscribed."""
        if session not in self.members:
            self._waiting.append(session)
        self.members[session] = _merge(session, [held], self)

    def remove(self, session: Session) -> None:
        """Let a member go."""
        del self.members[session]
        self._waiting.remove(session)

    def choose(self) -> Delivery | None:
        """Whose turn it is: a connected member's, or if none is, one's whose session lives on."""
        chosen = next((member for member in self._waiting if member.connection is not None), None)
        if chosen is None:
            if not self._waiting:
                return None
            chosen = self._waiting[0]
        self._waiting.remove(chosen)
        self._waiting.append(chosen)
        return self.members[chosen]


@dataclass(slots=True, eq=False)
class Route:
    """The way of a topic's messages: to each session of ``deliveries`` and to one member of each group."""

    deliveries: list[Delivery] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    links: list[Link] | None = None
    """Where plain messages of QoS 0 go as they are, as of ``epoch``; None if it is not as simple as that."""
    epoch: int = -1


class _Subscribers:
    """Those of one filter."""

    __slots__ = ("groups", "plain")

    def __init__(self) -> None:
        self.plain: dict[Session, Held] = {}
        self.groups: dict[str, Group] = {}


class Subscriptions:
    """All subscriptions by filter. Routes are kept by topic until any subscription changes. Not locked."""

    def __init__(self) -> None:
        self._tree: FilterTree[_Subscribers] = FilterTree()
        self._by_filter: dict[str, _Subscribers] = {}
        self.routes: dict[str, Route] = {}
        self.count = 0
        self.epoch = 0
        """Raised whenever a session gets a connection or loses it."""

    def add(self, session: Session, held: Held) -> bool:
        """Subscribe the session; True if that filter was new to it. The filter must be valid."""
        topic_filter = held.options.topic_filter
        group_name, plain = split_share(topic_filter)
        subscribers = self._by_filter.get(plain)
        if subscribers is None:
            subscribers = _Subscribers()
            self._tree.add(plain, subscribers)
            # Last: should a signal come between, one that is here and not in the tree would hear of nothing.
            self._by_filter[plain] = subscribers
        if group_name is None:
            subscribers.plain[session] = held
        else:
            subscribers.groups.setdefault(group_name, Group(group_name)).add(session, held)
        is_new = topic_filter not in session.subscriptions
        session.subscriptions[topic_filter] = held
        self.count += is_new
        self.routes.clear()
        return is_new

    def remove(self, session: Session, topic_filter: str) -> bool:
        """Unsubscribe the session; False if it was not subscribed to that very filter."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        group_name, plain = split_share(topic_filter)
        subscribers = self._by_filter[plain]
        if group_name is None:
            del subscribers.plain[session]
        else:
            group = subscribers.groups[group_name]
            group.remove(session)
            if not group.members:
                del subscribers.groups[group_name]
        if not subscribers.plain and not subscribers.groups:
            del self._by_filter[plain]
            self._tree.remove(plain)
        self.count -= 1
        self.routes.clear()
        return True

    def route(self, topic: str) -> Route:
        """The way of a topic's messages; raises :class:`~juham_core.errors.TopicError` for a bad topic."""
        route = self.routes.get(topic)
        if route is not None:
            return route
        check_topic(topic)
        matching: dict[Session, list[Held]] = {}
        route = Route()
        for subscribers in self._tree.match(topic):
            for session, held in subscribers.plain.items():
                matching.setdefault(session, []).append(held)
            route.groups += subscribers.groups.values()
        route.deliveries = [_merge(session, held) for session, held in matching.items()]
        if len(self.routes) >= MAX_CACHED_TOPICS:
            self.routes.clear()
        self.routes[topic] = route
        return route


def _merge(session: Session, subscriptions: list[Held], group: Group | None = None) -> Delivery:
    """One copy with the greatest QoS and every identifier (section 3.3.4), and the same without no-local."""
    delivery = _merge_all(session, subscriptions, group)
    foreign_too = [held for held in subscriptions if not held.options.no_local]
    if len(foreign_too) == len(subscriptions):
        delivery.own = delivery
    elif foreign_too:
        delivery.own = _merge_all(session, foreign_too, group)
    return delivery


def _merge_all(session: Session, subscriptions: list[Held], group: Group | None) -> Delivery:
    return Delivery(
        session,
        max(held.options.qos for held in subscriptions),
        any(held.options.retain_as_published for held in subscriptions),
        [held.identifier for held in subscriptions if held.identifier is not None],
        group=group,
    )
