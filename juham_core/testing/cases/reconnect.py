"""Cases about connections that are lost: they come back, and the subscriptions with them, once."""

from __future__ import annotations

from typing import Any

from juham_core.errors import ConnectError, NotConnectedError, QueueFullError
from juham_core.jmqtt import JMqtt
from juham_core.testing.cases.losing import subscribed, watched
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit


class ReconnectCases:
    """The subject ``reconnect``."""

    # --- what ends a connection ---------------------------------------------------------------------

    @case("reconnect.after_reset", on=FAULTS)
    def after_reset(self, kit: Kit) -> None:
        """A connection that is reset comes back; on_disconnect and on_connect are called once each."""
        client, lost, back = watched(kit)
        kit.broker.reset()
        assert lost.next()[3].is_failure
        assert not back.next()[3].is_failure
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert client.statistics.reconnects == 1
        lost.nothing()
        back.nothing()

    @case("reconnect.after_close", on=FAULTS)
    def after_close(self, kit: Kit) -> None:
        """A connection that the broker closes without a word comes back."""
        _, lost, back = watched(kit)
        kit.broker.close()
        assert lost.next()[3].is_failure
        back.next()

    @case("reconnect.half_open", on=FAULTS)
    def half_open(self, kit: Kit) -> None:
        """A broker that falls silent is noticed by the keepalive, and connected to anew (section 3.1.2)."""
        client, lost, back = watched(kit, keepalive=1)
        kit.broker.silence()
        assert lost.next()[3].is_failure
        back.next()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("reconnect.after_malformed", on=FAULTS)
    def after_malformed(self, kit: Kit) -> None:
        """A malformed packet from the broker ends the connection, which comes back (section 4.13)."""
        client, lost, back = watched(kit)
        for garbage in (b"\xff\xff\xff\xff\xff\xff", b"\x30\x02\x00\x05"):
            kit.broker.send(garbage)
            assert lost.next()[3].is_failure
            back.next()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("reconnect.after_restart", on=FAULTS)
    def after_restart(self, kit: Kit) -> None:
        """A broker that is stopped and started again gets its clients and their subscriptions back."""
        client, lost, back = watched(kit)
        inbox = kit.inbox(client, kit.topic)
        kit.broker.stop()
        lost.next()
        assert not client.is_connected()
        receipt = client.publish(kit.topic, b"meanwhile", qos=1)
        assert not receipt.done()
        kit.broker.start()
        back.next()
        receipt.wait(kit.patience)
        assert inbox.payloads(1) == [b"meanwhile"]

    @case("reconnect.lost_again", on=FAULTS)
    def lost_again(self, kit: Kit) -> None:
        """A connection lost again at once, right behind CONNACK, comes back all the same."""
        kit.broker.before("connack", connection=2).change().close()
        client, _, _ = watched(kit)
        inbox = kit.inbox(client, kit.topic)
        kit.broker.reset()
        kit.broker.wait_for("suback", sent=True, connection=3)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        assert subscribed(kit, 3) == [kit.topic]

    @case("reconnect.no_connack", on=FAULTS)
    def no_connack(self, kit: Kit) -> None:
        """An attempt that gets no CONNACK is given up after connect_timeout, and followed by the next."""
        kit.broker.on("connect", connection=2).silence()
        client, _, back = watched(kit, connect_timeout=0.3)
        kit.broker.reset()
        back.next()
        assert kit.broker.accepted == 3
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("reconnect.same_client", on=FAULTS)
    def same_client(self, kit: Kit) -> None:
        """Each attempt has the same client identifier, keepalive and will (section 3.1.3.1)."""
        client = kit.create(keepalive=30)
        client.will_set(f"{kit.topic}/will", b"gone", qos=1)
        kit.connect(client)
        kit.broker.reset()
        first, second = kit.broker.wait_for("connect"), kit.broker.wait_for("connect", nth=2)
        assert first.client_id == second.client_id == client.client_id
        assert (first.keepalive, first.will) == (second.keepalive, second.will)

    @case("reconnect.switched_off", on=FAULTS)
    def switched_off(self, kit: Kit) -> None:
        """With reconnect=False a lost connection stays lost, and connect_to_server makes another."""
        client, lost, back = watched(kit, reconnect=False, reconnect_min=0.01, reconnect_max=0.02)
        kit.broker.reset()
        lost.next()
        with kit.raises(ConnectError):
            client.wait_until_connected(0.3)
        assert kit.broker.accepted == 1
        client.connect_to_server()
        back.next()

    # --- subscriptions ------------------------------------------------------------------------------

    @case("reconnect.resubscribe_once", on=FAULTS)
    def resubscribe_once(self, kit: Kit) -> None:
        """Without its session each filter is subscribed exactly once, with its QoS, on each connection."""
        client, _, back = watched(kit)
        wanted = {f"{kit.topic}/{name}": qos for name, qos in (("a", 0), ("b/#", 1), ("+/c", 1))}
        kit.subscribe(client, list(wanted.items()))
        for connection in (2, 3):
            kit.broker.reset()
            back.next()
            client.publish(f"{kit.topic}/marker", b"x", qos=1).wait(kit.patience)
            packets = kit.broker.packets("subscribe", connection=connection)
            sent = [(each.topic_filter, each.qos) for packet in packets for each in packet.subscriptions]
            assert sorted(sent) == sorted(wanted.items())

    @case("reconnect.resubscribe_first", on=FAULTS)
    def resubscribe_first(self, kit: Kit) -> None:
        """Subscriptions are sent before on_connect is called, and before what waits to be published."""
        client, lost, _ = watched(kit)
        kit.subscribe(client, kit.topic)

        def on_connect(client: Any, _userdata: Any, _flags: Any, _code: Any) -> None:
            client.publish(f"{kit.topic}/from/on_connect", b"x", qos=0)

        kit.handle(client, "on_connect", on_connect)
        kit.broker.refuse()
        kit.broker.reset()
        lost.next()
        client.publish(f"{kit.topic}/waited", b"x", qos=1)
        kit.broker.accept()
        kit.broker.wait_for("publish", nth=2, connection=2)
        kinds = [entry.kind for entry in kit.broker.log if entry.connection == 2 and not entry.sent]
        assert kinds.index("subscribe") < kinds.index("publish")

    @case("reconnect.resubscribe_cut", on=FAULTS)
    def resubscribe_cut(self, kit: Kit) -> None:
        """A SUBSCRIBE that is lost with its connection is sent with the next, and its receipt resolves."""
        kit.broker.on("subscribe", connection=1).reset()
        kit.broker.before("suback", connection=2).reset()
        client = kit.connect()
        receipt = client.subscribe(kit.topic, qos=1).wait(kit.patience)
        assert receipt.granted == {kit.topic: 1}
        assert [subscribed(kit, connection) for connection in (1, 2, 3)] == [[kit.topic]] * 3

    @case("reconnect.subscribe_in_on_connect", on=FAULTS)
    def subscribe_in_on_connect(self, kit: Kit) -> None:
        """Subscribing in on_connect, as is usual, sends no second SUBSCRIBE after a reconnect."""
        client = kit.create()

        def on_connect(client: JMqtt, _userdata: Any, _flags: Any, _code: Any) -> None:
            client.subscribe(kit.topic, 1).wait(kit.patience)
            client.publish(f"{kit.topic}/on_connect", b"x", qos=1)

        kit.handle(client, "on_connect", on_connect)
        kit.connect(client)
        for connection in (1, 2, 3):
            kit.broker.wait_for("publish", connection=connection)
            assert subscribed(kit, connection) == [kit.topic]
            kit.broker.reset()

    @case("reconnect.unsubscribed_offline", on=FAULTS)
    def unsubscribed_offline(self, kit: Kit) -> None:
        """What is unsubscribed without a connection is not subscribed again with the next."""
        client, lost, back = watched(kit)
        kit.subscribe(client, [f"{kit.topic}/keep", f"{kit.topic}/drop"])
        kit.broker.refuse()
        kit.broker.reset()
        lost.next()
        receipt = client.unsubscribe(f"{kit.topic}/drop")
        kit.broker.accept()
        back.next()
        receipt.wait(kit.patience)
        client.publish(f"{kit.topic}/marker", b"x", qos=1).wait(kit.patience)
        assert subscribed(kit, 2) == [f"{kit.topic}/keep"]

    @case("reconnect.refused_meanwhile", on=FAULTS)
    def refused_meanwhile(self, kit: Kit) -> None:
        """A filter that the broker does not give back shows as not granted, and is asked for again later."""
        client, _, back = watched(kit)
        kit.subscribe(client, kit.topic)
        kit.broker.before("suback", connection=2).change(reason_codes=[0x80])
        for expected in (None, 1):
            kit.broker.reset()
            back.next()
            client.publish(f"{kit.topic}/marker", b"x", qos=1).wait(kit.patience)
            assert client.subscriptions == {kit.topic: expected}

    # --- the queue ----------------------------------------------------------------------------------

    @case("reconnect.queue", on=FAULTS)
    def queue(self, kit: Kit) -> None:
        """Without a connection QoS 1 waits, within the bound, and QoS 0 fails; then all goes out in order."""
        client, lost, _ = watched(kit, max_queued=5)
        observer = kit.observer(kit.topic)
        kit.broker.refuse()
        kit.broker.reset(1)
        lost.next()
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(5)]
        with kit.raises(QueueFullError):
            client.publish(kit.topic, b"one too many", qos=1)
        with kit.raises(NotConnectedError):
            client.publish(kit.topic, b"lost", qos=0).wait(0)
        assert not any(receipt.done() for receipt in receipts)
        kit.broker.accept()
        for receipt in receipts:
            receipt.wait(kit.patience)
        assert [message.payload for message in observer.drain()] == [b"%d" % number for number in range(5)]
