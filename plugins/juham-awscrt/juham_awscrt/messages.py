"""How messages pass between awscrt and a connection: by the library's public interface."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Protocol

from awscrt import mqtt5

from juham_awscrt import properties as props
from juham_core.message import MqttMsg
from juham_core.wire.properties import Properties

QOS: Final = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)

Answered = Callable[[int, int, Any, "str | None", Any], None]
"""Takes awscrt's error code (0: none), the QoS, and the reason code, reason string and user properties of
PUBACK, each of them None where there is none."""


class Receiver(Protocol):
    """Who gets the messages, on the thread of awscrt's event loop."""

    client: Any

    def received(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None, handle: Any
    ) -> bool:
        """Take a message and its handle for PUBACK, which QoS 0 has not.

        False if PUBACK is to be sent at once; otherwise the receiver will do so with the handle.
        """


class Messages:
    """Messages by the public interface, which makes a dozen objects for each of them."""

    def make_client(self, options: Any, receiver: Receiver) -> Any:
        """Make an ``awscrt.mqtt5.Client`` whose messages the receiver gets."""
        options.on_publish_callback_fn = partial(self._received, receiver)
        return mqtt5.Client(options)

    def _received(self, receiver: Receiver, data: Any) -> None:
        packet, acquire = data.publish_packet, data.acquire_publish_acknowledgement_control
        found = None
        if props.has_any(packet, props.RECEIVED.values()):
            found = props.from_library(packet, props.RECEIVED)
        handle = acquire() if acquire is not None else None
        later = receiver.received(packet.topic, packet.payload, int(packet.qos), packet.retain, found, handle)
        if handle is not None and not later:
            receiver.client.invoke_publish_acknowledgement(handle)

    def acknowledge(self, client: Any, handle: Any) -> None:
        """Send PUBACK; raises RuntimeError if awscrt does not."""
        client.invoke_publish_acknowledgement(handle)

    def publish(self, client: Any, message: MqttMsg, answered: Answered) -> None:
        """Hand over a message; ``answered`` is called on the event loop's thread."""
        packet = mqtt5.PublishPacket(
            topic=message.topic,
            payload=message.payload,
            qos=QOS[message.qos],
            retain=message.retain,
            **props.to_library(message.properties, props.PUBLISH, "PUBLISH"),
        )

        def done(future: Future[Any]) -> None:
            error: Any = future.exception()
            if error is not None:
                answered(error.code, message.qos, None, None, None)
            else:
                puback = future.result().puback
                answered(0, message.qos, puback.reason_code, puback.reason_string, puback.user_properties)

        client.publish(packet).add_done_callback(done)
