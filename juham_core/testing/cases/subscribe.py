"""Cases about subscribing: what is granted, what is refused, and when."""

from __future__ import annotations

import queue
from typing import Any

from juham_core.errors import (
    NotConnectedError,
    QosError,
    ReceiptTimeoutError,
    SubscribeError,
    TopicError,
)
from juham_core.testing.definition import FAULTS, NONE, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import FiveArguments, Inbox
from juham_core.wire import Suback


class SubscribeCases:
    """The subject ``subscribe``."""

    # --- what the broker says -----------------------------------------------------------------------

    @case("subscribe.refused", on=FAULTS)
    def refused(self, kit: Kit) -> None:
        """A filter that the broker refuses raises SubscribeError, which names it (MQTT 5 section 3.9.3)."""
        kit.broker.on("subscribe").answer(Suback(0, [0x80]))
        client = kit.connect()
        with kit.raises(SubscribeError) as caught:
            client.subscribe(f"{kit.topic}/secret", qos=1).wait(kit.patience)
        assert _refused(caught) == [f"{kit.topic}/secret"]
        assert f"{kit.topic}/secret" in str(caught[0])
        assert f"{kit.topic}/secret" not in client.subscriptions

    @case("subscribe.refused_partly", on=FAULTS)
    def refused_partly(self, kit: Kit) -> None:
        """If the broker refuses some of several filters, the error names those, and the others stand."""
        kit.broker.on("subscribe", nth=1).answer(Suback(0, [1, 0x80, 0]))
        good, bad, fair = (f"{kit.topic}/{name}" for name in ("good", "bad", "fair"))
        client = kit.connect()
        receipt = client.subscribe([(good, 1), (bad, 1), (fair, 0)])
        with kit.raises(SubscribeError) as caught:
            receipt.wait(kit.patience)
        assert _refused(caught) == [bad]
        assert receipt.granted == {good: 1, fair: 0}
        if kit.all_or_nothing(client):
            assert client.subscriptions == {}
            given_up = kit.broker.wait_for("unsubscribe")
            assert sorted(given_up.topic_filters) == sorted([good, fair])
        else:
            assert client.subscriptions == {good: 1, fair: 0}

    @case("subscribe.refused_reason", on=FAULTS, needs="mqtt_5")
    def refused_reason(self, kit: Kit) -> None:
        """Under MQTT 5 the error has the broker's reason code (section 3.9.3)."""
        kit.broker.on("subscribe").answer(Suback(0, [0x87]))
        with kit.raises(SubscribeError) as caught:
            kit.connect().subscribe(kit.topic).wait(kit.patience)
        assert isinstance(caught[0], SubscribeError)
        assert dict(caught[0].refused) == {kit.topic: 0x87}

    @case("subscribe.refused_once", on=FAULTS)
    def refused_once(self, kit: Kit) -> None:
        """A filter that was refused may be asked for again, and granted then."""
        kit.broker.on("subscribe", nth=1).answer(Suback(0, [0x80]))
        client = kit.connect()
        with kit.raises(SubscribeError):
            client.subscribe(kit.topic).wait(kit.patience)
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        assert inbox.next().payload == b"x"

    @case("subscribe.granted")
    def granted(self, kit: Kit) -> None:
        """The receipt and the client show the QoS that was granted for each filter."""
        client = kit.connect()
        receipt = client.subscribe([(f"{kit.topic}/0", 0), (f"{kit.topic}/1", 1)]).wait(kit.patience)
        assert receipt.granted == {f"{kit.topic}/0": 0, f"{kit.topic}/1": 1}
        assert client.subscriptions == receipt.granted

    @case("subscribe.granted_less", on=FAULTS)
    def granted_less(self, kit: Kit) -> None:
        """A lower QoS than was asked for is shown, and is no error (MQTT 5 section 3.9.3)."""
        kit.broker.on("subscribe").answer(Suback(0, [0]))
        client = kit.connect()
        assert client.subscribe(kit.topic, qos=1).wait(kit.patience).granted == {kit.topic: 0}
        assert client.subscriptions == {kit.topic: 0}

    @case("subscribe.receipt_on_suback", on=FAULTS)
    def receipt_on_suback(self, kit: Kit) -> None:
        """The receipt is done on SUBACK and no sooner (MQTT 5 section 3.9)."""
        suback = kit.broker.before("suback").hold()
        client = kit.connect()
        receipt = client.subscribe(kit.topic)
        suback.wait()
        assert not receipt.done()
        suback.release()
        receipt.wait(kit.patience)

    @case("subscribe.no_suback", on=FAULTS)
    def no_suback(self, kit: Kit) -> None:
        """Without SUBACK a wait gives up with ReceiptTimeoutError, and closing resolves the receipt."""
        kit.broker.before("suback").withhold()
        client = kit.connect(close_timeout=0.2)
        receipt = client.subscribe(kit.topic)
        with kit.raises(ReceiptTimeoutError):
            receipt.wait(0.05)
        client.disconnect_from_server()
        with kit.raises(NotConnectedError):
            receipt.wait(0)

    @case("subscribe.on_subscribe")
    def on_subscribe(self, kit: Kit) -> None:
        """on_subscribe is called once for each SUBACK, with its codes."""
        client = kit.create()
        answers = FiveArguments()
        kit.handle(client, "on_subscribe", answers)
        kit.connect(client)
        kit.subscribe(client, [(f"{kit.topic}/a", 0), (f"{kit.topic}/b", 1)])
        assert [int(getattr(code, "value", code)) for code in answers.next()[3]] == [0, 1]
        client.disconnect_from_server()
        answers.nothing()

    # --- what is refused at the call ----------------------------------------------------------------

    @case("subscribe.filter_refused", on=FAULTS)
    def filter_refused(self, kit: Kit) -> None:
        """A filter that MQTT forbids raises TopicError at the call, and nothing is sent (section 4.7)."""
        client = kit.connect()
        for bad in ("", "a/#/b", "a#", "a+/b", "a\0b", "a\nb", "x" * 65_536, "$share/group", "$share/a+/b"):
            with kit.raises(TopicError):
                client.subscribe(bad)
            with kit.raises(TopicError):
                client.subscribe([(f"{kit.topic}/good", 0), (bad, 0)])
        kit.subscribe(client, kit.topic)
        [sent] = kit.broker.packets("subscribe")
        assert [each.topic_filter for each in sent.subscriptions] == [kit.topic]

    @case("subscribe.qos_refused", on=NONE)
    def qos_refused(self, kit: Kit) -> None:
        """A quality of service other than 0, 1 and 2 raises QosError at the call."""
        client = kit.create()
        for qos in (3, -1, 0.0):
            with kit.raises(QosError):
                client.subscribe(kit.topic, qos=qos)  # type: ignore[arg-type]  # that is the point

    # --- when ---------------------------------------------------------------------------------------

    @case("subscribe.before_connecting")
    def before_connecting(self, kit: Kit) -> None:
        """A subscription may be made before connecting: it is sent with the connection."""
        client = kit.create()
        inbox = Inbox()
        client.message_callback_add(kit.topic, inbox)
        receipt = client.subscribe(kit.topic, qos=1)
        assert not receipt.done()
        kit.connect(client)
        assert receipt.wait(kit.patience).granted == {kit.topic: 1}
        kit.observer().publish(kit.topic, b"x")
        assert inbox.next().payload == b"x"

    @case("subscribe.once_in_on_connect", on=FAULTS)
    def once_in_on_connect(self, kit: Kit) -> None:
        """Subscribing in on_connect, as paho's programs do, sends each filter once for each connection."""
        client = kit.create()
        subscribed: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def on_connect(_client: Any, _userdata: Any, _flags: Any, _code: Any, _properties: Any) -> None:
            subscribed.put(client.subscribe(kit.topic, qos=1))

        kit.handle(client, "on_connect", on_connect)
        kit.connect(client)
        subscribed.get(timeout=kit.patience).wait(kit.patience)
        kit.broker.reset()
        subscribed.get(timeout=kit.patience).wait(kit.patience)
        client.publish(kit.topic, b"", qos=1).wait(kit.patience)
        assert [len(kit.broker.packets("subscribe", connection=n)) for n in (1, 2)] == [1, 1]

    @case("subscribe.inside_handler")
    def inside_handler(self, kit: Kit) -> None:
        """A handler may subscribe, wait for the broker's answer, and gets what comes then."""
        client = kit.connect()
        raised = kit.recorder()

        def follow(*_args: Any) -> None:
            try:
                client.subscribe(f"{kit.topic}/second", qos=1).wait(kit.patience)
                raised(None)
            except Exception as exc:  # noqa: BLE001 - shown in the case's own thread
                raised(exc)

        second = Inbox()
        client.message_callback_add(f"{kit.topic}/first", follow)
        client.message_callback_add(f"{kit.topic}/second", second)
        kit.subscribe(client, f"{kit.topic}/first")
        observer = kit.observer()
        observer.publish(f"{kit.topic}/first", b"")
        assert raised.next(kit.patience + 1) == (None,)
        observer.publish(f"{kit.topic}/second", b"x")
        assert second.next().payload == b"x"

    @case("subscribe.many")
    def many(self, kit: Kit) -> None:
        """A thousand filters in one call, and a hundred in one each, are all granted."""
        client = kit.connect()
        together = [(f"{kit.topic}/t/{n}", 0) for n in range(1000)]
        receipts = [client.subscribe(together)]
        receipts += [client.subscribe(f"{kit.topic}/s/{n}") for n in range(100)]
        for receipt in receipts:
            receipt.wait(kit.patience)
        assert len(client.subscriptions) == 1100
        inbox = kit.inbox(client)
        observer = kit.observer()
        for name in ("t/0", "t/999", "s/99"):
            observer.publish(f"{kit.topic}/{name}", b"")
            assert inbox.next().topic == f"{kit.topic}/{name}"

    @case("subscribe.again_with_other_qos")
    def again_with_other_qos(self, kit: Kit) -> None:
        """Subscribing again to a filter replaces its QoS (MQTT 5 section 3.8.4)."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic, qos=0)
        assert client.subscribe(kit.topic, qos=1).wait(kit.patience).granted == {kit.topic: 1}
        kit.observer().publish(kit.topic, b"x", qos=1)
        assert inbox.next().qos == 1
        assert client.subscriptions == {kit.topic: 1}

    # --- and its end --------------------------------------------------------------------------------

    @case("subscribe.unsubscribe")
    def unsubscribe(self, kit: Kit) -> None:
        """Once an unsubscribe is acknowledged, no further message of the filter comes (section 3.10.4)."""
        client = kit.connect()
        inbox = kit.inbox(client, f"{kit.topic}/#")
        observer = kit.observer()
        observer.publish(f"{kit.topic}/before", b"")
        assert inbox.next().topic == f"{kit.topic}/before"
        kit.subscribe(client, f"{kit.topic}/other")
        client.unsubscribe(f"{kit.topic}/#").wait(kit.patience)
        assert client.subscriptions == {f"{kit.topic}/other": 1}
        observer.publish(f"{kit.topic}/after", b"")
        observer.publish(f"{kit.topic}/other", b"")
        assert inbox.next().topic == f"{kit.topic}/other"

    @case("subscribe.unsubscribe_on_unsuback", on=FAULTS)
    def unsubscribe_on_unsuback(self, kit: Kit) -> None:
        """The receipt of an unsubscribe is done on UNSUBACK and no sooner (MQTT 5 section 3.11)."""
        unsuback = kit.broker.before("unsuback").hold()
        client = kit.connect()
        kit.subscribe(client, kit.topic)
        receipt = client.unsubscribe(kit.topic)
        unsuback.wait()
        assert not receipt.done()
        unsuback.release()
        receipt.wait(kit.patience)

    @case("subscribe.unsubscribe_unknown")
    def unsubscribe_unknown(self, kit: Kit) -> None:
        """To unsubscribe from what was never subscribed to does no harm."""
        client = kit.connect()
        client.unsubscribe(f"{kit.topic}/never").wait(kit.patience)
        inbox = kit.inbox(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        assert inbox.next().payload == b"x"


def _refused(caught: list[BaseException]) -> list[str]:
    assert isinstance(caught[0], SubscribeError)
    return list(caught[0].refused)
