"""MQTT 5 properties between their two spellings: the core's names and the attributes of awscrt's packets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from awscrt import mqtt5

from juham_core.errors import NotSupportedError
from juham_core.wire.packets import Will
from juham_core.wire.properties import Properties

PUBLISH: Final[Mapping[str, str]] = {
    "payload_format_indicator": "payload_format_indicator",
    "message_expiry_interval": "message_expiry_interval_sec",
    "topic_alias": "topic_alias",
    "response_topic": "response_topic",
    "correlation_data": "correlation_data_bytes",
    "content_type": "content_type",
    "user_property": "user_properties",
}
RECEIVED: Final[Mapping[str, str]] = {
    **{name: attribute for name, attribute in PUBLISH.items() if name != "topic_alias"},  # it is resolved
    "subscription_identifier": "subscription_identifiers",
}
CONNECT: Final[Mapping[str, str]] = {
    "session_expiry_interval": "session_expiry_interval_sec",
    "request_response_information": "request_response_information",
    "request_problem_information": "request_problem_information",
    "receive_maximum": "receive_maximum",
    "maximum_packet_size": "maximum_packet_size",
    "user_property": "user_properties",
}
CONNACK: Final[Mapping[str, str]] = {
    "session_expiry_interval": "session_expiry_interval_sec",
    "receive_maximum": "receive_maximum",
    "maximum_qos": "maximum_qos",
    "retain_available": "retain_available",
    "maximum_packet_size": "maximum_packet_size",
    "assigned_client_identifier": "assigned_client_identifier",
    "topic_alias_maximum": "topic_alias_maximum",
    "reason_string": "reason_string",
    "user_property": "user_properties",
    "wildcard_subscription_available": "wildcard_subscriptions_available",
    "subscription_identifier_available": "subscription_identifiers_available",
    "shared_subscription_available": "shared_subscription_available",
    "server_keep_alive": "server_keep_alive_sec",
    "response_information": "response_information",
    "server_reference": "server_reference",
}
ANSWER: Final[Mapping[str, str]] = {"reason_string": "reason_string", "user_property": "user_properties"}
DISCONNECT: Final[Mapping[str, str]] = {
    **ANSWER,
    "session_expiry_interval": "session_expiry_interval_sec",
    "server_reference": "server_reference",
}


def to_library(properties: Mapping[str, Any], names: Mapping[str, str], packet: str) -> dict[str, Any]:
    """The attributes of awscrt's packet; raises NotSupportedError for what it has no attribute for."""
    attributes: dict[str, Any] = {}
    for name, value in properties.items():
        if name not in names:
            raise NotSupportedError(
                f"awscrt cannot send the property {name!r} in {packet}; it can: {', '.join(names)}"
            )
        if name == "user_property":
            value = [mqtt5.UserProperty(name=key, value=text) for key, text in value]  # noqa: PLW2901 - its other spelling
        elif name.startswith("request_"):
            value = bool(value)  # noqa: PLW2901 - its other spelling
        attributes[names[name]] = value
    return attributes


def from_library(packet: Any, names: Mapping[str, str]) -> Properties:
    """The properties of a packet that awscrt has received, under the core's names."""
    properties = Properties()
    for name, attribute in names.items():
        value = getattr(packet, attribute)
        if value is None:
            continue
        if name == "user_property":
            value = [(pair.name, pair.value) for pair in value]
        properties[name] = value
    return properties


def plain_pairs(pairs: Iterable[Any]) -> list[tuple[str, str]]:
    """User properties as the core has them; C gives tuples and the public interface objects."""
    return [pair if isinstance(pair, tuple) else (pair.name, pair.value) for pair in pairs]


def has_any(packet: Any, attributes: Iterable[str]) -> bool:
    """True if any of the attributes is there: most messages carry no property at all."""
    return any(getattr(packet, attribute) is not None for attribute in attributes)


def will_of(will: Will) -> tuple[Any, int | None]:
    """A will as awscrt's PublishPacket, and its delay in seconds, which awscrt keeps elsewhere."""
    properties = Properties(will.properties)
    delay = properties.pop("will_delay_interval", None)
    packet = mqtt5.PublishPacket(
        topic=will.topic,
        payload=will.payload,
        qos=mqtt5.QoS(will.qos),
        retain=will.retain,
        **to_library(properties, PUBLISH, "a will"),
    )
    return packet, delay
