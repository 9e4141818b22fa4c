"""What the tests of the broker's state share: a clock to turn, and a client that records what it is sent."""

from __future__ import annotations

from typing import TypeVar

from juham_core.broker import Broker
from juham_core.wire import (
    MQTT_5,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Will,
)

P = TypeVar("P")

KEPT = {"clean_start": False, "session_expiry_interval": 1000}
"""What makes a session that lasts, and is taken up again."""


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Client:
    """A link that connects at once and answers nothing unless told to."""

    def __init__(self, broker, client_id="c", *, clean_start=True, protocol=MQTT_5, will=None, **options):
        keepalive = options.pop("keepalive", 0)
        username, password = options.pop("username", None), options.pop("password", None)
        self.broker: Broker = broker
        self.sent: list[Packet] = []
        self.closed = False
        self._last_id = 0
        self.say(
            Connect(
                client_id, clean_start, keepalive, username, password, will, protocol, Properties(options)
            )
        )
        answer = self.sent.pop(0) if self.sent else None
        assert answer is None or isinstance(answer, Connack)
        self.connack = answer

    def send(self, packet):
        assert not self.closed, f"{packet} sent after close"
        self.sent.append(packet)

    def close(self):
        assert not self.closed
        self.closed = True

    def say(self, packet):
        self.broker.received(self, packet)

    def take(self, kind: type[P]) -> list[P]:
        """Take out of what was sent all packets of this kind, in order."""
        taken = [packet for packet in self.sent if isinstance(packet, kind)]
        self.sent = [packet for packet in self.sent if not isinstance(packet, kind)]
        return taken

    def only(self, kind: type[P]) -> P:
        """The one packet that was sent, which is of this kind."""
        (packet,) = self.sent
        assert isinstance(packet, kind), packet
        self.sent = []
        return packet

    def payloads(self):
        return [packet.payload for packet in self.take(Publish)]

    def subscribe(self, topic_filter, qos=0, *, identifier=None, **options):
        self._last_id += 1
        properties = Properties() if identifier is None else Properties(subscription_identifier=identifier)
        self.say(Subscribe(self._last_id, [Subscription(topic_filter, qos, **options)], properties))

    def publish(self, topic, payload=b"x", qos=0, *, retain=False, packet_id=0, **properties):
        if qos and not packet_id:
            self._last_id += 1
            packet_id = self._last_id
        self.say(
            Publish(topic, payload, qos, retain, packet_id=packet_id, properties=Properties(properties))
        )
        return packet_id

    def acknowledge(self):
        """Answer all that was sent until nothing more comes; the payloads received meanwhile."""
        payloads = []
        while self.sent:
            packets, self.sent = self.sent, []
            for packet in packets:
                if isinstance(packet, Publish):
                    payloads.append(packet.payload)
                    if packet.qos:
                        self.say((Puback if packet.qos == 1 else Pubrec)(packet.packet_id))
                elif isinstance(packet, Pubrel):
                    self.say(Pubcomp(packet.packet_id))
        return payloads

    def lose(self):
        self.closed = True
        self.broker.lost(self)

    def disconnect(self, reason_code=0, **properties):
        self.say(Disconnect(reason_code, Properties(properties)))


def will(payload=b"gone", qos=0, *, retain=False, **properties):
    return Will("will/c", payload, qos, retain, Properties(properties))


def observe(broker, *filters):
    """Another client, subscribed at QoS 2, that was sent nothing yet."""
    observer = Client(broker, "observer")
    for topic_filter in filters:
        observer.subscribe(topic_filter, 2)
    observer.sent.clear()
    return observer


def subscriber(broker, topic_filter="a/#", qos=2, **options):
    """A client with a session that lasts, subscribed and sent nothing yet."""
    client = Client(broker, "subscriber", **{**KEPT, **options})
    client.subscribe(topic_filter, qos)
    client.sent.clear()
    return client
