"""Cases about the copies that brokers of MQTT 5 send of one message, one for each overlapping filter."""

from __future__ import annotations

import itertools
from dataclasses import replace

from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.observer import Observer
from juham_core.testing.waiting import FiveArguments, Inbox
from juham_core.wire import Properties, Publish


class OverlappingCases:
    """The subject ``mqtt5``, continued: subscription identifiers (sections 3.3.4 and 3.8.2.1.2)."""

    @case("mqtt5.copies", needs="mqtt_5")
    def copies(self, kit: Kit) -> None:
        """Whether a broker merges copies or sends one for each filter, each handler is called once."""
        client = kit.connect()
        names = (f"{kit.topic}/#", f"{kit.topic}/a", f"{kit.topic}/+")
        inboxes = [Inbox() for _ in names]
        for name, inbox in zip(names, inboxes, strict=True):
            client.message_callback_add(name, inbox)
        # The third handler's filter is none that is subscribed to: any of the copies may bring its messages.
        kit.subscribe(client, list(names[:2]))
        observer = kit.observer()
        sent = [(qos, payload) for qos in (0, 1) for payload in (b"same", b"same", b"other")]
        for qos, payload in sent:
            observer.publish(f"{kit.topic}/a", payload, qos=qos)
        _end(kit, inboxes[2], [payload for _, payload in sent], observer)
        client.disconnect_from_server()
        for inbox in inboxes[:2]:
            payloads = [inbox.next(0).payload for _ in range(inbox.count)]
            assert [each for each in payloads if each != b"end"] == [payload for _, payload in sent]

    @case("mqtt5.copies_on_message", needs="mqtt_5")
    def copies_on_message(self, kit: Kit) -> None:
        """on_message, which gets what no other handler does, is called once for all copies."""
        client = kit.connect()
        inbox = kit.inbox(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/+", qos=0)
        kit.subscribe(client, f"{kit.topic}/a")
        observer = kit.observer()
        for payload in (b"1", b"1", b"2"):
            observer.publish(f"{kit.topic}/a", payload)
        _end(kit, inbox, [b"1", b"1", b"2"], observer)

    @case("mqtt5.copies_in_any_order", needs="mqtt_5", on=FAULTS)
    def copies_in_any_order(self, kit: Kit) -> None:
        """Copies may come in any order, mixed with those of an equal message, and at a QoS each."""
        client, broker = kit.connect(), _Copier(kit)
        inbox = kit.inbox(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/a", qos=0)
        for which in ((1, 0), (0, 1), (1, 1, 0, 0), (1, 0, 1, 0)):
            broker.send(*which, qos=(1, 0))
        _end(kit, inbox, [b"x"] * 6, client)
        assert client.statistics.dropped["copy"] == 6

    @case("mqtt5.copies_missing", needs="mqtt_5", on=FAULTS)
    def copies_missing(self, kit: Kit) -> None:
        """A message that comes for one of its filters only is no copy, however often it is sent."""
        client, broker = kit.connect(), _Copier(kit)
        inbox = kit.inbox(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/a")
        broker.send(0, 0, 0)  # as if queued before the other subscription was made
        broker.send(1, 1, 1, 1, 1, 1)
        broker.send(0, payload=b"y")
        broker.send_merged()
        broker.send_merged()
        # Of equal messages there were as many as came for the one filter or the other, and the merged ones.
        _end(kit, inbox, [b"x"] * 6 + [b"y"] + [b"x"] * 2, client)

    @case("mqtt5.copies_after_reconnect", needs="mqtt_5", on=FAULTS)
    def copies_after_reconnect(self, kit: Kit) -> None:
        """A subscription has the same identifier in every connection, and copies are told apart in each."""
        client, broker = kit.connect(), _Copier(kit)
        inbox = kit.inbox(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/a")
        before = broker.identifiers()
        assert before[0] != before[1]
        kit.broker.reset()
        kit.broker.wait_for("suback", nth=2, sent=True, connection=2)
        assert broker.identifiers(connection=2) == before
        broker.send(0, 1)
        _end(kit, inbox, [b"x"], client)

    @case("mqtt5.copies_of_a_session", needs=("mqtt_5", "persistent_session"), on=FAULTS)
    def copies_of_a_session(self, kit: Kit) -> None:
        """The copies that a session has kept are told apart by the identifiers it was given before."""
        client = kit.create(client_id=kit.topic, clean_start=False, session_expiry=60)
        broker = _Copier(kit)
        inbox = kit.inbox(client)
        kit.connect(client)
        kit.subscribe(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/a")
        broker.send(0)
        assert inbox.next().payload == b"x"
        identifiers = broker.identifiers()
        kept = [broker.copy(identifiers[which], b"x") for which in (1, 0, 1)]
        kit.broker.before("connack", connection=2).send(*kept)
        kit.broker.reset()
        kit.eventually(client.is_connected, "connected again")
        _end(kit, inbox, [b"x"], client)
        assert not kit.broker.packets("subscribe", connection=2)

    @case("mqtt5.copies_not_shared", needs=("mqtt_5", "shared_subscriptions"), on=FAULTS)
    def copies_not_shared(self, kit: Kit) -> None:
        """What comes by a shared subscription is no copy: its members share messages among them."""
        client, broker = kit.connect(), _Copier(kit)
        inbox = kit.inbox(client, f"$share/one/{kit.topic}/#")
        kit.subscribe(client, f"$share/two/{kit.topic}/a")
        kit.subscribe(client, f"{kit.topic}/+")
        broker.send(0, 1, 2)
        broker.send(1, 0)
        _end(kit, inbox, [b"x"] * 5, client)

    @case("mqtt5.copies_acknowledged", needs=("mqtt_5", "manual_ack"), on=FAULTS)
    def copies_acknowledged(self, kit: Kit) -> None:
        """With manual acknowledgement a copy is acknowledged unseen, unless what came first could not be."""
        client, broker = kit.connect(manual_ack=True), _Copier(kit)
        inbox = kit.inbox(client, f"{kit.topic}/#")
        kit.subscribe(client, f"{kit.topic}/a")
        broker.send(0, 1)
        first = inbox.next()
        kit.broker.wait_for("puback")
        broker.send(0, 1, qos=(0, 1), payload=b"y")
        assert [inbox.next().qos for _ in range(2)] == [0, 1]
        inbox.nothing()
        client.ack(first.mid, first.qos)
        kit.broker.wait_for("puback", nth=2)

    @case("mqtt5.replays_are_no_copies", needs="mqtt_5")
    def replays_are_no_copies(self, kit: Kit) -> None:
        """A retained message is replayed for each new subscription, overlapping or not (section 3.8.4)."""
        observer = kit.observer()
        observer.publish(f"{kit.topic}/a", b"kept", retain=True)
        client = kit.connect()
        inbox = kit.inbox(client, f"{kit.topic}/#")
        assert inbox.next().retain
        for topic_filter in (f"{kit.topic}/a", f"{kit.topic}/#", f"{kit.topic}/a"):
            kit.subscribe(client, topic_filter)
            assert (inbox.next().payload, inbox.count) == (b"kept", 0)
        observer.publish(f"{kit.topic}/a", b"", retain=True)

    @case("mqtt5.identifiers_sparingly", needs="mqtt_5", on=FAULTS)
    def identifiers_sparingly(self, kit: Kit) -> None:
        """Filters that overlap with no other have no identifier and go in one SUBSCRIBE."""
        client, broker = kit.connect(), _Copier(kit)
        names = [f"{kit.topic}/{name}" for name in ("a", "b", "c/#", "+/d/#")]
        kit.subscribe(client, [(name, 0) for name in names])
        [first, second] = kit.broker.packets("subscribe")
        assert [each.topic_filter for each in first.subscriptions] == names[:3]
        assert [each.topic_filter for each in second.subscriptions] == names[3:]
        assert broker.identifiers()[0] == 0
        assert broker.identifiers()[1] > 0

    @case("mqtt5.identifiers_unavailable", needs="mqtt_5", on=FAULTS)
    def identifiers_unavailable(self, kit: Kit) -> None:
        """A broker that announces to have no subscription identifiers gets none (section 3.2.2.3.12)."""
        kit.broker.before("connack").change(properties=Properties(subscription_identifier_available=0))
        client, broker = kit.connect(), _Copier(kit)
        kit.subscribe(client, [(f"{kit.topic}/#", 0), (f"{kit.topic}/a", 0)])
        assert broker.identifiers() == [0]
        client.publish(f"{kit.topic}/a", b"", qos=1).wait(kit.patience)

    @case("mqtt5.on_subscribe_once", needs="mqtt_5")
    def on_subscribe_once(self, kit: Kit) -> None:
        """on_subscribe is called once for a list of filters, with all codes, overlapping or not."""
        client = kit.connect()
        answers = FiveArguments()
        kit.handle(client, "on_subscribe", answers)
        wanted = [(f"{kit.topic}/#", 0), (f"{kit.topic}/a", 1), (f"{kit.topic}/+", 0)]
        receipt = client.subscribe(wanted)
        receipt.wait(kit.patience)
        mid, codes = answers.next()[2:4]
        assert mid == receipt.mid
        assert [int(getattr(code, "value", code)) for code in codes] == [0, 1, 0]
        client.disconnect_from_server()
        answers.nothing()


class _Copier:
    """Sends copies for the filters of one client, in the order in which they were subscribed to."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._packet_ids = itertools.count(20_000)

    def identifiers(self, connection: int = 1) -> list[int]:
        """Of each SUBSCRIBE; 0 for none."""
        packets = self._kit.broker.packets("subscribe", connection=connection)
        return [(packet.properties.subscription_identifier or [0])[0] for packet in packets]

    def copy(self, identifier: int, payload: bytes, qos: int = 1) -> Publish:
        """A copy for one filter."""
        properties = Properties(subscription_identifier=identifier) if identifier else Properties()
        packet_id = next(self._packet_ids) if qos else 0
        return Publish(f"{self._kit.topic}/a", payload, qos, packet_id=packet_id, properties=properties)

    def send(self, *which: int, qos: tuple[int, ...] = (1, 1, 1), payload: bytes = b"x") -> None:
        """Send copies for these of the filters, at the QoS of each."""
        identifiers = self.identifiers()
        self._kit.broker.send(*(self.copy(identifiers[each], payload, qos[each]) for each in which))

    def send_merged(self) -> None:
        """Send one copy with all identifiers."""
        found = [each for each in self.identifiers() if each]
        merged = replace(self.copy(0, b"x"), properties=Properties(subscription_identifier=found))
        self._kit.broker.send(merged)


def _end(kit: Kit, inbox: Inbox, expected: list[bytes], publisher: JMqtt | Observer) -> None:
    """Fail unless these messages have come when one comes that is published now."""
    publisher.publish(f"{kit.topic}/end", b"end", qos=1)
    assert inbox.payloads(len(expected) + 1) == [*expected, b"end"]
