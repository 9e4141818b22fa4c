"""Copies: where a broker sends a message once for each overlapping subscription, it is delivered once.

MQTT 5 (section 3.3.4) lets a broker send one copy with all subscription identifiers, or one for each matching
subscription. JMqtt gives an identifier to each subscription that overlaps with an earlier one, so each copy
tells which subscription it is for. The n-th copy for one subscription belongs to the n-th for another, as
the order of messages is kept (section 4.6); copies are equal in topic, payload and properties. So a message
that was delivered for one subscription stands for the copies that are still missing, and nothing that has
come only once is ever taken for a copy: a broker that merges, that drops one copy of QoS 0, or that had
queued a message before a subscription was made, costs a little memory and no message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from juham_core.message import MqttMsg

MOST: Final = 1_000
"""Messages remembered, of which a copy is missing."""


class _Delivered:
    """A message that the application has got, and the subscriptions whose copies have not come."""

    __slots__ = ("key", "missing", "qos")

    def __init__(self, key: int, qos: int, missing: frozenset[int]) -> None:
        self.key = key
        self.qos = qos
        self.missing = missing


class Copies:
    """What one client has been delivered and may get again. For one thread, the library's."""

    def __init__(
        self, expected: Callable[[str], frozenset[int]], deliver: Callable[[MqttMsg], bool]
    ) -> None:
        self._expected = expected
        self._deliver = deliver
        self._by_key: dict[int, deque[_Delivered]] = {}
        self._in_order: deque[_Delivered] = deque()

    def received(self, message: MqttMsg, manual: bool) -> bool:
        """Deliver a message; False, and nothing is done, if it is a copy of one that was delivered.

        ``manual``: the application is to acknowledge it. What it was delivered at QoS 0 did not ask for that,
        so then it gets the copy too.
        """
        found = message._properties.pop("subscription_identifier", None) if message._properties else None
        identifiers = frozenset(found or (0,))
        expected = self._expected(message.topic)
        if len(expected) < 2 or not identifiers <= expected:
            self._deliver(message)
            return True
        key = _key(message)
        delivered = self._stands_for(key, identifiers)
        if delivered is not None:
            if manual and delivered.qos == 0:
                self._deliver(message)
                return True
            return False
        # What was refused for want of room may still come as a copy of a higher QoS.
        if self._deliver(message) and identifiers != expected:
            self._remember(_Delivered(key, message.qos, expected - identifiers))
        return True

    def _stands_for(self, key: int, identifiers: frozenset[int]) -> _Delivered | None:
        """What was delivered already of the message with this key, for another subscription."""
        for delivered in self._by_key.get(key, ()):
            if identifiers <= delivered.missing:
                delivered.missing -= identifiers
                if not delivered.missing:
                    self._forget(delivered)
                    self._in_order.remove(delivered)
                return delivered
        return None

    def _remember(self, delivered: _Delivered) -> None:
        self._by_key.setdefault(delivered.key, deque()).append(delivered)
        self._in_order.append(delivered)
        if len(self._in_order) > MOST:
            self._forget(self._in_order.popleft())

    def clear(self) -> None:
        """Expect no further copy: the session in which they would have come is gone."""
        self._by_key.clear()
        self._in_order.clear()

    def _forget(self, delivered: _Delivered) -> None:
        entries = self._by_key[delivered.key]
        entries.remove(delivered)
        if not entries:
            del self._by_key[delivered.key]


def _key(message: MqttMsg) -> int:
    """A number instead of the content itself, which may be large; equal content has the same."""
    properties = message._properties
    rest = [
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in sorted((properties or {}).items())
        if name != "message_expiry_interval"  # the broker counts it down
    ]
    return hash((message.topic, message.payload, *rest))
