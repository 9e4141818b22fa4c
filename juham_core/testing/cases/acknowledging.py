"""Cases about received messages of QoS 1 and 2: duplicates, and acknowledgement by the application."""

from __future__ import annotations

from typing import Any

from juham_core.errors import NotSupportedError
from juham_core.hooks import DROP, Drop, hooks
from juham_core.hookspecs import hookimpl
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.testing.cases.losing import lasting
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Publish, Pubrel

_DUP_SHOWN = "it shows DUP: have the class declare dup_and_mid, or report False"
_MID_SHOWN = "it shows packet identifiers: have the class declare dup_and_mid, or report other numbers"


def _dup_of_two(kit: Kit) -> list[bool]:
    """What a message shows that the broker sends twice, the second time with DUP."""
    kit.broker.before("publish", nth=1).twice()
    inbox = kit.inbox(kit.connect(), kit.topic)
    kit.observer().publish(kit.topic, b"x")
    return [message.dup for message in inbox.take(2)]


def _dup_of_two_connections(kit: Kit) -> list[bool]:
    """What a message shows that is not acknowledged, and comes again with the session's next connection."""
    inbox = kit.inbox(kit.connect(manual_ack=True, **lasting(kit)), kit.topic)
    kit.observer().publish(kit.topic, b"x")
    first = inbox.next()
    kit.broker.reset(1)
    return [first.dup, inbox.next().dup]


def _three(kit: Kit, client: JMqtt) -> list[Any]:
    """Messages with the packet identifier 4711, with none, and with 815."""
    inbox = kit.inbox(client, kit.topic)
    for qos, packet_id in ((1, 4711), (0, 0), (1, 815)):
        kit.broker.send(Publish(kit.topic, b"x", qos=qos, packet_id=packet_id))
    return inbox.take(3)


# --- without the capability dup_and_mid ---------------------------------------------------------------


def _hides_dup(kit: Kit) -> None:
    shown = _dup_of_two(kit)
    sent = kit.broker.packets("publish", sent=True, connection=1)
    assert [packet.dup for packet in sent] == [False, True]
    assert shown == [False, False], _DUP_SHOWN


def _hides_dup_later(kit: Kit) -> None:
    shown = _dup_of_two_connections(kit)
    sent = kit.broker.packets("publish", sent=True, where=lambda packet: packet.payload == b"x")
    assert [packet.dup for packet in sent] == [False, True]
    assert shown == [False, False], _DUP_SHOWN


def _hides_mid(kit: Kit) -> None:
    by_hand = kit.capabilities.manual_ack
    client = kit.connect(manual_ack=by_hand)
    first, _, last = _three(kit, client)
    shown = (first.mid, last.mid)
    assert shown != (4711, 815), _MID_SHOWN
    if by_hand:
        for message in (first, last):
            assert client.ack(message.mid, message.qos) == 0
    kit.broker.wait_for("puback", nth=2, connection=1)
    answers = kit.broker.packets("puback", connection=1)
    assert [packet.packet_id for packet in answers] == [4711, 815], f"acknowledged by the mids {shown}"


