"""The kit's own client: what a backend under test did is judged by it, and never by another backend.

It stands on the codec alone, blocks, has no thread, and answers what the protocol asks for while it waits.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from juham_core.memory import MemoryLink, hub_of
from juham_core.testing.patience import patience
from juham_core.wire import (
    MQTT_311,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
)

if TYPE_CHECKING:
    from typing_extensions import Self

PacketT = TypeVar("PacketT")


class Observer(ABC):
    """A client that shows what it gets. Not for several threads at once. Made by :meth:`Kit.observer`.

    Everything that waits raises AssertionError after ``timeout`` seconds.
    """

    def __init__(
        self,
        *,
        protocol: int = MQTT_311,
        client_id: str | None = None,
        clean_start: bool = True,
        username: str | None = None,
        password: bytes | None = None,
        will: Will | None = None,
        properties: Properties | None = None,
        acknowledge: bool = True,
    ) -> None:
        self.protocol = protocol
        self.acknowledge = acknowledge
        """False leaves messages of QoS 1 and 2 unanswered."""
        self._next_id = 0
        self._messages: deque[Publish] = deque()
        self._open()
        self._write(
            Connect(
                client_id if client_id is not None else f"observer-{secrets.token_hex(6)}",
                clean_start=clean_start,
                keepalive=0,
                username=username,
                password=password,
                will=will,
                protocol=protocol,
                properties=properties or Properties(),
            )
        )
        self.connack = self._expect(Connack)
        """How the broker answered; the caller judges it."""

    # --- doing ----------------------------------------------------------------------------------------

    def subscribe(self, *subscriptions: str | Subscription, qos: int = 2) -> list[int]:
        """Subscribe, wait for SUBACK and return its codes."""
        wanted = [
            each if isinstance(each, Subscription) else Subscription(each, qos) for each in subscriptions
        ]
        packet_id = self._take_id()
        self._write(Subscribe(packet_id, wanted))
        return self._expect(Suback, packet_id=packet_id).reason_codes

    def unsubscribe(self, *topic_filters: str) -> None:
        """Unsubscribe and wait for UNSUBACK."""
        packet_id = self._take_id()
        self._write(Unsubscribe(packet_id, list(topic_filters)))
        self._expect(Unsuback, packet_id=packet_id)

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> int:
        """Publish, wait for the end of the exchange and return its reason code."""
        data = payload.encode() if isinstance(payload, str) else payload
        packet = Publish(topic, data, qos, retain, properties=properties or Properties())
        if qos == 0:
            self._write(packet)
            return 0
        packet.packet_id = self._take_id()
        self._write(packet)
        if qos == 1:
            return self._expect(Puback, packet_id=packet.packet_id).reason_code
        received = self._expect(Pubrec, packet_id=packet.packet_id)
        if received.reason_code >= 0x80:
            return received.reason_code
        self._write(Pubrel(packet.packet_id))
        return self._expect(Pubcomp, packet_id=packet.packet_id).reason_code

    def send(self, packet: Packet) -> None:
        """Send any packet."""
        self._write(packet)

    # --- seeing ---------------------------------------------------------------------------------------

    def message(self, timeout: float | None = None) -> Publish:
        """The next message."""
        if not self._messages:
            self._pump(timeout, lambda: bool(self._messages), "a message")
        return self._messages.popleft()

    def messages(self, count: int, timeout: float | None = None) -> list[Publish]:
        """The next ``count`` messages, in order."""
        self._pump(timeout, lambda: len(self._messages) >= count, f"{count} messages")
        return [self._messages.popleft() for _ in range(count)]

    def drain(self) -> list[Publish]:
        """All messages that the broker has sent by now: it is asked for one more, which comes last."""
        marker = f"observer/{secrets.token_hex(8)}"
        self.subscribe(marker, qos=1)
        self.publish(marker, qos=1)
        self._pump(
            None,
            lambda: any(message.topic == marker for message in self._messages),
            "its own marker",
        )
        self.unsubscribe(marker)
        seen = [message for message in self._messages if message.topic != marker]
        self._messages.clear()
        return seen

    # --- ending ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Disconnect properly. May be called twice."""
        with contextlib.suppress(OSError):  # the other side may have been first
            self._write(Disconnect())
        self.vanish()

    @abstractmethod
    def vanish(self) -> None:
        """Go without a word, as a crashed client does. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the transport --------------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Be connected to the broker."""

    @abstractmethod
    def _write(self, packet: Packet) -> None:
        """Send a packet."""

    @abstractmethod
    def _read(self, timeout: float) -> list[Packet]:
        """Packets that have come, within ``timeout`` seconds; none if there were none."""

    # --- inside ---------------------------------------------------------------------------------------

    def _take_id(self) -> int:
        self._next_id = self._next_id % 65_535 + 1
        return self._next_id

    def _expect(self, kind: type[PacketT], *, packet_id: int | None = None) -> PacketT:
        answers: list[PacketT] = []

        def look(packet: Packet) -> None:
            if isinstance(packet, kind) and packet_id in (None, getattr(packet, "packet_id", None)):
                answers.append(packet)

        self._pump(None, lambda: bool(answers), kind.__name__.upper(), look)
        return answers[0]

    def _pump(self, timeout: float | None, done: Any, what: str, look: Any = None) -> None:
        deadline = time.monotonic() + (patience() if timeout is None else timeout)
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                got = [message.topic for message in self._messages]
                raise AssertionError(f"the observer waited in vain for {what}; messages it has: {got}")
            for packet in self._read(left):
                self._take(packet)
                if look is not None:
                    look(packet)

    def _take(self, packet: Packet) -> None:
        if isinstance(packet, Publish):
            self._messages.append(packet)
            if packet.qos and self.acknowledge:
                self._write(Puback(packet.packet_id) if packet.qos == 1 else Pubrec(packet.packet_id))
        elif isinstance(packet, Pubrel):
            self._write(Pubcomp(packet.packet_id))


class SocketObserver(Observer):
    """Over TCP."""

    def __init__(self, host: str, port: int, **settings: Any) -> None:
        self._where = (host, port)
        self._packets: deque[Packet] = deque()
        super().__init__(**settings)

    def vanish(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _open(self) -> None:
        self._decoder = Decoder(self.protocol)
        self._socket = socket.create_connection(self._where, patience())
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _write(self, packet: Packet) -> None:
        self._socket.settimeout(patience())
        self._socket.sendall(encode(packet, self.protocol))

    def _read(self, timeout: float) -> list[Packet]:
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return []
        if not data:
            raise AssertionError("the broker has closed the observer's connection")
        self._decoder.feed(data)
        return list(self._decoder.packets())


class MemoryObserver(Observer):
    """Inside the process, on the same hub as the backend under test."""

    def __init__(self, host: str, **settings: Any) -> None:
        self._hub = hub_of(host)
        super().__init__(**settings)

    def vanish(self) -> None:
        """Leave the hub."""
        if not self._link.dead:
            self._link.dead = True
            self._hub.leave(self._link, deliberate=False)

    def _open(self) -> None:
        self._inbox: queue.SimpleQueue[Packet | None] = queue.SimpleQueue()
        self._link = MemoryLink(self._inbox.put)

    def _write(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            self._hub.connect(self._link, packet)
        elif not self._link.dead:
            self._hub.call(self._link, packet)

    def _read(self, timeout: float) -> list[Packet]:
        try:
            packet = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return []
        if packet is None:
            raise AssertionError("the in-process broker has closed the observer's connection")
        return [packet]
