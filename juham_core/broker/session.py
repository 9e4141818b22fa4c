"""A client's session: what the broker remembers of a client between and beyond its connections."""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from juham_core.broker.connection import Connection
from juham_core.broker.limits import Counters
from juham_core.wire.packets import Publish, Pubrel, Will
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND, UNSPECIFIED_ERROR

if TYPE_CHECKING:  # subscriptions point at sessions
    from juham_core.broker.subscriptions import Group, Held

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message above QoS 0 on its way to one session; ``publish`` belongs to it alone.

    ``expires`` is on the broker's clock, None for never. ``group`` is the shared subscription it was
    chosen from. Once ``released`` (PUBREC came) only PUBREL is repeated.
    """

    publish: Publish
    expires: float | None = None
    group: Group | None = None
    released: bool = False


def with_remaining_expiry(publish: Publish, expires: float | None, now: float) -> Publish:
    """The message with the time that it waited taken off its expiry interval (section 3.3.2.3.3)."""
    if expires is None:
        return publish
    remaining = Properties(publish.properties, message_expiry_interval=max(1, math.ceil(expires - now)))
    return replace(publish, properties=remaining)


class Session:
    """Subscriptions, messages under way in both directions, and the queue (MQTT 5 section 4.1)."""

    def __init__(self, client_id: str, max_queued: int, counters: Counters) -> None:
        self.client_id = client_id
        self.connection: Connection | None = None
        self.expiry = 0.0  # seconds after the connection has ended; math.inf for never
        self.delayed_will: Will | None = None
        self.subscriptions: dict[str, Held] = {}
        self.received: set[int] = set()  # packet ids of QoS 2 messages the client has not yet released
        self.inflight: dict[int, Outgoing] = {}
        self.queue: deque[Outgoing] = deque()
        self._resend: deque[int] = deque()  # of those in flight, the ones this connection has not seen yet
        self._max_queued = max_queued
        self._counters = counters
        self._last_id = 0
        self._told_full = False  # in the life of the session one line will do

    def offer(self, outgoing: Outgoing) -> None:
        """Send the message if there is a connection with room in its window; queue it otherwise."""
        connection = self.connection
        # Where there is room nothing waits: each acknowledgement pumps.
        if connection is not None and len(self.inflight) < connection.window:
            self._start(connection, outgoing)
        elif len(self.queue) < self._max_queued:
            self.queue.append(outgoing)
        else:
            self._counters.dropped["queue_full"] += 1
            if not self._told_full:
                self._told_full = True
                log.warning(
                    "%d messages wait for the client %r in the embedded broker: those after them are dropped "
                    "(max_queued)",
                    len(self.queue),
                    self.client_id,
                )

    def resume(self, connection: Connection, now: float) -> None:
        """Take up what an earlier connection left unfinished (section 4.4), then the queue."""
        self.connection = connection
        for packet_id, outgoing in self.inflight.items():
            if outgoing.released:
                connection.send(Pubrel(packet_id))
            else:
                self._resend.append(packet_id)
        self._pump(now)

    def suspend(self) -> None:
        """The connection has ended; what was under way waits for the next."""
        self.connection = None
        self._resend.clear()

    def on_puback(self, packet_id: int, now: float) -> bool:
        """Finish a QoS 1 message; False if the client broke the protocol."""
        outgoing = self.inflight.get(packet_id)
        if outgoing is None:
            return True
        if outgoing.publish.qos != 1:
            return False
        self._finish(packet_id, now)
        return True

    def on_pubrec(self, packet_id: int, reason_code: int, now: float) -> bool:
        """Release a QoS 2 message, or finish it if the client refused it; False for a broken protocol."""
        outgoing = self.inflight.get(packet_id)
        connection = self.connection
        if connection is None:
            return True
        if outgoing is None:
            connection.send(Pubrel(packet_id, PACKET_IDENTIFIER_NOT_FOUND))
            return True
        if outgoing.publish.qos != 2:
            return False
        if reason_code >= UNSPECIFIED_ERROR:
            self._finish(packet_id, now)
            return True
        if not outgoing.released:
            outgoing.released = True
            # To the end: PUBREL is repeated in the order in which PUBREC came (section 4.6).
            self.inflight[packet_id] = self.inflight.pop(packet_id)
            if packet_id in self._resend:
                self._resend.remove(packet_id)
        connection.send(Pubrel(packet_id))
        return True

    def on_pubcomp(self, packet_id: int, now: float) -> bool:
        """Finish a QoS 2 message; False if the client broke the protocol."""
        outgoing = self.inflight.get(packet_id)
        if outgoing is None:
            return True
        if not outgoing.released:
            return False
        self._finish(packet_id, now)
        return True

    def discard_expired(self, now: float) -> float | None:
        """Drop what expired in the queue; return when the next message will, or None."""
        kept = deque(item for item in self.queue if item.expires is None or item.expires > now)
        self._counters.dropped["expired"] += len(self.queue) - len(kept)
        self.queue = kept
        return min((item.expires for item in kept if item.expires is not None), default=None)

    def _pump(self, now: float) -> None:
        connection = self.connection
        if connection is None:
            return
        while len(self.inflight) - len(self._resend) < connection.window:
            if self._resend:
                outgoing = self.inflight[self._resend.popleft()]
                publish = with_remaining_expiry(outgoing.publish, outgoing.expires, now)
                connection.publish(replace(publish, dup=True))
            elif self.queue:
                outgoing = self.queue.popleft()
                if outgoing.expires is not None and outgoing.expires <= now:
                    self._counters.dropped["expired"] += 1
                    continue
                outgoing.publish = with_remaining_expiry(outgoing.publish, outgoing.expires, now)
                self._start(connection, outgoing)
            else:
                return

    def _start(self, connection: Connection, outgoing: Outgoing) -> None:
        packet_id = self._free_id()
        outgoing.publish.packet_id = packet_id
        if connection.publish(outgoing.publish):
            self.inflight[packet_id] = outgoing

    def _finish(self, packet_id: int, now: float) -> None:
        del self.inflight[packet_id]
        if packet_id in self._resend:
            self._resend.remove(packet_id)
        if self.queue or self._resend:
            self._pump(now)

    def _free_id(self) -> int:
        # The window is smaller than the number of ids, so there is always a free one.
        packet_id = self._last_id
        while True:
            packet_id = packet_id % 65_535 + 1
            if packet_id not in self.inflight:
                self._last_id = packet_id
                return packet_id
