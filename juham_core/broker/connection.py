"""One client's connection as the broker sees it: the link it arrived on and what was agreed in CONNECT."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from juham_core.broker.limits import Counters, Limits
from juham_core.wire import encode
from juham_core.wire.packets import MQTT_5, Connect, Packet, Publish
from juham_core.wire.properties import Properties

if TYPE_CHECKING:  # a session knows its connection, too
    from juham_core.broker.session import Session


class Link(Protocol):
    """The way from the broker to one client; told apart by identity, so it must be hashable.

    The broker calls both methods while it works. They must return at once, must not raise, and must not
    call the broker: what they cause (the client's answer, the end of the transport) is told to it later.
    """

    def send(self, packet: Packet, /) -> None:
        """Pass a packet on to the client, in order.

        The packet may be on its way to other clients as well: it, its payload and its properties must not
        be changed.
        """

    def close(self) -> None:
        """End the connection once everything sent has gone out.

        The broker has forgotten the link by then: nothing more of it is to be passed on.
        """


class Connection:
    """The life of a session between a CONNACK that accepts and the end of the link."""

    __slots__ = (
        "_counters",
        "aliases",
        "is_v5",
        "keepalive",
        "link",
        "max_packet_size",
        "receiving",
        "seen",
        "send",
        "session",
        "session_expiry",
        "wants_problems",
        "will",
        "window",
    )

    def __init__(
        self, link: Link, connect: Connect, session: Session, limits: Limits, counters: Counters
    ) -> None:
        properties = connect.properties
        self.link = link
        self.send = link.send
        self.session = session
        self.is_v5 = connect.protocol == MQTT_5
        self.will = connect.will
        self.window: int = min(limits.max_inflight, properties.get("receive_maximum", 65_535))
        self.max_packet_size: int | None = properties.get("maximum_packet_size")
        self.wants_problems: bool = properties.get("request_problem_information", 1) == 1
        self.session_expiry: int = properties.get("session_expiry_interval", 0)
        self.keepalive = connect.keepalive
        self.seen = 0.0
        self.aliases: dict[int, str] = {}
        # Packet ids of QoS 2 messages received and not yet released: what the receive maximum counts.
        self.receiving: set[int] = set()
        self._counters = counters

    def publish(self, publish: Publish) -> bool:
        """Send a message as this client's version and maximum packet size allow; False if it was dropped."""
        if not self.is_v5:
            if publish.properties:
                publish = replace(publish, properties=Properties())
        elif self.max_packet_size is not None and _is_larger(publish, self.max_packet_size):
            # Section 3.1.2.11.4: as if it had been sent.
            self._counters.dropped["too_large"] += 1
            return False
        self._counters.sent += 1
        self.send(publish)
        return True


def _is_larger(publish: Publish, size: int) -> bool:
    if not publish.properties and 4 * len(publish.topic) + len(publish.payload) + 16 <= size:
        return False  # as is plain without encoding it
    return len(encode(publish, MQTT_5)) > size
