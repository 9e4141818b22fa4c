"""How messages pass by awscrt's C functions, without what its Python does for each of them.

These functions are not public. So only versions that were tried are used in this way, and any other one by
its public interface, see :func:`messages_for`.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType
from typing import Any, Final

import _awscrt
from awscrt import mqtt5

from juham_awscrt import properties as props
from juham_awscrt.messages import QOS, Answered, Messages, Receiver
from juham_core.message import MqttMsg
from juham_core.wire.properties import Properties

TRIED: Final = frozenset({"0.38.0", "0.38.1"})
"""Versions of awscrt whose C functions take what is given here."""


def messages_for(version: str) -> Messages:
    """The fastest way for messages that this version of awscrt is known to have."""
    return DirectMessages() if version in TRIED else Messages()


class DirectMessages(Messages):
    """Messages that go into C as they are, and come from there."""

    def make_client(self, options: Any, receiver: Receiver) -> Any:
        """Make an ``awscrt.mqtt5.Client`` whose messages the receiver gets.

        By the library's own constructor, with another class for what C calls: it has no parameter for that.
        """
        own = mqtt5.Client.__init__
        names = {**own.__globals__, "_ClientCore": partial(_Core, receiver)}
        client = mqtt5.Client.__new__(mqtt5.Client)
        FunctionType(own.__code__, names, own.__name__, own.__defaults__, own.__closure__)(client, options)
        return client

    def acknowledge(self, client: Any, handle: Any) -> None:
        """Send PUBACK; raises RuntimeError if awscrt does not."""
        _awscrt.mqtt5_client_invoke_publish_acknowledgement(client._binding, handle)

    def publish(self, client: Any, message: MqttMsg, answered: Answered) -> None:
        """Hand over a message; ``answered`` is called on the event loop's thread."""
        more = _NO_PROPERTIES
        if message._properties:
            found = props.to_library(message._properties, props.PUBLISH, "PUBLISH")
            more = tuple([found.get(name) for name in _IN_ORDER])
        _awscrt.mqtt5_client_publish(
            client._binding,
            QOS[message.qos],
            message.payload,
            message.retain,
            message.topic,
            *more,
            answered,
        )


_IN_ORDER: Final = (
    "payload_format_indicator",
    "message_expiry_interval_sec",
    "topic_alias",
    "response_topic",
    "correlation_data_bytes",
    "content_type",
    "user_properties",
)
_NO_PROPERTIES: Final[tuple[Any, ...]] = (None,) * len(_IN_ORDER)


class _Core(mqtt5._ClientCore):  # type: ignore[misc] # awscrt has no types
    """What C calls."""

    def __init__(self, receiver: Receiver, options: Any) -> None:
        super().__init__(options)
        self._received = receiver.received

    def _on_publish(
        self,
        payload: bytes,
        qos: int,
        retain: bool,
        topic: str,
        has_format: bool,
        payload_format: int,
        has_expiry: bool,
        expiry: int,
        _has_alias: bool,  # C has put the topic in its place
        _alias: int,
        response_topic: str | None,
        correlation_data: bytes | None,
        identifiers: Any,
        content_type: str | None,
        pairs: Any,
        control: int,
    ) -> bool:
        """Take a message; False if C is to send PUBACK as soon as this returns."""
        found = None
        if (
            has_format
            or has_expiry
            or identifiers
            or pairs
            or response_topic is not None
            or correlation_data is not None
            or content_type is not None
        ):
            found = Properties()
            if has_format:
                found["payload_format_indicator"] = payload_format
            if has_expiry:
                found["message_expiry_interval"] = expiry
            if response_topic is not None:
                found["response_topic"] = response_topic
            if correlation_data is not None:
                found["correlation_data"] = correlation_data
            if content_type is not None:
                found["content_type"] = content_type
            if pairs:
                found["user_property"] = list(pairs)
            if identifiers:
                found["subscription_identifier"] = list(identifiers)
        return self._received(topic, payload, qos, retain, found, control or None)
