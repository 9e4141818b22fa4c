"""Cases about MQTT 5: what CONNECT and CONNACK agree on, the broker's limits, and reasons."""

from __future__ import annotations

from typing import Any

from juham_core.errors import ConnectError, PublishError, SubscribeError
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import (
    MQTT_5,
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Pubrec,
    Suback,
    Unsuback,
    Will,
    encode,
)


class Mqtt5SessionCases:
    """More of the subject ``mqtt5``."""

    # --- what CONNECT says --------------------------------------------------------------------------

    @case("mqtt5.session_expiry", on=FAULTS, needs=("mqtt_5", "persistent_session"))
    def session_expiry(self, kit: Kit) -> None:
        """The session expiry interval is sent as given, and for ever if only a session is asked for."""
        for options in ({"session_expiry": 3600}, {"clean_start": False}, {}):
            kit.connect(client_id=kit.topic, **options).disconnect_from_server()
        sent = [packet.properties.session_expiry_interval for packet in kit.broker.packets("connect")]
        assert sent[:2] == [3600, 0xFFFF_FFFF]
        assert not sent[2]

    @case("mqtt5.connect_properties", on=FAULTS, needs="mqtt_5")
    def connect_properties(self, kit: Kit) -> None:
        """Further properties of CONNECT are sent as given (MQTT 5 section 3.1.2.11)."""
        wanted = Properties(
            receive_maximum=7,
            maximum_packet_size=100_000,
            topic_alias_maximum=5,
            request_problem_information=0,
            user_property=[("b", "1"), ("a", "2"), ("b", "1")],
        )
        kit.connect(properties=wanted)
        sent = kit.broker.wait_for("connect").properties
        assert {name: sent.get(name) for name in wanted} == wanted

    @case("mqtt5.will_properties", on=FAULTS, needs="mqtt_5")
    def will_properties(self, kit: Kit) -> None:
        """A will has properties of its own, the delay among them (MQTT 5 section 3.1.3.2)."""
        properties = Properties(
            will_delay_interval=0,
            message_expiry_interval=60,
            content_type="text/plain",
            response_topic="r",
            correlation_data=b"\xff",
            payload_format_indicator=1,
            user_property=[("b", "1"), ("a", "2"), ("b", "1")],
        )
        observer = kit.observer(kit.topic, protocol=5)
        client = kit.create(reconnect=False)
        client.will_set(kit.topic, "gone", 1, properties=properties)
        kit.connect(client)
        assert kit.broker.wait_for("connect", nth=2).will == Will(kit.topic, b"gone", 1, False, properties)
        kit.broker.reset(connection=2)
        seen = observer.message().properties
        assert seen.user_property == properties.user_property
        assert seen.content_type == "text/plain"

    @case("mqtt5.will_delay", on=FAULTS, needs=("mqtt_5", "persistent_session"))
    def will_delay(self, kit: Kit) -> None:
        """A client that is back before its will's delay is over leaves no will behind (3.1.3.2.2)."""
        observer = kit.observer(kit.topic)
        client = kit.create(client_id=kit.topic, clean_start=False)
        client.will_set(kit.topic, "gone", 1, properties={"will_delay_interval": 20})
        kit.connect(client)
        kit.broker.reset(connection=2)
        kit.broker.wait_for("connect", nth=3)
        kit.eventually(client.is_connected, "the client is back")
        assert kit.broker.wait_for("connect", nth=3).will.properties == {"will_delay_interval": 20}
        assert observer.drain() == []

    # --- what CONNACK says --------------------------------------------------------------------------

    @case("mqtt5.connack_properties", on=FAULTS, needs="mqtt_5")
    def connack_properties(self, kit: Kit) -> None:
        """CONNACK's properties come as the fifth argument of on_connect (MQTT 5 section 3.2.2.3)."""
        said = Properties(
            reason_string="welcome",
            response_information="answers/here",
            receive_maximum=9,
            user_property=[("b", "1"), ("a", "2"), ("b", "1")],
        )
        kit.broker.before("connack").change(properties=said)
        client = kit.create()
        verdicts = kit.verdicts(client)
        kit.connect(client)
        seen = verdicts.next()[4]
        assert {name: getattr(seen, name) for name in said} == said

    @case("mqtt5.assigned_client_id", on=FAULTS, needs="mqtt_5")
    def assigned_client_id(self, kit: Kit) -> None:
        """An identifier that the broker assigns is the client's from then on (section 3.2.2.3.7)."""
        said = Properties(assigned_client_identifier="auto-17")
        kit.broker.before("connack").change(properties=said)
        client = kit.connect(client_id="")
        assert kit.broker.wait_for("connect").client_id == ""
        assert client.client_id == "auto-17"

    @case("mqtt5.server_keepalive", on=FAULTS, needs="mqtt_5")
    def server_keepalive(self, kit: Kit) -> None:
        """The broker's keepalive takes the place of the client's (MQTT 5 section 3.2.2.3.14)."""
        kit.broker.before("connack").change(properties=Properties(server_keep_alive=1))
        client = kit.connect(keepalive=600)
        kit.broker.wait_for("pingreq", timeout=5)
        assert client.is_connected()

    @case("mqtt5.receive_maximum", on=FAULTS, needs="mqtt_5")
    def receive_maximum(self, kit: Kit) -> None:
        """No more messages are unacknowledged at a time than the broker allows (section 3.2.2.3.3)."""
        kit.broker.before("connack", connection=1).change(properties=Properties(receive_maximum=3))
        kit.broker.on("publish", connection=1).withhold()
        client = kit.connect()
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(8)]
        for sent in range(3, 9):
            kit.broker.wait_for("publish", nth=sent)
            client.unsubscribe("x").wait(kit.patience)  # it overtakes what must not be sent
            packets = kit.broker.packets("publish")
            assert len(packets) == sent, "more messages were sent than the broker allows"
            kit.broker.send(Puback(packets[sent - 3].packet_id))
        for packet in packets[-2:]:
            kit.broker.send(Puback(packet.packet_id))
        for receipt in receipts:
            receipt.wait(kit.patience)

    @case("mqtt5.receive_maximum_qos_2", on=FAULTS, needs=("mqtt_5", "qos_2"))
    def receive_maximum_qos_2(self, kit: Kit) -> None:
        """A message of QoS 2 counts until PUBCOMP, or until a PUBREC that refuses (section 4.9)."""
        kit.broker.before("connack").change(properties=Properties(receive_maximum=1))
        kit.broker.on("publish").withhold()
        kit.broker.on("pubrel").withhold()
        client = kit.connect()
        receipts = [client.publish(kit.topic, str(number), qos=2) for number in range(3)]
        first = kit.broker.wait_for("publish").packet_id
        kit.broker.send(Pubrec(first))
        kit.broker.wait_for("pubrel")
        client.unsubscribe("x").wait(kit.patience)
        assert len(kit.broker.packets("publish")) == 1, "the second was sent before the first was complete"
        kit.broker.send(Pubcomp(first))
        second = kit.broker.wait_for("publish", nth=2).packet_id
        kit.broker.send(Pubrec(second, 0x97))
        third = kit.broker.wait_for("publish", nth=3).packet_id
        kit.broker.send(Pubrec(third))
        kit.broker.wait_for("pubrel", nth=2)
        kit.broker.send(Pubcomp(third))
        receipts[2].wait(kit.patience)
        assert receipts[0].exception() is None
        assert isinstance(receipts[1].exception(), PublishError)

    @case("mqtt5.receive_maximum_ends", on=FAULTS, needs="mqtt_5")
    def receive_maximum_ends(self, kit: Kit) -> None:
        """The broker's receive maximum holds for its connection, and not for the next one."""
        kit.broker.before("connack", connection=1).change(properties=Properties(receive_maximum=1))
        client = kit.connect(max_inflight=5)
        kit.broker.on("publish").withhold()
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2)
        kit.eventually(client.is_connected, "the client is back")
        for number in range(5):
            client.publish(kit.topic, str(number), qos=1)
        kit.broker.wait_for("publish", nth=5)
        client.configure(close_timeout=0.1)

    @case("mqtt5.maximum_packet_size", on=FAULTS, needs="mqtt_5")
    def maximum_packet_size(self, kit: Kit) -> None:
        """What is larger than the broker takes fails with PublishError, and nothing is sent (3.2.2.3.6)."""
        kit.broker.before("connack").change(properties=Properties(maximum_packet_size=200))
        client = kit.connect()
        for qos in (0, 1):
            with kit.raises(PublishError) as caught:
                client.publish(kit.topic, bytes(300), qos).wait(kit.patience)
            assert _code_of(caught[0]) == 0x95
            assert "200" in str(caught[0])
        with kit.raises(PublishError):
            pair = [("name", "x" * 200)]
            client.publish(kit.topic, b"", 1, properties={"user_property": pair}).wait(kit.patience)
        fits = 200 - len(kit.topic) - 8  # fixed header 3, length of the topic 2, identifier 2, properties 1
        client.publish(kit.topic, bytes(fits), 1).wait(kit.patience)
        with kit.raises(PublishError):
            client.publish(kit.topic, bytes(fits + 1), 1).wait(kit.patience)
        assert [len(packet.payload) for packet in kit.broker.packets("publish")] == [fits]
        assert client.is_connected()

    @case("mqtt5.filters_in_small_packets", on=FAULTS, needs="mqtt_5")
    def filters_in_small_packets(self, kit: Kit) -> None:
        """Filters too many for the largest packet that the broker takes go in several (section 3.2.2.3.6)."""
        kit.broker.before("connack").change(properties=Properties(maximum_packet_size=200))
        client = kit.connect()
        names = [f"{kit.topic}/{number}/{'x' * 50}" for number in range(6)]
        client.subscribe(names, qos=1).wait(kit.patience)
        assert client.subscriptions == dict.fromkeys(names, 1)
        with kit.raises(SubscribeError):
            client.subscribe(f"{kit.topic}/{'x' * 200}").wait(kit.patience)
        kit.broker.reset()
        kit.broker.wait_until(lambda: len(_filters(kit, connection=2)) == 6, what="6 filters come back")
        client.unsubscribe(names).wait(kit.patience)
        farewells = kit.broker.packets("unsubscribe")
        assert sum(len(packet.topic_filters) for packet in farewells) == 6
        sent = [*kit.broker.packets("subscribe"), *farewells]
        assert max(len(encode(packet, MQTT_5)) for packet in sent) <= 200

    @case("mqtt5.maximum_qos", on=FAULTS, needs="mqtt_5")
    def maximum_qos(self, kit: Kit) -> None:
        """A QoS above the broker's maximum fails with PublishError, and nothing is sent (3.2.2.3.4)."""
        kit.broker.before("connack").change(properties=Properties(maximum_qos=0))
        client = kit.create()
        early = client.publish(kit.topic, b"early", 1)
        kit.connect(client)
        for receipt in (early, client.publish(kit.topic, b"late", 1)):
            with kit.raises(PublishError) as caught:
                receipt.wait(kit.patience)
            assert _code_of(caught[0]) == 0x9B
        client.publish(kit.topic, b"0").wait(kit.patience)
        kit.broker.wait_for("publish")
        assert [packet.payload for packet in kit.broker.packets("publish")] == [b"0"]

    @case("mqtt5.retain_unavailable", on=FAULTS, needs="mqtt_5")
    def retain_unavailable(self, kit: Kit) -> None:
        """Where the broker retains nothing, a retained publish fails, and nothing is sent (3.2.2.3.5)."""
        kit.broker.before("connack").change(properties=Properties(retain_available=0))
        client = kit.connect()
        for qos in (0, 1):
            with kit.raises(PublishError) as caught:
                client.publish(kit.topic, b"x", qos, retain=True).wait(kit.patience)
            assert _code_of(caught[0]) == 0x9A
        client.publish(kit.topic, b"live", 1).wait(kit.patience)
        assert [packet.payload for packet in kit.broker.packets("publish")] == [b"live"]

    @case("mqtt5.subscriptions_unavailable", on=FAULTS, needs=("mqtt_5", "shared_subscriptions"))
    def subscriptions_unavailable(self, kit: Kit) -> None:
        """Wildcards and shared subscriptions that the broker lacks raise SubscribeError (3.2.2.3.11, 13)."""
        without = Properties(wildcard_subscription_available=0, shared_subscription_available=0)
        kit.broker.before("connack").change(properties=without)
        client = kit.connect()
        shared, wild = f"$share/g/{kit.topic}", f"{kit.topic}/#"
        with kit.raises(SubscribeError) as caught:
            client.subscribe([(wild, 1), (kit.topic, 1), (shared, 1)]).wait(kit.patience)
        assert isinstance(caught[0], SubscribeError)
        assert caught[0].refused == {wild: 0xA2, shared: 0x9E}
        assert client.subscriptions == ({} if kit.all_or_nothing(client) else {kit.topic: 1})
        sent = [each.topic_filter for each in kit.broker.wait_for("subscribe").subscriptions]
        assert sent == [kit.topic], "what the broker does not take was sent, which ends the connection"

    # --- reasons ------------------------------------------------------------------------------------

    @case("mqtt5.reason_of_refusal", on=FAULTS, needs="mqtt_5")
    def reason_of_refusal(self, kit: Kit) -> None:
        """The reason string of a CONNACK that refuses is in the error (MQTT 5 section 3.2.2.3.9)."""
        said = Properties(reason_string="ask the operator")
        kit.broker.before("connack").change(reason_code=0x8A, properties=said)
        client = kit.create()
        client.connect_to_server()
        with kit.raises(ConnectError) as caught:
            client.wait_until_connected(kit.patience)
        assert "ask the operator" in str(caught[0])

    @case("mqtt5.reason_of_publish", on=FAULTS, needs="mqtt_5")
    def reason_of_publish(self, kit: Kit) -> None:
        """The reason string of a PUBACK that refuses is in the error (MQTT 5 section 3.4.2.2.2)."""
        said = Properties(reason_string="no room left")
        kit.broker.on("publish").answer(Puback(0, 0x97, said))
        with kit.raises(PublishError) as caught:
            kit.connect().publish(kit.topic, b"x", 1).wait(kit.patience)
        assert _code_of(caught[0]) == 0x97
        assert "no room left" in str(caught[0])

    @case("mqtt5.reason_of_subscribe", on=FAULTS, needs="mqtt_5")
    def reason_of_subscribe(self, kit: Kit) -> None:
        """The reason string of a SUBACK that refuses is in the error (MQTT 5 section 3.9.2.1.2)."""
        kit.broker.on("subscribe").answer(Suback(0, [0x87], Properties(reason_string="not for you")))
        with kit.raises(SubscribeError) as caught:
            kit.subscribe(kit.connect(), kit.topic)
        assert "not for you" in str(caught[0])

    @case("mqtt5.unsubscribe_refused", on=FAULTS, needs="mqtt_5")
    def unsubscribe_refused(self, kit: Kit) -> None:
        """An UNSUBACK that refuses raises SubscribeError; that nothing was there to end does not (3.11.3)."""
        kit.broker.on("unsubscribe", nth=1).answer(Unsuback(0, [0x87]))
        kit.broker.on("unsubscribe", nth=2).answer(Unsuback(0, [0x11]))
        client = kit.connect()
        kit.subscribe(client, kit.topic)
        with kit.raises(SubscribeError) as caught:
            client.unsubscribe(kit.topic).wait(kit.patience)
        assert isinstance(caught[0], SubscribeError)
        assert caught[0].refused == {kit.topic: 0x87}
        client.unsubscribe(kit.topic).wait(kit.patience)

    @case("mqtt5.reason_of_disconnect", on=FAULTS, needs="mqtt_5")
    def reason_of_disconnect(self, kit: Kit) -> None:
        """on_disconnect tells that the broker said goodbye, with its code and properties (section 3.14)."""
        said = Disconnect(0x8B, Properties(reason_string="down for the night"))
        kit.broker.on("publish", nth=1).send(said).close()
        client = kit.connect()
        ended = kit.recorder()

        def on_disconnect(_c: Any, _u: Any, flags: Any, code: Any, properties: Any) -> None:
            ended(flags, code, properties)

        kit.handle(client, "on_disconnect", on_disconnect)
        client.publish(kit.topic, b"x")
        flags, code, properties = ended.next()
        assert flags.is_disconnect_packet_from_server
        assert code == 0x8B
        assert properties.reason_string == "down for the night"
        kit.eventually(client.is_connected, "it comes back, for that is no reason to stay away")


def _code_of(error: BaseException) -> int | None:
    code: int | None = getattr(error, "reason_code", None)
    return code


def _filters(kit: Kit, connection: int) -> list[str]:
    packets = kit.broker.packets("subscribe", connection=connection)
    return [each.topic_filter for packet in packets for each in packet.subscriptions]
