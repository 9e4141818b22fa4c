"""JMemory, the in-process backend: the embedded broker's state without sockets, for tests and small uses.

Registered through the same entry-point group as any stranger's backend. The broker is shared by all clients
in the process that name the same host; it keeps its sessions and retained messages until the process ends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from juham_core.broker import Broker
from juham_core.capabilities import Capabilities
from juham_core.errors import NotConnectedError
from juham_core.hooks import hooks
from juham_core.jmqtt import JMqtt
from juham_core.locks import TryLock
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.subscribing import properties_of
from juham_core.wire import packets
from juham_core.wire.exchanges import Exchanges, Finished
from juham_core.wire.packets import MQTT_5, Connect, Packet, Subscription
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import UNSPECIFIED_ERROR


class JMemory(JMqtt):
    """A client of a broker in the same process: ``memory://NAME``."""

    capabilities = Capabilities(
        mqtt_311=True,
        mqtt_5=True,
        qos_2=True,
        in_process=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        dup_and_mid=True,
    )
    library = "juham-core"

    def __init__(self, name: str = "memory") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        # QoS 1 and 2 are acknowledged once handled, so the broker's window bounds what waits here; a
        # publisher that had to wait for another client's handlers could wait for itself.
        self._delivery.blocks = False
        self._hub: Hub | None = None
        self._link: MemoryLink | None = None
        self._exchanges = Exchanges()
        self._exchanging = threading.Lock()  # held by whoever takes an identifier
        self._manual = False
        self.options = self.options.changed(transport="memory")

    @property
    def native(self) -> Any:
        """The :class:`~juham_core.broker.Broker` this client is or was connected to."""
        return self._hub.broker if self._hub is not None else None

    def _open(self, options: Options) -> None:
        self._hub = hub_of(options.host)
        self._link = MemoryLink(self._packet, self._delivery.received)
        self._manual = options.manual_ack
        properties = Properties(options.properties)
        if options.protocol == MQTT_5 and options.effective_session_expiry:
            properties["session_expiry_interval"] = options.effective_session_expiry
        self._hub.connect(
            self._link,
            Connect(
                client_id=options.client_id or "",
                clean_start=options.clean_start,
                keepalive=0,  # there is no network that could go silent
                username=options.username,
                password=options.password_bytes,
                will=options.will,
                protocol=options.protocol,
                properties=properties,
            ),
        )

    def _close(self, deliberate: bool) -> None:
        link, self._link = self._link, None
        if link is not None and self._hub is not None:
            link.dead = True
            self._hub.leave(link, deliberate)

    def _publish(self, message: MqttMsg) -> int:
        hub, link = self._hub, self._link
        if hub is None or link is None or link.dead:
            hub, link = self._connected()  # raises
        if message.qos == 0:
            if message.retain or message._properties or not hub.pass_message(link, message):
                hub.call(link, _packet_of(message))
            return 0
        packet = _packet_of(message)
        packet.dup = self._sent_before
        with self._exchanging:
            key = self._exchanges.start(packet, self._wanted_id)
        turn = self._delivery.turn
        turn.sender = threading.get_ident()  # another client's inline handler must not wait for this here
        try:
            hub.call(link, packet)
        finally:
            turn.sender = None
        return key

    def _pubrel(self, key: int, message: MqttMsg) -> None:  # noqa: ARG002 - JMqtt publishes it again
        hub, link = self._connected()
        with self._exchanging:
            release = self._exchanges.release(key)
        hub.call(link, release)

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        hub, link = self._connected()
        with self._exchanging:
            key = self._exchanges.take_id()
        hub.call(link, packets.Subscribe(key, subscriptions, properties_of(subscriptions)))
        return key

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        hub, link = self._connected()
        with self._exchanging:
            key = self._exchanges.take_id()
        hub.call(link, packets.Unsubscribe(key, topic_filters))
        return key

    def _ack(self, mid: int, qos: int) -> None:
        self._send(packets.Puback(mid) if qos == 1 else packets.Pubrec(mid))

    def _connected(self) -> tuple[Hub, MemoryLink]:
        link = self._link
        if self._hub is None or link is None or link.dead:
            raise NotConnectedError("the connection to the in-process broker has ended")
        return self._hub, link

    def _send(self, packet: Packet) -> None:
        link = self._link
        if self._hub is not None and link is not None and not link.dead:
            self._hub.call(link, packet)

    def _packet(self, packet: Packet | None) -> None:
        """Take what the broker sends; None once it has closed the link."""
        handler = _HANDLERS.get(type(packet))
        if handler is not None:
            handler(self, packet)

    def _on_publish_packet(self, packet: packets.Publish) -> None:
        if self._exchanges.is_new(packet):
            self._received(
                packet.topic,
                packet.payload,
                packet.qos,
                packet.retain,
                packet.dup,
                packet.packet_id,
                packet.properties or None,
            )
        if packet.qos and not self._manual:
            self._delivery.after(partial(self._ack, packet.packet_id, packet.qos))

    def _on_connack_packet(self, packet: packets.Connack) -> None:
        if packet.reason_code == 0 and not packet.session_present:
            self._exchanges.forget()
        self._connack(
            packet.session_present, packet.reason_code, packet.properties, resent=packet.session_present
        )
        if packet.session_present:
            for unanswered in self._exchanges.resume():
                self._send(unanswered)

    def _on_answer_packet(self, packet: packets.Puback | packets.Pubrec | packets.Pubcomp) -> None:
        if (
            isinstance(packet, packets.Pubrec)
            and packet.reason_code < UNSPECIFIED_ERROR
            and self._exchanges.awaits_pubrec(packet.packet_id)
            and not self._pubrec(packet.packet_id)
        ):
            return  # JMqtt says when it may be released
        result = self._exchanges.answered(packet)
        if isinstance(result, Finished):
            self._acknowledged(result.packet_id, result.reason_code, result.properties)
        elif result is not None:
            self._send(result)

    def _on_pubrel_packet(self, packet: packets.Pubrel) -> None:
        self._send(self._exchanges.released(packet))

    def _on_suback_packet(self, packet: packets.Suback) -> None:
        self._exchanges.free_id(packet.packet_id)
        self._suback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_unsuback_packet(self, packet: packets.Unsuback) -> None:
        self._exchanges.free_id(packet.packet_id)
        self._unsuback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_disconnect_packet(self, packet: packets.Disconnect) -> None:
        self._lost(None, packet.reason_code, packet.properties, from_server=True)

    def _on_closed(self, _packet: None) -> None:
        self._lost(None)


