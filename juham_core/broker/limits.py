"""What the embedded broker allows a client, and what it counts: numbers that all its parts share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from juham_core.errors import OptionError


@dataclass(frozen=True)
class Limits:
    """The bounds of a broker. Raises :class:`~juham_core.errors.OptionError` for one that cannot be kept.

    ``max_inflight``: messages above QoS 0 sent to one client and not yet acknowledged; the client's own
    receive maximum lowers it. ``max_queued``: messages that wait for one client; when full, the newest is
    dropped and counted. ``receive_maximum``, ``topic_alias_maximum`` and ``max_packet_size`` (bytes, None:
    as large as MQTT allows) bound what an MQTT 5 client may send and are announced to it (section 3.2.2.3).
    ``max_session_expiry`` (seconds) ends abandoned sessions, ``max_keepalive`` (seconds) forces a keepalive
    upon MQTT 5 clients; None leaves both to the client.

    The listener's own: ``connect_timeout``, seconds within which CONNECT has to come, and ``write_buffer``,
    bytes waiting for a slow reader past which its QoS 0 messages are dropped and counted.
    """

    max_inflight: int = 20
    max_queued: int = 10_000
    receive_maximum: int = 65_535
    topic_alias_maximum: int = 100
    max_packet_size: int | None = None
    max_session_expiry: int | None = None
    max_keepalive: int | None = None
    connect_timeout: float = 10.0
    write_buffer: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_inflight", 1, 65_535),
            ("max_queued", 0, None),
            ("receive_maximum", 1, 65_535),
            ("topic_alias_maximum", 0, 65_535),
            ("max_packet_size", 1, 0xFFFF_FFFF),
            ("max_session_expiry", 0, 0xFFFF_FFFE),
            ("max_keepalive", 1, 65_535),
            ("connect_timeout", 0, None),
            ("write_buffer", 0, None),
        ):
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                bounds = f"at least {low:,}" if high is None else f"from {low:,} to {high:,}"
                raise OptionError(f"the broker's limit {name} is {bounds}, not {value!r}")


@dataclass(frozen=True)
class Statistics:
    """A broker at one moment: what it holds, and how many PUBLISH packets it has received and sent.

    ``dropped`` counts messages that a subscriber should have had and did not get, by reason:
    ``queue_full``, ``expired``, ``too_large`` (for the client's maximum packet size), ``offline`` (QoS 0 for
    a session without a connection), ``slow_reader`` (QoS 0 past the write buffer) and ``session_ended``.
    """

    sessions: int
    connected: int
    subscriptions: int
    retained: int
    received: int
    sent: int
    dropped: dict[str, int]


@dataclass(slots=True)
class Counters:
    """The running numbers behind :class:`Statistics`."""

    received: int = 0
    sent: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
