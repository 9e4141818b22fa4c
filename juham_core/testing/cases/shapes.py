"""Cases about the two shapes of handlers that paho's versions have had: each gets its own arguments."""

from __future__ import annotations

from typing import Any

from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import FiveArguments, Recorder


class Three(Recorder):
    """A handler with three arguments."""

    def __call__(self, client: Any, userdata: Any, third: Any) -> None:
        super().__call__(client, userdata, third)


class Four(Recorder):
    """A handler with four arguments."""

    def __call__(self, client: Any, userdata: Any, third: Any, fourth: Any) -> None:
        super().__call__(client, userdata, third, fourth)


class ShapeCases:
    """The subject ``handlers``, continued."""

    @case("handlers.on_connect_old")
    def on_connect_old(self, kit: Kit) -> None:
        """on_connect with four arguments gets (client, userdata, flags, rc): a dict, and the number 0."""
        client = _with(kit, "on_connect", called := Four())
        who, userdata, flags, code = called.next()
        assert who is client
        assert userdata == "mine"
        assert flags["session present"] == 0
        assert code == 0

    @case("handlers.on_connect_new")
    def on_connect_new(self, kit: Kit) -> None:
        """on_connect with five arguments gets flags with attributes, a reason code, and properties."""
        client = _with(kit, "on_connect", called := FiveArguments())
        who, userdata, flags, code, _properties = called.next()
        assert who is client
        assert userdata == "mine"
        assert not flags.session_present
        assert code == 0
        assert not code.is_failure

    @case("handlers.on_disconnect_old")
    def on_disconnect_old(self, kit: Kit) -> None:
        """on_disconnect with three arguments gets (client, userdata, 0) after a deliberate disconnect."""
        client = _with(kit, "on_disconnect", called := Three())
        client.disconnect_from_server()
        assert called.next() == (client, "mine", 0)
        called.nothing()

    @case("handlers.on_disconnect_new")
    def on_disconnect_new(self, kit: Kit) -> None:
        """on_disconnect with five arguments gets flags, a reason code that is 0, and properties."""
        client = _with(kit, "on_disconnect", called := FiveArguments())
        client.disconnect_from_server()
        _, userdata, flags, code, _properties = called.next()
        assert userdata == "mine"
        assert not flags.is_disconnect_packet_from_server
        assert code == 0
        called.nothing()

    @case("handlers.on_disconnect_lost_old", on=FAULTS)
    def on_disconnect_lost_old(self, kit: Kit) -> None:
        """on_disconnect with three arguments gets a code other than 0 when the connection was lost."""
        _with(kit, "on_disconnect", called := Three())
        kit.broker.reset()
        assert called.next()[2] != 0

    @case("handlers.on_disconnect_lost_new", on=FAULTS)
    def on_disconnect_lost_new(self, kit: Kit) -> None:
        """on_disconnect with five arguments gets a failure, not from the broker, for a lost connection."""
        _with(kit, "on_disconnect", called := FiveArguments())
        kit.broker.reset()
        _, _, flags, code, _ = called.next()
        assert code.is_failure
        assert not flags.is_disconnect_packet_from_server

    @case("handlers.on_publish_old")
    def on_publish_old(self, kit: Kit) -> None:
        """on_publish with three arguments gets (client, userdata, mid), the receipt's."""
        client = _with(kit, "on_publish", called := Three())
        for qos in (0, 1):
            receipt = client.publish(kit.topic, b"x", qos=qos)
            assert called.next() == (client, "mine", receipt.mid)

    @case("handlers.on_publish_new")
    def on_publish_new(self, kit: Kit) -> None:
        """on_publish with five arguments gets (client, userdata, mid, reason code, properties)."""
        client = _with(kit, "on_publish", called := FiveArguments())
        for qos in (0, 1):
            receipt = client.publish(kit.topic, b"x", qos=qos)
            who, userdata, mid, code, _properties = called.next()
            assert (who, userdata, mid) == (client, "mine", receipt.mid)
            assert not code.is_failure

    @case("handlers.on_subscribe_old")
    def on_subscribe_old(self, kit: Kit) -> None:
        """on_subscribe with four arguments gets (client, userdata, mid, granted QoS of each filter)."""
        client = _with(kit, "on_subscribe", called := Four())
        receipt = client.subscribe([(f"{kit.topic}/a", 0), (f"{kit.topic}/b", 1)])
        who, userdata, mid, granted = called.next()
        assert (who, userdata, mid) == (client, "mine", receipt.mid)
        assert list(granted) == [0, 1]

    @case("handlers.on_subscribe_new")
    def on_subscribe_new(self, kit: Kit) -> None:
        """on_subscribe with five arguments gets (client, userdata, mid, reason codes, properties)."""
        client = _with(kit, "on_subscribe", called := FiveArguments())
        receipt = client.subscribe([(f"{kit.topic}/a", 0), (f"{kit.topic}/b", 1)])
        _, userdata, mid, codes, _properties = called.next()
        assert (userdata, mid) == ("mine", receipt.mid)
        assert [code.value for code in codes] == [0, 1]

    @case("handlers.on_unsubscribe_both")
    def on_unsubscribe_both(self, kit: Kit) -> None:
        """on_unsubscribe gets (client, userdata, mid), or with five arguments reason codes and properties."""
        client = _with(kit, "on_unsubscribe", old := Three())
        receipt = client.unsubscribe(kit.topic)
        assert old.next() == (client, "mine", receipt.mid)
        kit.handle(client, "on_unsubscribe", new := FiveArguments())
        receipt = client.unsubscribe(kit.topic)
        assert new.next()[:3] == (client, "mine", receipt.mid)

    @case("handlers.replaced")
    def replaced(self, kit: Kit) -> None:
        """A handler that is taken away is not called any more, and one set in its place is."""
        client = kit.connect()
        first = kit.inbox(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"1")
        assert first.payloads(1) == [b"1"]
        kit.handle(client, "on_message", None)
        observer.publish(kit.topic, b"2")
        kit.eventually(lambda: client.statistics.dropped["no handler"] == 1, "nobody took the second one")
        second = kit.inbox(client)
        observer.publish(kit.topic, b"3")
        assert second.payloads(1) == [b"3"]
        first.nothing()


def _with(kit: Kit, event: str, handler: Any) -> Any:
    """A connected client with user data and this handler."""
    client = kit.create()
    client.user_data_set("mine")
    kit.handle(client, event, handler)
    return kit.connect(client)
