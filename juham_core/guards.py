"""What is checked at the call, before anything is sent: the message, the options, the subscriptions."""

from __future__ import annotations

from typing import ClassVar

from juham_core.capabilities import Capabilities
from juham_core.connection import State
from juham_core.errors import ConnectError, InvalidArgumentError, NotSupportedError, OptionError
from juham_core.message import MqttMsg, check_qos
from juham_core.object import Object
from juham_core.options import Options
from juham_core.primitives import Backend
from juham_core.topics import check_sendable, check_topic, known
from juham_core.wire.terms import MQTT_5, MQTT_311, Subscription


class Guards(Backend, Object):
    """The checks that all backends share; one whose library can do less adds to them."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    """What the backend can do; each one declares its own."""

    def _checked(self, message: MqttMsg) -> MqttMsg:
        """Raise unless the message may be sent: it comes from the application, or from a hook."""
        topic = message.topic
        if type(topic) is not str or topic not in known:  # as check_topic() does, without its call
            check_sendable(check_topic(topic))
        qos = message.qos
        if (type(qos) is not int or not 0 <= qos <= 1) and check_qos(qos) == 2:
            self.capabilities.require("qos_2", self.get_class_id())
        if message._properties:
            if self._spoken_protocol < MQTT_5:
                raise NotSupportedError("properties need MQTT 5: connect with the option protocol=5")
            properties = message.properties
            properties.check_sendable("publish")
            # For either a broker ends the connection.
            if "subscription_identifier" in properties:
                raise InvalidArgumentError(
                    "the property 'subscription_identifier' is a broker's to send (MQTT 5 section 3.3.4): "
                    "leave it out"
                )
            if "topic_alias" in properties:
                self._check_alias(properties["topic_alias"], qos)
        return message

    def _check_alias(self, alias: int, qos: int) -> None:
        if qos:
            raise NotSupportedError(
                "the property 'topic_alias' holds for one connection alone (MQTT 5 section 3.3.2.3.4), and a "
                "publish of QoS 1 or 2 may be sent with a later one: leave it out, or publish at QoS 0"
            )
        if alias > self._most_aliases and self._connection.state is State.CONNECTED:
            raise InvalidArgumentError(
                f"the property 'topic_alias' is {alias}, and the broker takes {self._most_aliases or 'none'}"
                f"{' at most' * bool(self._most_aliases)} (topic_alias_maximum in CONNACK)"
            )

    def _require(self, options: Options) -> None:
        """Raise NotSupportedError unless the backend can do what the options ask for.

        Raises OptionError if they would take away the outbox, or the memory, in which publishes wait.
        """
        outgoing = self._outgoing
        busy = self._connection.state is not State.CLOSED or outgoing.queued or outgoing.in_flight
        if options.outbox_bounds != outgoing.bounds and busy:
            raise OptionError(
                "the options of the outbox cannot be changed while the client is connected or publishes "
                "wait: disconnect_from_server() comes first"
            )
        self._require_capable(options)

    def _require_capable(self, options: Options) -> None:
        """Raise NotSupportedError unless the backend can do what the options ask of a connection."""
        needed = {
            "tcp": options.transport == "tcp",
            "websockets": options.transport == "websockets",
            "unix_sockets": options.transport == "unix",
            "in_process": options.transport == "memory",
            "tls": options.tls,
            "ssl_context": options.ssl_context is not None,
            "mqtt_311": options.protocol == MQTT_311,
            "mqtt_5": options.protocol == MQTT_5,
            "bind_address": bool(options.bind_address),
            "persistent_session": not options.clean_start,
            "manual_ack": options.manual_ack,
            "packet_limit": options.max_packet_size is not None,
        }
        for capability, wanted in needed.items():
            if wanted:
                self.capabilities.require(capability, self.get_class_id())

    def _changed_by_hooks(self, options: Options) -> Options:
        changed = super()._changed_by_hooks(options)
        if changed is not options:
            try:
                self._require_capable(changed)
            except NotSupportedError as exc:  # to go on without, say, TLS would be worse
                raise ConnectError(f"a hook plugin has changed the options for this attempt: {exc}") from exc
        return changed

    def _require_sendable(self, needs: frozenset[str]) -> None:
        """Raise NotSupportedError unless what an earlier process left in the outbox can be sent."""
        if "qos_2" in needs and not self.capabilities.qos_2:
            raise NotSupportedError(
                f"the outbox {self._options.outbox!r} holds messages of QoS 2, which {self.get_class_id()} "
                "cannot send: connect with a backend that can, until they are sent"
            )
        if "mqtt_5" in needs and self._options.protocol < MQTT_5:
            raise NotSupportedError(
                f"the outbox {self._options.outbox!r} holds messages with properties, which need MQTT 5: "
                "connect with the option protocol=5"
            )

    def _require_subscribable(self, subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            if subscription.topic_filter.startswith("$share/"):
                self.capabilities.require("shared_subscriptions", self.get_class_id())
            if subscription.qos == 2:
                self.capabilities.require("qos_2", self.get_class_id())
            plain = Subscription(subscription.topic_filter, subscription.qos)
            if subscription != plain and self._spoken_protocol < MQTT_5:
                raise NotSupportedError(
                    "no_local, retain_as_published and retain_handling need MQTT 5: connect with protocol=5"
                )
