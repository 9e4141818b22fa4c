"""Mutants that break a rule about MQTT 5; see mutants.py."""

from __future__ import annotations

from dataclasses import replace

from mutants import mutant
from toy import JToy

from juham_core.message import MqttMsg
from juham_core.wire import Properties, Subscription


@mutant("mqtt5.user_properties", "loses order and duplicates of user properties")
class JPairsInDict(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        if properties.user_property:
            properties["user_property"] = dict(properties.user_property)
        super()._received(topic, payload, qos, retain, dup, mid, properties)


@mutant("mqtt5.correlation_data", "takes correlation data for text")
class JTextCorrelation(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        if properties.correlation_data:
            properties["correlation_data"] = properties.correlation_data.decode(errors="replace").encode()
        super()._received(topic, payload, qos, retain, dup, mid, properties)


@mutant("mqtt5.no_properties", "gives a message the properties of the one before")
class JKeepsProperties(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        self._last = properties or self.__dict__.get("_last")
        super()._received(topic, payload, qos, retain, dup, mid, self._last)


@mutant("mqtt5.message_expiry", "does not send the message's expiry")
class JNeverExpires(JToy):
    def _publish(self, message):
        kept = {name: value for name, value in message.properties.items() if "expiry" not in name}
        parts = (message.topic, message.payload, message.qos, message.retain, False, 0, Properties(kept))
        return super()._publish(MqttMsg(*parts))


@mutant("mqtt5.retain_as_published", "loses the retained flag")
class JLosesRetained(JToy):
    def _received(self, topic, payload, qos, retain, *more):
        super()._received(topic, payload, qos, False, *more)


@mutant("mqtt5.topic_alias", "hands over an alias without its topic")
class JIgnoresAliases(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        properties.pop("topic_alias", None)
        super()._received(topic, payload, qos, retain, dup, mid, properties)


@mutant("mqtt5.topic_alias_forgotten", "keeps topic aliases for the next connection")
class JKeepsAliases(JToy):
    def _open(self, options):
        self._aliases = self.__dict__.setdefault("_first_aliases", self._aliases)
        super()._open(options)


@mutant("mqtt5.subscription_options_last", "forgets the options of a subscription")
class JForgetsOptions(JToy):
    def _subscribe(self, subscriptions):
        return super()._subscribe([Subscription(each.topic_filter, each.qos) for each in subscriptions])


@mutant("mqtt5.session_expiry", "does not send the session's expiry")
class JNoSessionExpiry(JToy):
    def _make_connect(self, options):
        packet = super()._make_connect(options)
        packet.properties.pop("session_expiry_interval", None)
        return packet


@mutant("mqtt5.will_properties", "drops the properties of a will")
class JPlainWill(JToy):
    def _make_connect(self, options):
        packet = super()._make_connect(options)
        if packet.will is not None:
            packet.will = replace(packet.will, properties=Properties())
        return packet


class _DropsFromConnack(JToy):
    dropped = ""

    def _on_connack(self, packet):
        packet.properties.pop(self.dropped, None)
        super()._on_connack(packet)


@mutant("mqtt5.receive_maximum", "sends more at a time than the broker allows")
class JTooMany(_DropsFromConnack):
    dropped = "receive_maximum"


@mutant("mqtt5.server_keepalive", "keeps to its own keepalive")
class JOwnKeepalive(_DropsFromConnack):
    dropped = "server_keep_alive"


@mutant("mqtt5.maximum_packet_size", "sends what is too large for the broker")
class JTooLarge(_DropsFromConnack):
    dropped = "maximum_packet_size"


@mutant("mqtt5.filters_in_small_packets", "asks for more at a time than the broker takes")
class JTooManyFilters(_DropsFromConnack):
    dropped = "maximum_packet_size"


@mutant("mqtt5.maximum_qos", "sends at a QoS that the broker does not have")
class JTooMuchQos(_DropsFromConnack):
    dropped = "maximum_qos"


@mutant("mqtt5.retain_unavailable", "asks a broker to retain that does not")
class JRetainsAnyway(_DropsFromConnack):
    dropped = "retain_available"


@mutant("mqtt5.subscriptions_unavailable", "sends wildcards to a broker that has none")
class JWildAnyway(_DropsFromConnack):
    dropped = "wildcard_subscription_available"


@mutant("mqtt5.assigned_client_id", "does not tell which identifier it was given")
class JNoName(_DropsFromConnack):
    dropped = "assigned_client_identifier"


@mutant("mqtt5.connack_properties", "keeps CONNACK's properties to itself")
class JSilentConnack(_DropsFromConnack):
    dropped = "user_property"


@mutant("mqtt5.reason_of_refusal", "does not tell why it was refused")
class JNoReason(_DropsFromConnack):
    dropped = "reason_string"


@mutant("mqtt5.unsubscribe_refused", "swallows a refused unsubscribe")
class JSwallowsUnsuback(JToy):
    def _on_unsuback(self, packet):
        packet.reason_codes = []
        super()._on_unsuback(packet)


@mutant("mqtt5.reason_of_publish", "loses the reason of a negative PUBACK")
class JLosesReason(JToy):
    def _acknowledged(self, key, reason_code=0, properties=None):
        super()._acknowledged(key, reason_code)


@mutant("mqtt5.reason_of_disconnect", "takes the broker's DISCONNECT for a lost connection")
class JDeafToGoodbye(JToy):
    def _on_disconnect_packet(self, packet):
        self._lost(None)
