"""JPaho, the backend "paho": a JMqtt that has a paho client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from juham_core.capabilities import Capabilities
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.options import Options
from juham_core.wire.terms import Subscription
from juham_paho import settings
from juham_paho.driver import Driver
from juham_paho.library import PahoClient
from juham_paho.properties import as_core

if TYPE_CHECKING:
    import asyncio

CAPABILITIES = Capabilities(
    mqtt_311=True,
    mqtt_5=True,
    qos_2=True,
    tcp=True,
    tls=True,
    ssl_context=True,
    websockets=True,
    unix_sockets=True,
    bind_address=True,
    persistent_session=True,
    shared_subscriptions=True,
    manual_ack=True,
    dup_and_mid=True,
    packet_limit=True,
    early_packet_limit=True,
    callers_loop=True,
)


class JPaho(JMqtt):
    """An MQTT client that uses paho's, found at :attr:`native`."""

    paho_api_version = 1
    """The generation of handlers the documentation of this class speaks of; both shapes are understood."""
    capabilities = CAPABILITIES
    library = "paho-mqtt"
    _constants: ClassVar[frozenset[str]] = frozenset({"paho_api_version"})

    def __init__(self, name: str = "paho") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        self._client = PahoClient(CallbackAPIVersion.VERSION2)
        super()._set_up(name)
        self._driver = Driver(self, self._client, self._client)
        for event, callback in self._driver.callbacks.items():
            setattr(self._client, event, callback)

    @property
    def native(self) -> Client:
        """The ``paho.mqtt.client.Client``; its own callbacks belong to this class."""
        return self._client

    def publish(
        self,
        topic: str,
        msg: Any = None,
        qos: int = 0,
        retain: bool = False,
        properties: Mapping[str, Any] | None = None,
        payload: Any = None,
    ) -> PublishReceipt:
        """See :meth:`juham_core.jmqtt.JMqtt.publish`; ``properties`` may be paho's, too."""
        return super().publish(topic, msg, qos, retain, as_core(properties), payload)

    def _open(self, options: Options) -> None:
        settings.write(self._client, options)
        self._driver.open(options)

    def _close(self, deliberate: bool) -> None:
        self._driver.close(deliberate)

    def _run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._driver.run_in(loop)

    def _publish(self, message: MqttMsg) -> int:
        return self._driver.publish(message)

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        return self._driver.subscribe(subscriptions)

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        return self._driver.unsubscribe(topic_filters)

    def _pubrel(self, key: int, message: MqttMsg) -> None:
        self._driver.release(key, message)

    def _ack(self, mid: int, qos: int) -> None:
        self._driver.ack(mid, qos)