_HANDLERS: dict[type, Callable[[JMemory, Any], None]] = {
    packets.Publish: JMemory._on_publish_packet,
    packets.Connack: JMemory._on_connack_packet,
    packets.Puback: JMemory._on_answer_packet,
    packets.Pubrec: JMemory._on_answer_packet,
    packets.Pubcomp: JMemory._on_answer_packet,
    packets.Pubrel: JMemory._on_pubrel_packet,
    packets.Suback: JMemory._on_suback_packet,
    packets.Unsuback: JMemory._on_unsuback_packet,
    packets.Disconnect: JMemory._on_disconnect_packet,
    type(None): JMemory._on_closed,
}


class MemoryLink:
    """The broker's way to one client. What the broker sends is passed on after its own call has returned."""

    def __init__(
        self, receive: Callable[[Packet | None], None], take: Callable[[MqttMsg], object] | None = None
    ) -> None:
        """``take`` is given plain messages of QoS 0, which are packets too for who has none."""
        self.dead = False
        self.inbox: deque[Packet | None] = deque()
        self._receive = receive
        self._take = take or (lambda message: receive(_packet_of(message)))
        self._passing_on = TryLock()

    def send(self, packet: Packet) -> None:
        """Keep a packet for the client."""
        self.inbox.append(packet)

    def close(self) -> None:
        """Let the client know that the broker has closed the connection."""
        self.inbox.append(None)

    def pass_message(self, message: MqttMsg) -> None:
        """Give the client a message here and now, or in its turn."""
        if self.inbox or not self._passing_on.taken:
            self.inbox.append(_packet_of(message))
            self.pass_on()
            return
        try:
            if not self.dead:
                self._take(message)
        finally:
            self._passing_on.release()
        if self.inbox:
            self.pass_on()

    def pass_on(self) -> None:
        """Give the client what is kept for it, in order, whichever threads the packets came from."""
        while self.inbox:
            if not self._passing_on.taken:
                return  # whoever passes on looks again afterwards; it may be this thread, further down
            try:
                while self.inbox:
                    packet = self.inbox.popleft()
                    if not self.dead:
                        self._receive(packet)
            finally:
                self._passing_on.release()


