"""Cases about MQTT 5: the properties of messages, and how a message is subscribed to."""

from __future__ import annotations

from typing import Any

from juham_core.errors import JuhamError, NotSupportedError
from juham_core.testing.definition import FAULTS, NONE, case
from juham_core.testing.kit import Kit
from juham_core.wire import MQTT_5, MQTT_311, Properties, Publish, Subscription

_PAIRS = [("b", "1"), ("a", "2"), ("b", "3"), ("b", "1"), ("", ""), ("größe", "✓ 10 µm")]


class Mqtt5Cases:
    """The subject ``mqtt5``."""

    # --- properties of messages ---------------------------------------------------------------------

    @case("mqtt5.user_properties", needs="mqtt_5")
    def user_properties(self, kit: Kit) -> None:
        """User properties are sent and received in order, duplicates and all (MQTT 5 section 3.3.2.3.7)."""
        seen = _there_and_back(kit, Properties(user_property=_PAIRS))
        assert [properties.user_property for properties in seen] == [_PAIRS, _PAIRS]

    @case("mqtt5.user_properties_many", needs="mqtt_5")
    def user_properties_many(self, kit: Kit) -> None:
        """Hundreds of user properties, and long ones, are carried whole (section 1.5.7)."""
        pairs = [(f"name {number}", "x" * number) for number in range(300)] + [("long", "y" * 60_000)]
        seen = _there_and_back(kit, Properties(user_property=pairs))
        assert [properties.user_property for properties in seen] == [pairs, pairs]

    @case("mqtt5.correlation_data", needs="mqtt_5")
    def correlation_data(self, kit: Kit) -> None:
        """Correlation data is bytes, whatever they are (MQTT 5 section 3.3.2.3.6)."""
        data = bytes(range(256))
        for properties in _there_and_back(kit, Properties(correlation_data=data)):
            assert properties.correlation_data == data
            assert isinstance(properties.correlation_data, bytes)

    @case("mqtt5.response_topic", needs="mqtt_5")
    def response_topic(self, kit: Kit) -> None:
        """A handler may answer to the response topic, with the correlation data (section 4.10)."""
        responder, requester = kit.connect(), kit.connect()

        def respond(client: Any, _userdata: Any, message: Any) -> None:
            asked = message.properties
            answer = Properties(correlation_data=asked.correlation_data)
            client.publish(asked.response_topic, message.payload.upper(), qos=1, properties=answer)

        kit.handle(responder, "on_message", respond)
        kit.subscribe(responder, f"{kit.topic}/request")
        answers = kit.inbox(requester, f"{kit.topic}/response/é")
        request = Properties(response_topic=f"{kit.topic}/response/é", correlation_data=b"\x00\xff")
        requester.publish(f"{kit.topic}/request", b"ping", qos=1, properties=request)
        answer = answers.next()
        assert (answer.payload, answer.properties.correlation_data) == (b"PING", b"\x00\xff")

    @case("mqtt5.content_type", needs="mqtt_5")
    def content_type(self, kit: Kit) -> None:
        """Content type and payload format are carried (MQTT 5 sections 3.3.2.3.2 and 3.3.2.3.9)."""
        for properties in _there_and_back(
            kit, Properties(content_type="text/plain", payload_format_indicator=1), "grün"
        ):
            assert properties.content_type == "text/plain"
            assert properties.payload_format_indicator == 1

    @case("mqtt5.message_expiry", on=FAULTS, needs="mqtt_5")
    def message_expiry(self, kit: Kit) -> None:
        """The expiry interval is sent as given, and what the broker has left of it is shown (3.3.2.3.3)."""
        kit.broker.before("publish").change(properties=Properties(message_expiry_interval=3599))
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        client.publish(kit.topic, b"x", qos=1, properties={"message_expiry_interval": 3600})
        assert inbox.next().properties.message_expiry_interval == 3599
        assert kit.broker.wait_for("publish").properties == {"message_expiry_interval": 3600}

    @case("mqtt5.no_properties", needs="mqtt_5")
    def no_properties(self, kit: Kit) -> None:
        """A message without properties arrives without any, and gets none by another's."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        client.publish(kit.topic, b"1", qos=1, properties={"content_type": "a"})
        client.publish(kit.topic, b"2", qos=1)
        assert [message.properties for message in inbox.take(2)] == [{"content_type": "a"}, {}]

    @case("mqtt5.retained_properties", needs="mqtt_5")
    def retained_properties(self, kit: Kit) -> None:
        """A retained message keeps its properties (MQTT 5 section 3.3.1.3)."""
        client = kit.connect()
        sent = Properties(content_type="a", user_property=_PAIRS)
        client.publish(kit.topic, b"x", qos=1, retain=True, properties=sent).wait(kit.patience)
        message = kit.inbox(client, kit.topic).next()
        assert message.properties == sent
        assert message.retain
        kit.observer().publish(kit.topic, b"", retain=True)

    @case("mqtt5.property_refused", on=FAULTS, needs="mqtt_5")
    def property_refused(self, kit: Kit) -> None:
        """A property that has no place in PUBLISH raises at the call, and nothing is sent (2.2.2)."""
        client = kit.connect()
        for wrong in ({"receive_maximum": 3}, {"no_such_property": 1}, {"content_type": 5}):
            with kit.raises(JuhamError):
                client.publish(kit.topic, b"x", properties=wrong)
        client.publish(kit.topic, b"y", qos=1).wait(kit.patience)
        assert [packet.payload for packet in kit.broker.packets("publish")] == [b"y"]

    # --- topic aliases ------------------------------------------------------------------------------

    @case("mqtt5.topic_alias", on=FAULTS, needs="mqtt_5")
    def topic_alias(self, kit: Kit) -> None:
        """The broker's topic aliases are resolved, and may be set anew (MQTT 5 section 3.3.2.3.4)."""
        client = kit.connect(properties=Properties(topic_alias_maximum=2))
        inbox = kit.inbox(client)
        for topic, alias in (("a", 1), ("", 1), ("b", 2), ("", 1), ("c", 1), ("", 1), ("", 2)):
            kit.broker.send(Publish(topic, b"x", properties=Properties(topic_alias=alias)))
        assert [message.topic for message in inbox.take(7)] == ["a", "a", "b", "a", "c", "c", "b"]

    @case("mqtt5.topic_alias_forgotten", on=FAULTS, needs="mqtt_5")
    def topic_alias_forgotten(self, kit: Kit) -> None:
        """Topic aliases end with their connection: no message of the next one gets an old topic."""
        client = kit.connect(properties=Properties(topic_alias_maximum=2))
        inbox = kit.inbox(client)
        alias = Properties(topic_alias=1)
        kit.broker.send(Publish("old", b"1", properties=alias))
        assert inbox.next().topic == "old"
        kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=2)
        kit.eventually(client.is_connected, "the client is back")
        kit.broker.send(Publish("", b"2", properties=alias))  # a protocol error, which ends the connection
        kit.broker.wait_for("connack", sent=True, nth=3)
        kit.eventually(client.is_connected, "the client is back")
        kit.broker.send(Publish("new", b"3", properties=alias), Publish("", b"4", properties=alias))
        assert [message.topic for message in inbox.take(2)] == ["new", "new"]

    # --- how to subscribe ---------------------------------------------------------------------------

    @case("mqtt5.no_local", needs="mqtt_5")
    def no_local(self, kit: Kit) -> None:
        """With no_local a client does not get what it published itself (MQTT 5 section 3.8.3.1)."""
        client = kit.connect()
        inbox = kit.inbox(client)
        kit.subscribe(client, Subscription(kit.topic, 1, no_local=True))
        client.publish(kit.topic, b"own", qos=1).wait(kit.patience)
        kit.observer().publish(kit.topic, b"other", qos=1)
        assert inbox.next().payload == b"other"

    @case("mqtt5.retain_as_published", needs="mqtt_5")
    def retain_as_published(self, kit: Kit) -> None:
        """With retain_as_published the retain flag comes as it was sent (MQTT 5 section 3.8.3.1)."""
        client = kit.connect()
        inbox = kit.inbox(client)
        kit.subscribe(client, Subscription(kit.topic, 1, retain_as_published=True))
        observer = kit.observer()
        observer.publish(kit.topic, b"1", retain=True)
        observer.publish(kit.topic, b"2")
        assert [message.retain for message in inbox.take(2)] == [True, False]
        observer.publish(kit.topic, b"", retain=True)

    @case("mqtt5.retain_handling", needs="mqtt_5")
    def retain_handling(self, kit: Kit) -> None:
        """retain_handling 2 replays no retained message, 1 only for a new subscription (3.8.3.1)."""
        observer = kit.observer()
        observer.publish(kit.topic, b"kept", retain=True)
        client = kit.connect()
        inbox = kit.inbox(client)
        kit.subscribe(client, Subscription(kit.topic, 1, retain_handling=2))
        kit.subscribe(client, Subscription(kit.topic, 1, retain_handling=1))
        observer.publish(kit.topic, b"live")
        assert inbox.next().payload == b"live"
        observer.publish(kit.topic, b"", retain=True)

    @case("mqtt5.subscription_options_last", on=FAULTS, needs="mqtt_5")
    def subscription_options_last(self, kit: Kit) -> None:
        """The options of a subscription are sent as given, and again after a reconnect (section 3.8.3.1)."""
        wanted = Subscription(kit.topic, 1, no_local=True, retain_as_published=True, retain_handling=1)
        client = kit.connect()
        kit.subscribe(client, wanted)
        kit.broker.reset()
        kit.broker.wait_for("subscribe", nth=2)
        assert [packet.subscriptions for packet in kit.broker.packets("subscribe")] == [[wanted], [wanted]]

    # --- what 3.1.1 lacks ---------------------------------------------------------------------------

    @case("mqtt5.not_in_311", on=NONE, needs=("mqtt_5", "mqtt_311"))
    def not_in_311(self, kit: Kit) -> None:
        """Under MQTT 3.1.1, properties and subscription options raise NotSupportedError at the call."""
        client = kit.create(protocol=MQTT_311)
        with kit.raises(NotSupportedError):
            client.publish("t", b"x", qos=1, properties={"content_type": "a"})
        for subscription in (
            Subscription("t", no_local=True),
            Subscription("t", retain_as_published=True),
            Subscription("t", retain_handling=2),
        ):
            with kit.raises(NotSupportedError):
                client.subscribe(subscription)
        with kit.raises(NotSupportedError):
            client.will_set("t", b"x", properties={"will_delay_interval": 5})
        with kit.raises(NotSupportedError):
            client.configure(properties=Properties(receive_maximum=3))

    @case("mqtt5.without_properties_in_311", on=FAULTS, needs=("mqtt_5", "mqtt_311"))
    def without_properties_in_311(self, kit: Kit) -> None:
        """A client may speak one version and then the other, and each as it should be spoken."""
        client = kit.connect(protocol=MQTT_5)
        client.publish(kit.topic, b"1", qos=1, properties={"content_type": "a"}).wait(kit.patience)
        client.disconnect_from_server()
        client.configure(protocol=MQTT_311)
        kit.connect(client)
        client.publish(kit.topic, b"2", qos=1).wait(kit.patience)
        assert [packet.protocol for packet in kit.broker.packets("connect")] == [MQTT_5, MQTT_311]
        assert [packet.properties for packet in kit.broker.packets("publish")] == [{"content_type": "a"}, {}]


def _there_and_back(kit: Kit, properties: Properties, payload: Any = b"x") -> list[Properties]:
    """What an observer and the client itself get of a message's properties."""
    client = kit.connect()
    observer = kit.observer(kit.topic, protocol=MQTT_5)
    inbox = kit.inbox(client, kit.topic)
    client.publish(kit.topic, payload, qos=1, properties=properties).wait(kit.patience)
    return [observer.message().properties, inbox.next().properties]
