"""JAwsCrt, the backend over awscrt, the client that Amazon writes in C for MQTT brokers of any make."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

from juham_awscrt import descriptors, transport, verifying
from juham_awscrt.link import Link
from juham_awscrt.properties import CONNECT, PUBLISH, to_library
from juham_core.capabilities import Capabilities
from juham_core.connection import State
from juham_core.errors import NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.packets import MQTT_5, Subscription
from juham_core.wire.properties import Properties


class JAwsCrt(JMqtt):
    """A client over ``awscrt.mqtt5``, MQTT 5 only (the option ``protocol`` is 5 from the start).

    What the library cannot do, and so neither can this class: QoS 2, an ``ssl_context``, an encrypted key, a
    local address to bind to, AUTH. Nor MQTT 3.1.1: the library's other client reports a CONNACK that refuses
    as a protocol error without its code, so that bad credentials would look like a passing fault.

    It shows neither DUP nor the packet identifier of a received message (no ``dup_and_mid``): ``dup`` is
    always False, and ``mid`` a number of this client's own, good for :meth:`ack`. What is in flight when a
    connection ends goes out again in its session if the next attempt has the same options; otherwise as a
    new message, without DUP.

    Before its first connection by TLS to a broker that has to be verified, Python's ssl verifies it, on a
    connection of its own: awscrt, which verifies each one, holds a failure back for up to 30 s.
    """

    capabilities = Capabilities(
        mqtt_5=True,
        tcp=True,
        tls=True,
        websockets=True,
        unix_sockets=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        packet_limit=descriptors.LISTED,
    )
    library = "awscrt"

    def __init__(self, name: str = "awscrt") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        # QoS 1 is acknowledged once handled, so the broker's window bounds what waits.
        self._delivery.blocks = False
        self._link: Link | None = None
        self._trusted: set[Hashable] = set()
        self.options = self.options.changed(protocol=MQTT_5)

    @property
    def native(self) -> Any:
        """The ``awscrt.mqtt5.Client`` of the present connection; each connection has its own."""
        link = self._link
        return link.client if link is not None else None

    def _require(self, options: Options) -> None:
        super()._require(options)
        transport.check_options(options)
        if options.will is not None and options.will.qos == 2:
            self.capabilities.require("qos_2", self.get_class_id())
        connect = Properties(options.properties)
        connect.pop("topic_alias_maximum", None)
        to_library(connect, CONNECT, "CONNECT")

    def _checked(self, message: MqttMsg) -> MqttMsg:
        checked = super()._checked(message)
        if checked.properties:
            to_library(checked.properties, PUBLISH, "PUBLISH")
        return checked

    def _open(self, options: Options) -> None:
        deadline = time.monotonic() + options.connect_timeout
        trusted = verifying.subject(options)
        if trusted is not None and trusted not in self._trusted:
            verifying.verify(options, deadline, self._dialling)
        self._trusted.discard(trusted)
        link = self._link
        if link is not None and link.options != options:
            link.close(False)
            link = None
        self._link = link or Link(self, options)
        self._link.open(deadline)
        self._trusted.add(trusted)

    def _close(self, deliberate: bool) -> None:
        link, goes_on = self._link, self._connection.state in (State.TURNING, State.WAITING)
        if link is not None and not (goes_on and not self._connection.closing and link.pause()):
            self._link = None
            link.close(deliberate)

    def _publish(self, message: MqttMsg) -> int:
        return self._connected().sending.publish(message)

    def _publish_many(self, messages: list[MqttMsg]) -> list[int]:
        return self._connected().sending.publish_many(messages)

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        return self._connected().sending.subscribe(subscriptions)

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        return self._connected().sending.unsubscribe(topic_filters)

    def _ack(self, mid: int, qos: int) -> None:  # noqa: ARG002 - awscrt acknowledges QoS 1 only
        link = self._link
        if link is not None:
            link.incoming.acknowledge(mid)

    def _connected(self) -> Link:
        link = self._link
        if link is None:
            raise NotConnectedError("the connection has ended")
        return link
