"""What a broker says it will not take, which a client must not even try (MQTT 5 section 3.2.2.3).

A broker ends the connection on which it is sent what it has said it does not take; sent again with the next
one, that would go on for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from juham_core.message import MqttMsg
from juham_core.topics import split_share
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import (
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
)
from juham_core.wire.terms import MQTT_5, Subscription

_LIMITING: Final = frozenset(
    {
        "maximum_packet_size",
        "maximum_qos",
        "retain_available",
        "wildcard_subscription_available",
        "shared_subscription_available",
    }
)
_OVERHEAD: Final = 16
"""Bytes in which the parts of a PUBLISH without properties fit that are neither topic nor payload."""


class BrokerLimits:
    """The limits of one connection, from CONNACK's properties; made by :meth:`announced`."""

    def __init__(self, properties: Properties) -> None:
        self._size: int | None = properties.maximum_packet_size
        self._qos: int = properties.get("maximum_qos", 2)
        self._retain = properties.get("retain_available", 1) != 0
        self._wildcards = properties.get("wildcard_subscription_available", 1) != 0
        self._shared = properties.get("shared_subscription_available", 1) != 0

    @classmethod
    def announced(cls, properties: Properties) -> BrokerLimits | None:
        """The limits, or None where there are none: then no message is to be looked at."""
        return None if _LIMITING.isdisjoint(properties) else cls(properties)

    def on_publish(self, message: MqttMsg) -> tuple[int, Properties] | None:
        """The reason code and properties with which the broker would refuse a message, or None."""
        if message.qos > self._qos:
            return _refusal(QOS_NOT_SUPPORTED, f"QoS {self._qos} at most, and this one has {message.qos}")
        if message.retain and not self._retain:
            return _refusal(RETAIN_NOT_SUPPORTED, "no retained messages")
        if self._size is not None:
            size = _size_of(message, self._size)
            if size > self._size:
                what = f"packets of {self._size:,} bytes at most, and this one has {size:,}"
                return _refusal(PACKET_TOO_LARGE, what)
        return None

    def on_subscribe(self, subscription: Subscription) -> int | None:
        """The reason code with which the broker would refuse a subscription, or None."""
        if not self.fitting([subscription]):
            return PACKET_TOO_LARGE
        group, topic_filter = split_share(subscription.topic_filter)
        if group is not None and not self._shared:
            return SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not self._wildcards and ("+" in topic_filter or "#" in topic_filter):
            return WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
        return None

    def on_filter(self, asked: Subscription | str) -> int | None:
        """As :meth:`on_subscribe`, or of a subscription that is to be ended."""
        if isinstance(asked, Subscription):
            return self.on_subscribe(asked)
        return None if self.fitting([asked]) else PACKET_TOO_LARGE

    def fitting(self, filters: Sequence[Subscription | str]) -> int:
        """How many of these, from the first on, one packet may have: SUBSCRIBE, or UNSUBSCRIBE for str."""
        if self._size is None:
            return len(filters)
        size = 3  # packet identifier and length of the properties
        for count, each in enumerate(filters):
            if isinstance(each, str):
                size += 2 + len(each.encode())
            else:
                size += 3 + len(each.topic_filter.encode())
                if not count and each.identifier:
                    size += 1 + _varint(each.identifier)
            if 1 + _varint(size) + size > self._size:
                return count
        return len(filters)


def _varint(number: int) -> int:
    """The bytes that a variable byte integer takes (section 1.5.5)."""
    return 1 + (number > 127) + (number > 16_383) + (number > 2_097_151)


def _refusal(code: int, takes: str) -> tuple[int, Properties]:
    why = f"it announced with CONNACK that it takes {takes}; nothing was sent"
    return code, Properties(reason_string=why)


def _size_of(message: MqttMsg, limit: int) -> int:
    """The bytes that a message takes on the wire; an upper bound if that is within the limit."""
    bound = 4 * len(message.topic) + len(message.payload) + _OVERHEAD
    if bound <= limit and not message._properties:
        return bound
    packet_id = 1 if message.qos else 0
    # Few brokers have a limit, and the codec takes long to import.
    from juham_core.wire.encoder import encode  # noqa: PLC0415
    from juham_core.wire.packets import Publish  # noqa: PLC0415

    packet = Publish(
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        packet_id=packet_id,
        properties=message.properties,
    )
    return len(encode(packet, MQTT_5))
