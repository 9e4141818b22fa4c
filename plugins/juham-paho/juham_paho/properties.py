"""MQTT 5 properties and subscription options, from the core's classes to paho's and back."""

from __future__ import annotations

from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from juham_core.wire.properties import SPECS_BY_ID, Properties
from juham_core.wire.terms import Subscription

# paho spells each property as the specification's title does, without the blanks; identifiers tell which.
_TITLES: Final[dict[str, int]] = PahoProperties(PacketTypes.PUBLISH).names  # type: ignore[no-untyped-call]
_TO_CORE: Final[dict[str, str]] = {
    title.replace(" ", ""): SPECS_BY_ID[identifier].name for title, identifier in _TITLES.items()
}
_TO_PAHO: Final[dict[str, str]] = {core: paho for paho, core in _TO_CORE.items()}


def to_core(properties: PahoProperties | None) -> Properties | None:
    """The core's properties for paho's; None where there are none, which is the usual case."""
    if properties is None:
        return None
    values = {_TO_CORE[name]: value for name, value in vars(properties).items() if name in _TO_CORE}
    return Properties(values) if values else None


def to_paho(properties: Properties, packet_type: int) -> PahoProperties | None:
    """The core's properties as paho's, for a type of packet (``PacketTypes``); None where there are none."""
    if not properties:
        return None
    converted = PahoProperties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it so
    for name, value in properties.items():
        setattr(converted, _TO_PAHO[name], value)
    return converted


def as_core(properties: Any) -> Any:
    """Properties as an application gave them: paho's converted, anything else as it is."""
    return to_core(properties) if isinstance(properties, PahoProperties) else properties


def subscribe_options(subscription: Subscription) -> SubscribeOptions:
    """The MQTT 5 options of a subscription (section 3.8.3.1) as paho's."""
    return SubscribeOptions(
        qos=subscription.qos,
        noLocal=subscription.no_local,
        retainAsPublished=subscription.retain_as_published,
        retainHandling=subscription.retain_handling,
    )
