"""The many ways in which paho lets one name topic filters, made into one."""

from __future__ import annotations

from typing import Any

from juham_core.errors import InvalidArgumentError, TopicError
from juham_core.message import check_qos
from juham_core.topics import check_filter, check_sendable
from juham_core.wire.properties import Properties
from juham_core.wire.terms import Subscription


def subscriptions_of(topic: Any, qos: int = 0, options: Any = None) -> list[Subscription]:
    """A filter, ``(filter, qos)``, ``(filter, options)``, a Subscription, or a list of these, checked.

    Raises TopicError, QosError or InvalidArgumentError.
    """
    if not isinstance(topic, list):
        return [_one(topic, qos, options)]
    if not topic:
        raise TopicError("subscribe to at least one topic filter")
    return [_one(item, qos, options) for item in topic]


def properties_of(subscriptions: list[Subscription]) -> Properties:
    """The properties of the SUBSCRIBE that brings what a backend's ``_subscribe`` is given."""
    identifier = subscriptions[0].identifier
    return Properties(subscription_identifier=identifier) if identifier else Properties()


def _one(item: Any, qos: int, options: Any) -> Subscription:
    if isinstance(item, Subscription):
        name: Any = item.topic_filter
        options = item
    elif isinstance(item, tuple):
        if len(item) != 2:
            raise InvalidArgumentError(
                f"a tuple to subscribe to is (filter, qos); this one has {len(item)} parts"
            )
        name, second = item
        if isinstance(second, int):
            qos, options = second, None
        else:
            options = second
    else:
        name = item
    topic_filter = check_sendable(check_filter(name), "topic filter")
    subscription = (
        Subscription(topic_filter, check_qos(qos)) if options is None else _read(topic_filter, options)
    )
    if subscription.no_local and topic_filter.startswith("$share/"):
        raise InvalidArgumentError("no_local cannot go with a shared subscription (MQTT 5 section 3.8.3.1)")
    return subscription


def _read(topic_filter: str, options: Any) -> Subscription:
    """Subscription options: ours, or anything with the attributes paho gives its own."""
    if isinstance(options, Subscription):
        parts = (options.qos, options.no_local, options.retain_as_published, options.retain_handling)
    else:
        try:
            parts = (options.QoS, options.noLocal, options.retainAsPublished, options.retainHandling)
        except AttributeError:
            raise InvalidArgumentError(
                f"subscription options are a Subscription, not {type(options).__name__}"
            ) from None
    qos, no_local, as_published, handling = parts
    if handling not in (0, 1, 2):
        raise InvalidArgumentError(f"retain_handling is 0, 1 or 2, not {handling!r}")
    return Subscription(topic_filter, check_qos(qos), bool(no_local), bool(as_published), int(handling))


def filters_of(topic: Any) -> list[str]:
    """A topic filter or a list of them, checked."""
    names = topic if isinstance(topic, list) else [topic]
    if not names:
        raise TopicError("unsubscribe from at least one topic filter")
    return [check_sendable(check_filter(name), "topic filter") for name in names]