class AcknowledgingCases:
    """The subject ``handlers``, continued."""

    # --- duplicates ---------------------------------------------------------------------------------

    @case("handlers.qos_2_once", on=FAULTS, needs="qos_2")
    def qos_2_once(self, kit: Kit) -> None:
        """A QoS 2 message that the broker sends twice before PUBREL is handled once (section 4.3.3)."""
        kit.broker.before("publish", nth=1).twice()
        inbox = kit.inbox(kit.connect(), kit.topic, qos=2)
        observer = kit.observer()
        observer.publish(kit.topic, b"once", qos=2)
        observer.publish(kit.topic, b"next", qos=2)
        assert inbox.payloads(2) == [b"once", b"next"]
        inbox.nothing()

    @case("handlers.qos_2_id_again", on=FAULTS, needs="qos_2")
    def qos_2_id_again(self, kit: Kit) -> None:
        """After PUBREL the same identifier brings another message, which is handled (section 4.3.3)."""
        inbox = kit.inbox(kit.connect(), kit.topic, qos=2)
        for number in (1, 2):
            kit.broker.send(Publish(kit.topic, b"%d" % number, qos=2, packet_id=77))
            kit.broker.wait_for("pubrec", nth=number)
            kit.broker.send(Pubrel(77))
            kit.broker.wait_for("pubcomp", nth=number)
        assert inbox.payloads(2) == [b"1", b"2"]

    @case("handlers.qos_1_dup_shown", on=FAULTS, needs="dup_and_mid", without=_hides_dup)
    def qos_1_dup_shown(self, kit: Kit) -> None:
        """A QoS 1 message that comes again is delivered again, and shows DUP (section 3.3.1.1)."""
        shown = _dup_of_two(kit)
        assert shown == [False, True], f"dup_and_mid is declared, and dup is {shown}"

    @case("handlers.mid_shown", on=FAULTS, needs="dup_and_mid", without=_hides_mid)
    def mid_shown(self, kit: Kit) -> None:
        """A message shows its packet identifier as ``mid``, and 0 at QoS 0 (section 2.2.1)."""
        shown = [message.mid for message in _three(kit, kit.connect())]
        assert shown == [4711, 0, 815], f"dup_and_mid is declared, and mid is {shown}"

    @case("handlers.qos_2_cut_at_pubrec", on=FAULTS, needs=("qos_2", "persistent_session"))
    def qos_2_cut_at_pubrec(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBREC is lost with the connection is handled once (section 4.4)."""
        kit.broker.on("pubrec", nth=1).reset()
        _handled_once(kit)

    @case("handlers.qos_2_cut_at_pubrel", on=FAULTS, needs=("qos_2", "persistent_session"))
    def qos_2_cut_at_pubrel(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBREL is lost with the connection is handled once (section 4.4)."""
        kit.broker.before("pubrel", nth=1).reset()
        _handled_once(kit)

    @case("handlers.qos_2_cut_at_pubcomp", on=FAULTS, needs=("qos_2", "persistent_session"))
    def qos_2_cut_at_pubcomp(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBCOMP is lost with the connection is handled once (section 4.4)."""
        kit.broker.on("pubcomp", nth=1).reset()
        _handled_once(kit)

    # --- by the application -------------------------------------------------------------------------

    @case("handlers.ack_missing", on=FAULTS, needs=("manual_ack", "persistent_session"))
    def ack_missing(self, kit: Kit) -> None:
        """What the application did not acknowledge comes again after a reconnect (section 4.4)."""
        client = kit.connect(manual_ack=True, **lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"x")
        observer.publish(kit.topic, b"marker", qos=0)
        inbox.take(2)
        kit.subscribe(client, f"{kit.topic}/marker")  # whatever was on its way has arrived
        assert kit.broker.packets("puback") == []
        kit.broker.reset(1)
        again = inbox.next()
        assert again.payload == b"x"
        client.ack(again.mid, again.qos)
        sent = kit.broker.packets("publish", sent=True, connection=1)[0]
        assert kit.broker.wait_for("puback").packet_id == sent.packet_id

    @case(
        "handlers.ack_missing_dup",
        on=FAULTS,
        needs=("manual_ack", "persistent_session", "dup_and_mid"),
        without=_hides_dup_later,
    )
    def ack_missing_dup(self, kit: Kit) -> None:
        """What comes again after a reconnect shows DUP, as it did not the first time (section 3.3.1.1)."""
        shown = _dup_of_two_connections(kit)
        assert shown == [False, True], f"dup_and_mid is declared, and dup is {shown}"

    @case("handlers.ack_missing_qos_2", on=FAULTS, needs=("manual_ack", "persistent_session", "qos_2"))
    def ack_missing_qos_2(self, kit: Kit) -> None:
        """At QoS 2 too what was not acknowledged is still the broker's: the session's next client gets it."""
        options = lasting(kit)
        client = kit.connect(manual_ack=True, **options)
        inbox = kit.inbox(client, kit.topic, qos=2)
        kit.observer().publish(kit.topic, b"x", qos=2)
        assert inbox.next().qos == 2
        client.disconnect_from_server()
        client = kit.create(manual_ack=True, **options)
        inbox = kit.inbox(client)
        kit.connect(client)
        again = inbox.next()
        assert (again.payload, again.qos) == (b"x", 2)
        client.ack(again.mid, again.qos)
        kit.broker.wait_for("pubcomp", connection=3)

    @case("handlers.ack_given", on=FAULTS, needs=("manual_ack", "persistent_session"))
    def ack_given(self, kit: Kit) -> None:
        """What the application acknowledged does not come again after a reconnect (section 4.3.2)."""
        client = kit.connect(manual_ack=True, **lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"first")
        message = inbox.next()
        assert client.ack(message.mid, message.qos) == 0
        sent = kit.broker.packets("publish", sent=True, connection=1)[0]
        assert kit.broker.wait_for("puback").packet_id == sent.packet_id
        kit.broker.reset(1)
        kit.broker.wait_for("connack", sent=True, connection=3)
        observer.publish(kit.topic, b"second")
        assert inbox.payloads(1) == [b"second"]

    @case("handlers.ack_qos_2", on=FAULTS, needs=("manual_ack", "qos_2"))
    def ack_qos_2(self, kit: Kit) -> None:
        """At QoS 2 the exchange does not end with PUBCOMP before the application has acknowledged."""
        client = kit.connect(manual_ack=True)
        inbox = kit.inbox(client, kit.topic, qos=2)
        observer = kit.observer()
        observer.publish(kit.topic, b"x", qos=2)
        observer.publish(kit.topic, b"marker", qos=0)
        # Some libraries deliver at PUBLISH and some at PUBREL, which the marker may overtake.
        message = next(each for each in inbox.take(2) if each.qos == 2)
        kit.subscribe(client, f"{kit.topic}/marker")  # whatever was on its way has arrived
        assert kit.broker.packets("pubcomp", connection=1) == []
        client.ack(message.mid, message.qos)
        [sent] = kit.broker.packets("publish", sent=True, connection=1, where=lambda packet: packet.qos == 2)
        assert kit.broker.wait_for("pubcomp", connection=1).packet_id == sent.packet_id
        assert message.mid == sent.packet_id or not kit.capabilities.dup_and_mid

    @case("handlers.ack_in_handler", on=FAULTS, needs="manual_ack")
    def ack_in_handler(self, kit: Kit) -> None:
        """A message may be acknowledged inside its handler."""
        client = kit.connect(manual_ack=True)

        def handler(client: JMqtt, _userdata: Any, message: Any) -> None:
            client.ack(message.mid, message.qos)

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        kit.broker.wait_for("puback", connection=1)

    @case("handlers.ack_out_of_session", on=FAULTS, needs=("manual_ack", "persistent_session"))
    def ack_out_of_session(self, kit: Kit) -> None:
        """To acknowledge what an earlier connection brought does no harm: the broker sends it again."""
        client = kit.connect(manual_ack=True, **lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        message = inbox.next()
        kit.broker.before("publish", connection=3).withhold()
        kit.broker.reset(1)
        kit.broker.wait_for("connack", sent=True, connection=3)
        client.ack(message.mid, message.qos)
        client.publish(f"{kit.topic}/alive", b"x", qos=1).wait(kit.patience)
        assert client.is_connected()

    @case("handlers.ack_too_late", on=FAULTS, needs="manual_ack")
    def ack_too_late(self, kit: Kit) -> None:
        """To acknowledge once the connection has ended, or the client is closed, is no error."""
        client = kit.connect(manual_ack=True, reconnect_min=60, reconnect_max=60)
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        message = inbox.next()
        kit.broker.reset(1)
        kit.eventually(lambda: not client.is_connected(), "the end of the connection")
        assert client.ack(message.mid, message.qos) == 0
        client.disconnect_from_server()
        assert client.ack(message.mid, message.qos) == 0

    @case("handlers.ack_of_dropped", on=FAULTS, needs="manual_ack")
    def ack_of_dropped(self, kit: Kit) -> None:
        """With manual_ack, too, what a plugin drops is acknowledged: the application never sees it."""
        client = kit.connect(manual_ack=True)
        _Plugin.of(kit, client, DROP)
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        answer = kit.broker.wait_for("puback", connection=1)
        [sent] = kit.broker.packets("publish", sent=True, connection=1)
        assert answer.packet_id == sent.packet_id
        inbox.nothing()

    @case("handlers.ack_of_replaced", on=FAULTS, needs="manual_ack")
    def ack_of_replaced(self, kit: Kit) -> None:
        """What a plugin puts in the place of a message is acknowledged as that message would be."""
        client = kit.connect(manual_ack=True)
        _Plugin.of(kit, client, MqttMsg(kit.topic, b"another"))
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        message = inbox.next()
        assert (message.payload, message.qos) == (b"another", 1)
        client.ack(message.mid, message.qos)
        answer = kit.broker.wait_for("puback", connection=1)
        [sent] = kit.broker.packets("publish", sent=True, connection=1)
        assert answer.packet_id == sent.packet_id

    @case("handlers.ack_unasked", needs="manual_ack")
    def ack_unasked(self, kit: Kit) -> None:
        """Without the option manual_ack, ack raises NotSupportedError: it would answer twice."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        message = inbox.next()
        with kit.raises(NotSupportedError):
            client.ack(message.mid, message.qos)

    @case("handlers.ack_by_itself", on=FAULTS)
    def ack_by_itself(self, kit: Kit) -> None:
        """Without the option manual_ack each QoS 1 message is acknowledged once, in order (section 4.6)."""
        inbox = kit.inbox(kit.connect(), kit.topic)
        observer = kit.observer()
        for number in range(20):
            observer.publish(kit.topic, str(number))
        inbox.take(20)
        kit.broker.wait_for("puback", nth=20, connection=1)
        sent = kit.broker.packets("publish", sent=True, connection=1)
        answers = kit.broker.packets("puback", connection=1)
        assert [each.packet_id for each in answers] == [each.packet_id for each in sent]


class _Plugin:
    """A plugin that has one answer to every message of QoS 1 that a client receives."""

    def __init__(self, client: Any, answer: MqttMsg | Drop) -> None:
        self._client = client
        self._answer = answer

    @classmethod
    def of(cls, kit: Kit, client: Any, answer: MqttMsg | Drop) -> None:
        """Have one registered until the case ends."""
        plugin = cls(kit.seen_by_hooks(client), answer)
        hooks.register(plugin)
        kit.keep(lambda: hooks.unregister(plugin))

    @hookimpl
    def jmqtt_received(self, client: Any, message: MqttMsg) -> MqttMsg | Drop | None:
        """See :func:`juham_core.hookspecs.jmqtt_received`."""
        return self._answer if client is self._client and message.qos else None


def _handled_once(kit: Kit) -> None:
    client = kit.connect(**lasting(kit))
    inbox = kit.inbox(client, kit.topic, qos=2)
    observer = kit.observer()
    observer.publish(kit.topic, b"once", qos=2)
    kit.broker.wait_for("pubcomp", where=lambda packet: packet.reason_code < 0x80, connection=3)
    observer.publish(kit.topic, b"next", qos=2)
    assert inbox.payloads(2) == [b"once", b"next"]
    inbox.nothing()
