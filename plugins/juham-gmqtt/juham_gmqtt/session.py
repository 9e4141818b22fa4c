"""What outlives a connection: gmqtt's client with its packet identifiers, and the exchanges under way."""

from __future__ import annotations

import threading
from typing import Any, Final

from juham_core.errors import NotConnectedError, QueueFullError
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.arrivals import Arrivals
from juham_core.wire.encoder import encode
from juham_core.wire.exchanges import Finished
from juham_core.wire.packets import Puback, Pubcomp, Pubrec, Pubrel, Subscription
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND, UNSPECIFIED_ERROR
from juham_gmqtt import library
from juham_gmqtt.link import Link

_PUBLISH: Final = 0x30
_PUBREL: Final = b"\x62\x02"
_DUP: Final = 0x08


class Session(Arrivals):
    """The client's half of one MQTT session (MQTT 5 section 4.1).

    Requests come from one thread at a time, answers from the link's thread.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options.protocol)
        self.client: Any = library.make_client(options)
        self.fresh = True
        """True until the broker has first accepted a connection of this session."""
        self._client_id = options.client_id
        self._storage = library.storage_of(self.client)
        self._identifiers = library.identifiers_of(self.client)
        self._lock = threading.Lock()
        self._requests: set[int] = set()
        self._in_flight: set[int] = set()
        self._releases: set[int] = set()  # of those in flight, what PUBCOMP is awaited for
        self._resumed: set[int] = set()

    def fits(self, options: Options) -> bool:
        """True if a connection with these options may continue this session."""
        return (self._client_id, self._protocol) == (options.client_id, options.protocol)

    def start(self, message: MqttMsg, link: Link, wanted: int, dup: bool = False) -> int:
        """Send a message of QoS 1 or 2 and keep it until it is acknowledged; return its identifier.

        It is the wanted one, unless that is 0; if that is in use, then by the same message. ``dup``: it may
        have been sent before.
        """
        with self._lock:
            try:
                if wanted in self._requests:
                    library.leave_wanted(link.protocol)  # a free one might be what the next message wants
                    wanted = 0
                packet_id, package = library.build_publish(message, link.protocol, wanted)
            except OverflowError as exc:
                raise QueueFullError("all packet identifiers are in use: lower max_inflight") from exc
            if dup:
                package[0] |= _DUP
            self._storage.push_message(packet_id, package)
            self._in_flight.add(packet_id)
            self._releases.discard(packet_id)
        try:
            link.send(package)
        except NotConnectedError:
            self._finish(packet_id)  # it keeps its place in JMqtt's queue, and is not to be sent twice
            raise
        return packet_id

    def start_many(self, messages: list[MqttMsg], link: Link) -> list[int]:
        """Send several as :meth:`start` does, in one piece: all of them, or none and it raises."""
        built: dict[int, bytearray] = {}
        with self._lock:
            try:
                for message in messages:
                    packet_id, package = library.build_publish(message, link.protocol)
                    built[packet_id] = package
            except BaseException:
                for packet_id in built:
                    self._identifiers.free_id(packet_id)
                raise
            for packet_id, package in built.items():
                self._storage.push_message(packet_id, package)
            self._in_flight.update(built)
            self._releases.difference_update(built)
        try:
            link.send(b"".join(built.values()))
        except NotConnectedError:
            for packet_id in built:
                self._finish(packet_id)
            raise
        return list(built)

    def request(self, subscriptions: list[Subscription], topic_filters: list[str], link: Link) -> int:
        """Send SUBSCRIBE, or UNSUBSCRIBE if there are no subscriptions; return its identifier."""
        with self._lock:
            if subscriptions:
                packet_id, package = library.build_subscribe(subscriptions, link.protocol)
            else:
                packet_id, package = library.build_unsubscribe(topic_filters, link.protocol)
            self._requests.add(packet_id)
        link.send(package)
        return packet_id

    def requested(self, packet_id: int) -> None:
        """The answer to a request has come."""
        with self._lock:
            self._requests.discard(packet_id)
            self._identifiers.free_id(packet_id)

    def answered(self, packet: Puback | Pubrec | Pubcomp) -> bytes | Finished | None:
        """Take an answer: what to send next, or that the exchange is over, or None if there was none."""
        packet_id, code = packet.packet_id, packet.reason_code
        known = packet_id in self._in_flight
        if isinstance(packet, Pubrec) and code < UNSPECIFIED_ERROR:
            if not known:
                return encode(Pubrel(packet_id, PACKET_IDENTIFIER_NOT_FOUND), self._protocol)
            release = _PUBREL + packet_id.to_bytes(2, "big")
            with self._lock:
                self._releases.add(packet_id)
                self._storage.push_message(packet_id, release)
            return release
        if not known:
            return None
        if isinstance(packet, Pubcomp) and code == PACKET_IDENTIFIER_NOT_FOUND and packet_id in self._resumed:
            code = 0  # the broker had finished before the connection broke: no error (section 3.7.2.1)
        self._finish(packet_id)
        return Finished(packet_id, code, packet.properties)

    def pubacks(self, packet_ids: list[int]) -> list[int]:
        """Take several PUBACKs that say success; return those that end an exchange."""
        known = []
        with self._lock:
            for packet_id in packet_ids:
                if packet_id in self._in_flight:
                    self._finish_locked(packet_id)
                    known.append(packet_id)
        return known

    def awaits_pubrec(self, packet_id: int) -> bool:
        """True if PUBREC is what comes next for a message of ours."""
        return packet_id in self._in_flight and packet_id not in self._releases

    def release(self, packet_id: int) -> bytes:
        """The PUBREL for a message that the broker has, from us or from an earlier process."""
        release = _PUBREL + packet_id.to_bytes(2, "big")
        with self._lock:
            if packet_id not in self._in_flight:
                self._in_flight.add(packet_id)
                self._resumed.add(packet_id)
            self._releases.add(packet_id)
            self._storage.push_message(packet_id, release)
        return release

    def disconnected(self) -> None:
        """The connection is gone: so are its subscription requests and what it was owed."""
        super().disconnected()
        for packet_id in list(self._requests):
            self.requested(packet_id)

    def resume(self) -> list[bytes | bytearray]:
        """What a resumed session begins with (section 4.4): the unanswered, in order, PUBLISH marked DUP."""
        with self._lock:
            packages: list[tuple[int, bytes | bytearray]] = self._storage.get_all()
        self._resumed = {packet_id for packet_id, _ in packages}
        for _, package in packages:
            if package[0] & 0xF0 == _PUBLISH and isinstance(package, bytearray):
                package[0] |= _DUP
        return [package for _, package in packages]

    def forget(self) -> None:
        """The broker has no session: nothing of the old one is to be finished."""
        super().forget()
        for packet_id in list(self._in_flight):
            self._finish(packet_id)
        self._resumed.clear()

    def _finish(self, packet_id: int) -> None:
        with self._lock:
            self._finish_locked(packet_id)

    def _finish_locked(self, packet_id: int) -> None:
        self._in_flight.discard(packet_id)
        self._releases.discard(packet_id)
        self._storage.remove_message_by_mid(packet_id)
        self._identifiers.free_id(packet_id)
