"""What outlives a connection: packet identifiers, and the exchanges of QoS 1 and 2 that are under way."""

from __future__ import annotations

from typing import Final

from juham_core.errors import QueueFullError
from juham_core.options import Options
from juham_core.wire import Puback, Pubcomp, Pubrec, Pubrel, encode
from juham_core.wire.arrivals import Arrivals
from juham_core.wire.exchanges import Finished
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND, UNSPECIFIED_ERROR
from juham_core.wire.terms import past_wanted

DUP: Final = 0x08
"""The flag of a PUBLISH that is sent again (MQTT 5 section 3.3.1.1)."""
_LAST: Final = 65_535


def with_dup(package: bytes) -> bytes:
    """A PUBLISH that is sent again."""
    return bytes((package[0] | DUP,)) + package[1:]


class Session(Arrivals):
    """The client's half of one MQTT session (MQTT 5 section 4.1), its packets as the bytes they were sent as.

    Requests come from one thread at a time and answers from the link's; what both touch is a dict or a set,
    whose single operations are atomic. Acknowledging is for any thread.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options.protocol)
        self.fresh = True
        """True until the broker has first accepted a connection of this session."""
        self.publishes: dict[int, bytes] = {}
        """PUBLISH by identifier, in the order of sending, until PUBACK or PUBREC comes."""
        self._releases: dict[int, bytes] = {}  # PUBREL, in the order of the PUBRECs, until PUBCOMP comes
        self._client_id = options.client_id
        self._last_id = 0
        self._requests: set[int] = set()
        self._resumed: frozenset[int] = frozenset()

    def fits(self, options: Options) -> bool:
        """True if a connection with these options may continue this session."""
        return (self._client_id, self._protocol) == (options.client_id, options.protocol)

    # --- what we send -------------------------------------------------------------------------------

    def next_id(self, wanted: int = 0) -> int:
        """An identifier that is not in use, the wanted one; QueueFullError if all are."""
        if wanted:
            self._last_id = past_wanted(self._last_id)
            if wanted not in self._requests:
                return wanted  # if it is in use, then by the same message, from before it was put aside
        packet_id = self._last_id
        publishes, releases, requests = self.publishes, self._releases, self._requests
        for _ in range(_LAST):
            packet_id = packet_id % _LAST + 1
            if packet_id not in publishes and packet_id not in releases and packet_id not in requests:
                self._last_id = packet_id
                return packet_id
        raise QueueFullError("all 65,535 packet identifiers are in use: lower max_inflight")

    def next_ids(self, count: int) -> list[int]:
        """So many identifiers that are not in use; QueueFullError if there are not as many."""
        following = range(self._last_id + 1, self._last_id + 1 + count)
        others = self._releases or self._requests
        if not others and following.stop <= _LAST and self.publishes.keys().isdisjoint(following):
            self._last_id = following.stop - 1
            return list(following)
        if count > _LAST - len(self.publishes) - len(self._releases) - len(self._requests):
            raise QueueFullError(f"of 65,535 packet identifiers {count:,} are not free: lower max_inflight")
        return [self.next_id() for _ in range(count)]

    def request(self) -> int:
        """An identifier for SUBSCRIBE or UNSUBSCRIBE, in use until :meth:`requested`."""
        packet_id = self.next_id()
        self._requests.add(packet_id)
        return packet_id

    def requested(self, packet_id: int) -> bool:
        """The answer to a request has come; False if nothing was asked."""
        known = packet_id in self._requests
        self._requests.discard(packet_id)
        return known

    def answered(self, packet: Puback | Pubrec | Pubcomp) -> bytes | Finished | None:
        """Take an answer: what to send next, or that the exchange is over, or None if there was none."""
        packet_id, code = packet.packet_id, packet.reason_code
        if isinstance(packet, Pubcomp):
            if self._releases.pop(packet_id, None) is None:
                return None
            if code == PACKET_IDENTIFIER_NOT_FOUND and packet_id in self._resumed:
                code = 0  # the broker had finished before the connection broke: no error (section 3.7.2.1)
            return Finished(packet_id, code, packet.properties)
        if isinstance(packet, Pubrec) and code < UNSPECIFIED_ERROR:
            if packet_id in self._releases:
                return self._releases[packet_id]
            if packet_id not in self.publishes:
                return encode(Pubrel(packet_id, PACKET_IDENTIFIER_NOT_FOUND), self._protocol)
            # Entered there before it is taken out here: the identifier must not look free in between.
            release = self._releases[packet_id] = encode(Pubrel(packet_id), self._protocol)
            del self.publishes[packet_id]
            return release
        if self.publishes.pop(packet_id, None) is None:
            return None
        return Finished(packet_id, code, packet.properties)

    def release(self, packet_id: int) -> bytes:
        """The PUBREL for a message that the broker has, from us or from an earlier process."""
        release = self._releases[packet_id] = encode(Pubrel(packet_id), self._protocol)
        if self.publishes.pop(packet_id, None) is None:
            self._resumed |= {packet_id}
        return release

    def resume(self) -> list[bytes]:
        """What a resumed session begins with (section 4.4): the unanswered, in order, PUBLISH marked DUP."""
        for packet_id, package in self.publishes.items():
            if not package[0] & DUP:
                self.publishes[packet_id] = with_dup(package)
        self._resumed = frozenset(self._releases)
        return [*self._releases.values(), *self.publishes.values()]

    # --- between connections ------------------------------------------------------------------------

    def disconnected(self) -> None:
        """The connection is gone: so are its subscription requests and what it was owed."""
        super().disconnected()
        self._requests.clear()

    def forget(self) -> None:
        """The broker has no session: nothing of the old one is to be finished."""
        super().forget()
        self.publishes.clear()
        self._releases.clear()
        self._resumed = frozenset()
