"""The part of the packets that a program speaks in itself: versions, bounds, subscriptions and wills.

A module of its own, for a client over a library needs these and no codec, which takes long to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from juham_core.wire.properties import Properties

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from juham_core.records import dataclass, field

MQTT_311: Final = 4
MQTT_5: Final = 5
MAX_PAYLOAD: Final = 268_435_455
"""The largest remaining length a packet can state (section 1.5.5), hence no payload can be larger."""
LARGEST_PACKET: Final = 268_435_460
"""The largest packet MQTT can frame: a remaining length of 268,435,455, and its fixed header of 5 bytes."""
WANTED: Final = 60_000
"""The last of the packet identifiers that an outbox may want; others are taken from above."""


def past_wanted(last_id: int) -> int:
    """Where who gives packet identifiers in turn goes on after this one, once an outbox wants its own."""
    return max(last_id, WANTED)


@dataclass(slots=True)
class Subscription:
    """One topic filter and how it is subscribed to (MQTT 5 section 3.8.3.1).

    ``identifier`` is JMqtt's word to a backend, not a part of the filter's options: see
    :meth:`juham_core.primitives.Backend._subscribe`.
    """

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = field(default=0, compare=False)


@dataclass(slots=True)
class Will:
    """The message a broker publishes for a client that vanished (section 3.1.2.5)."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)
