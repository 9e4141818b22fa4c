"""Cases about sessions that outlive their connection: what was under way is finished, once.

A publish is cut at each packet of its exchange. With its session present it goes on where it was
(MQTT 5 section 4.4); without, the message is sent anew. The receipt is done in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.testing.cases.losing import lasting, watched
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.faults import FaultBroker
from juham_core.testing.kit import Kit

_LARGE = b"x" * 100_000
_HUGE = b"x" * 2**24
"""More than the sockets of both ends hold: cut near its beginning, no client can have written it all."""
_SESSION = ("persistent_session",)
_SESSION_2 = ("persistent_session", "qos_2")


class ResumingCases:
    """The subject ``reconnect``, continued."""

    # --- QoS 1, the session present -----------------------------------------------------------------

    @case("reconnect.qos_1_cut_in_publish", on=FAULTS, needs=_SESSION)
    def qos_1_cut_in_publish(self, kit: Kit) -> None:
        """A QoS 1 message cut while its PUBLISH is being written is sent again with DUP (section 3.3.1.1)."""
        assert _resumed(kit, 1, _in_publish, _HUGE) == ["publish dup"]

    @case("reconnect.qos_1_cut_at_publish", on=FAULTS, needs=_SESSION)
    def qos_1_cut_at_publish(self, kit: Kit) -> None:
        """A QoS 1 message whose PUBLISH is lost is sent again with DUP, and arrives."""
        assert _resumed(kit, 1, lambda broker: broker.on("publish", nth=1).reset()) == ["publish dup"]

    @case("reconnect.qos_1_cut_at_puback", on=FAULTS, needs=_SESSION)
    def qos_1_cut_at_puback(self, kit: Kit) -> None:
        """A QoS 1 message whose PUBACK is lost is sent again with DUP."""
        assert _resumed(kit, 1, lambda broker: broker.before("puback", nth=1).reset()) == ["publish dup"]

    # --- QoS 2, the session present -----------------------------------------------------------------

    @case("reconnect.qos_2_cut_in_publish", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_in_publish(self, kit: Kit) -> None:
        """A QoS 2 message cut while its PUBLISH is being written is sent again with DUP, and arrives once."""
        assert _resumed(kit, 2, _in_publish, _HUGE) == ["publish dup", "pubrel"]

    @case("reconnect.qos_2_cut_at_publish", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_at_publish(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBLISH is lost is sent again with DUP, and arrives once."""
        sent = _resumed(kit, 2, lambda broker: broker.on("publish", nth=1).reset())
        assert sent == ["publish dup", "pubrel"]

    @case("reconnect.qos_2_cut_at_pubrec", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_at_pubrec(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBREC is lost is sent again with DUP, and arrives once."""
        sent = _resumed(kit, 2, lambda broker: broker.before("pubrec", nth=1).reset())
        assert sent == ["publish dup", "pubrel"]

    @case("reconnect.qos_2_cut_at_pubrel", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_at_pubrel(self, kit: Kit) -> None:
        """After PUBREC only PUBREL is sent again, never PUBLISH, and the message arrives once."""
        assert _resumed(kit, 2, lambda broker: broker.on("pubrel", nth=1).reset()) == ["pubrel"]

    @case("reconnect.qos_2_cut_at_pubcomp", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_at_pubcomp(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBCOMP is lost is released again with PUBREL, and arrives once."""
        assert _resumed(kit, 2, lambda broker: broker.before("pubcomp", nth=1).reset()) == ["pubrel"]

    @case("reconnect.qos_2_cut_after_pubcomp", on=FAULTS, needs=_SESSION_2)
    def qos_2_cut_after_pubcomp(self, kit: Kit) -> None:
        """A QoS 2 message whose exchange is over is not touched by what happens then."""
        assert _resumed(kit, 2, lambda broker: broker.before("pubcomp", nth=1).change().close()) == []

    # --- the session lost ---------------------------------------------------------------------------

    @case("reconnect.anew_qos_1_at_publish", on=FAULTS)
    def anew_qos_1_at_publish(self, kit: Kit) -> None:
        """Without its session a QoS 1 message whose PUBLISH was lost is sent anew, and arrives once."""
        assert _anew(kit, 1, lambda broker: broker.on("publish", nth=1).reset()) == 1

    @case("reconnect.anew_qos_1_at_puback", on=FAULTS)
    def anew_qos_1_at_puback(self, kit: Kit) -> None:
        """Without its session a QoS 1 message whose PUBACK was lost is sent anew."""
        assert _anew(kit, 1, lambda broker: broker.before("puback", nth=1).reset()) == 2

    @case("reconnect.anew_qos_2_at_publish", on=FAULTS, needs="qos_2")
    def anew_qos_2_at_publish(self, kit: Kit) -> None:
        """Without its session a QoS 2 message whose PUBLISH was lost is sent anew, and arrives once."""
        assert _anew(kit, 2, lambda broker: broker.on("publish", nth=1).reset()) == 1

    @case("reconnect.anew_qos_2_at_pubrec", on=FAULTS, needs="qos_2")
    def anew_qos_2_at_pubrec(self, kit: Kit) -> None:
        """Without its session a QoS 2 message whose PUBREC was lost is sent anew: never lost."""
        assert _anew(kit, 2, lambda broker: broker.before("pubrec", nth=1).reset()) >= 1

    @case("reconnect.anew_qos_2_at_pubrel", on=FAULTS, needs="qos_2")
    def anew_qos_2_at_pubrel(self, kit: Kit) -> None:
        """Without its session a QoS 2 message whose PUBREL was lost is sent anew: the broker forgot it."""
        assert _anew(kit, 2, lambda broker: broker.on("pubrel", nth=1).reset()) >= 1

    @case("reconnect.anew_qos_2_at_pubcomp", on=FAULTS, needs="qos_2")
    def anew_qos_2_at_pubcomp(self, kit: Kit) -> None:
        """Without its session a QoS 2 message whose PUBCOMP was lost resolves all the same."""
        assert _anew(kit, 2, lambda broker: broker.before("pubcomp", nth=1).reset()) >= 1

    # --- several ------------------------------------------------------------------------------------

    @case("reconnect.resent_in_order", on=FAULTS, needs=_SESSION)
    def resent_in_order(self, kit: Kit) -> None:
        """Messages in flight are sent again in their order, and before newer ones (section 4.6)."""
        kit.broker.on("publish", connection=1).withhold()
        client = kit.connect(**lasting(kit), max_inflight=5)
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(10)]
        kit.broker.wait_for("publish", nth=5)
        kit.broker.reset(1)
        for receipt in receipts:
            receipt.wait(kit.patience)
        again = kit.broker.packets("publish", connection=2)
        assert [packet.payload for packet in again] == [b"%d" % number for number in range(10)]
        assert [packet.dup for packet in again] == [True] * 5 + [False] * 5

    @case("reconnect.anew_in_order", on=FAULTS)
    def anew_in_order(self, kit: Kit) -> None:
        """Without its session, too, what was in flight goes out in its order and before newer messages."""
        kit.broker.on("publish", connection=1).withhold()
        client = kit.connect(max_inflight=5)
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(10)]
        kit.broker.wait_for("publish", nth=5)
        kit.broker.reset(1)
        for receipt in receipts:
            receipt.wait(kit.patience)
        again = kit.broker.packets("publish", connection=2)
        assert [packet.payload for packet in again] == [b"%d" % number for number in range(10)]

    # --- subscriptions and what waits for them ------------------------------------------------------

    @case("reconnect.session_not_resubscribed", on=FAULTS, needs=_SESSION)
    def session_not_resubscribed(self, kit: Kit) -> None:
        """With its session present nothing is subscribed again, and messages come (section 3.2.2.1.1)."""
        client, _, back = watched(kit, **lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        kit.broker.reset(1)
        assert back.next()[2].session_present
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        assert kit.broker.packets("subscribe", connection=2) == []
        assert client.subscriptions == {kit.topic: 1}

    @case("reconnect.session_lost", on=FAULTS, needs=_SESSION)
    def session_lost(self, kit: Kit) -> None:
        """A broker that has forgotten the session is told the subscriptions again (section 3.2.2.1.1)."""
        client = kit.connect(**lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        kit.broker.before("connack", connection=2).change(session_present=False)
        kit.broker.reset(1)
        kit.broker.wait_for("suback", sent=True, connection=2)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        assert len(kit.broker.packets("subscribe", connection=2)) == 1

    @case("reconnect.session_unsubscribed", on=FAULTS, needs=_SESSION)
    def session_unsubscribed(self, kit: Kit) -> None:
        """What was unsubscribed without a connection is unsubscribed in the session that is present."""
        client, lost, _ = watched(kit, **lasting(kit))
        kit.subscribe(client, [f"{kit.topic}/keep", f"{kit.topic}/drop"])
        kit.broker.refuse()
        kit.broker.reset(1)
        lost.next()
        receipt = client.unsubscribe(f"{kit.topic}/drop")
        kit.broker.accept()
        receipt.wait(kit.patience)
        assert kit.broker.wait_for("unsubscribe", connection=2).topic_filters == [f"{kit.topic}/drop"]
        assert kit.broker.packets("subscribe", connection=2) == []

    @case("reconnect.replay", on=FAULTS, needs=_SESSION)
    def replay(self, kit: Kit) -> None:
        """What the broker sends right behind CONNACK, before SUBSCRIBE could be answered, is handled."""
        client = kit.connect(**lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        observer = kit.observer()
        kit.broker.refuse()
        kit.broker.reset(1)
        for number in range(20):
            observer.publish(kit.topic, str(number))
        together = kit.broker.before("connack", connection=3).hold()
        kit.broker.accept()
        together.wait()
        together.release()
        assert inbox.payloads(20) == [b"%d" % number for number in range(20)]
        inbox.nothing()

    @case("reconnect.replay_before_handlers", needs=_SESSION)
    def replay_before_handlers(self, kit: Kit) -> None:
        """What the broker replays to a program that has just started waits for its handlers."""
        before = kit.connect(**lasting(kit))
        kit.subscribe(before, kit.topic)
        before.disconnect_from_server()
        kit.observer().publish(kit.topic, b"while away")
        client = kit.create(**lasting(kit))
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        kit.eventually(lambda: client.statistics.received == 1, "the replay has arrived")
        inbox = kit.inbox(client)
        client.loop_start()
        assert inbox.payloads(1) == [b"while away"]
        _forget(kit, client)

    @case("reconnect.session_after_close", needs=_SESSION)
    def session_after_close(self, kit: Kit) -> None:
        """A session outlives a deliberate disconnect, too, and the same client takes it up again."""
        client = kit.create(**lasting(kit))
        inbox = kit.inbox(kit.connect(client), kit.topic)
        client.disconnect_from_server()
        kit.observer().publish(kit.topic, b"while away")
        kit.connect(client)
        assert inbox.payloads(1) == [b"while away"]
        _forget(kit, client)


def _forget(kit: Kit, client: JMqtt) -> None:
    """End the session: a broker that is not ours is to be left as it was."""
    client.disconnect_from_server()
    kit.observer(client_id=client.client_id).close()


def _in_publish(broker: FaultBroker) -> None:
    broker.after_bytes(len(_LARGE), connection=1).reset()


def _resumed(kit: Kit, qos: int, cut: Callable[[FaultBroker], Any], payload: bytes = _LARGE) -> list[str]:
    """What the second connection repeats of a message that was cut in the first."""
    client = kit.connect(**lasting(kit))
    observer = kit.observer(kit.topic)
    cut(kit.broker)
    client.publish(kit.topic, payload, qos=qos).wait(kit.patience)
    kit.broker.wait_for("connack", sent=True, connection=3)
    seen = observer.drain()
    assert {message.payload for message in seen} == {payload}, "the message did not arrive"
    assert qos == 1 or len(seen) == 1, "a message of QoS 2 arrived twice"
    client.publish(f"{kit.topic}/next", b"", qos=1).wait(kit.patience)  # the identifiers are in order
    first = {packet.packet_id for packet in kit.broker.packets("publish", connection=1)}
    sent = []
    for entry in kit.broker.log:
        if entry.connection == 3 and not entry.sent and entry.kind in ("publish", "pubrel"):
            if getattr(entry.packet, "topic", "").endswith("/next"):
                continue
            assert not first or entry.packet.packet_id in first, "another packet identifier"
            sent.append(entry.kind + (" dup" if getattr(entry.packet, "dup", False) else ""))
    return sent


def _anew(kit: Kit, qos: int, cut: Callable[[FaultBroker], Any]) -> int:
    """How often a message arrives that was cut in a connection whose session was lost with it."""
    client = kit.connect()
    observer = kit.observer(kit.topic)
    cut(kit.broker)
    client.publish(kit.topic, b"x", qos=qos).wait(kit.patience)
    assert client.statistics.connects == 2
    return len(observer.drain())