class Hub:
    """A broker, and the lock that serializes its clients' threads.

    No packet waits for the lock: whoever finds it taken leaves the packet to the holder, who looks again.
    """

    def __init__(self) -> None:
        self.broker = Broker()
        self._lock = TryLock()
        self._calls: deque[tuple[MemoryLink, Packet]] = deque()
        self._links: list[MemoryLink] = []
        self._timer: threading.Timer | None = None
        self._due: float | None = None

    def connect(self, link: MemoryLink, packet: Connect) -> None:
        """Take a new client in."""
        with self._lock:
            self._links.append(link)
        self.call(link, packet)

    def call(self, link: MemoryLink, packet: Packet) -> None:
        """Give the broker a packet, then every client what the broker has sent in consequence."""
        self._calls.append((link, packet))
        self._catch_up()

    def _catch_up(self) -> None:
        """Give the broker the packets that wait, unless another thread does."""
        while self._calls:
            if not self._lock.taken:
                return
            try:
                self._take_calls()
                self._mind_the_clock()
            finally:
                self._lock.release()
            self._pass_on()

    def _take_calls(self) -> None:
        calls, received = self._calls, self.broker.received
        while calls:
            received(*calls.popleft())

    def pass_message(self, link: MemoryLink, message: MqttMsg) -> bool:
        """Give a plain message of QoS 0 to whom it is for; False if it has to go as a packet."""
        receivers: Any = None  # links, all of which are ours
        # What came before, such as a subscription, goes first: it waits, or a thread with the lock is at it.
        if not self._calls and not self._lock.locked():
            receivers = self.broker.known_receivers(link, message.topic)
        if receivers is None:
            with self._lock:
                if not self._calls:
                    receivers = self.broker.receivers(link, message.topic)
            if self._calls:
                self._catch_up()
            if receivers is None:
                return False
        if len(receivers) == 1 and not hooks.publishing:
            receivers[0].pass_message(message)
            return True
        topic, payload = message.topic, message.payload
        for receiver in receivers:  # each gets a message of its own, which it may change
            receiver.pass_message(MqttMsg(topic, payload))
        return True

    def leave(self, link: MemoryLink, deliberate: bool) -> None:
        """Let a client go: deliberately, or as if it had vanished."""
        with self._lock:
            self._take_calls()
            if deliberate:
                self.broker.received(link, packets.Disconnect())
            self.broker.lost(link)
            if link in self._links:
                self._links.remove(link)
            self._mind_the_clock()
        self._pass_on()
        self._catch_up()

    def _pass_on(self) -> None:
        for link in list(self._links):
            if link.inbox:
                link.pass_on()

    def _mind_the_clock(self) -> None:
        """See to it that the broker's clock is looked at when something falls due, while it has clients."""
        due = self.broker.deadline if self._links else None
        if due == self._due:
            return
        self._due = due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = threading.Timer(self.broker.tick() or 0.0, self._tick)
            self._timer.daemon = True
            self._timer.name = "juham-memory-clock"
            self._timer.start()

    def _tick(self) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # overtaken by another
            self.broker.tick()
            self._due = self._timer = None
            self._mind_the_clock()
        self._pass_on()
        self._catch_up()


def _packet_of(message: MqttMsg) -> packets.Publish:
    properties = message._properties or _NONE
    return packets.Publish(message.topic, message.payload, message.qos, message.retain, properties=properties)


_NONE: Final = Properties()
"""Of most packets; nobody changes a packet's properties."""

_hubs: dict[str, Hub] = {}
_hubs_lock = threading.Lock()


def hub_of(host: str) -> Hub:
    """The hub of this name; made when first asked for."""
    with _hubs_lock:
        return _hubs.setdefault(host, Hub())
