"""The MQTT codec, 3.1.1 and 5, without I/O: the embedded broker stands on it, and so may any backend.

The names below are imported when they are first used: most clients need few, and no codec.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from juham_core.errors import MalformedPacketError as MalformedPacketError
    from juham_core.wire.decoder import Decoder as Decoder
    from juham_core.wire.encoder import encode as encode
    from juham_core.wire.packets import Auth as Auth
    from juham_core.wire.packets import Connack as Connack
    from juham_core.wire.packets import Connect as Connect
    from juham_core.wire.packets import Disconnect as Disconnect
    from juham_core.wire.packets import Packet as Packet
    from juham_core.wire.packets import Pingreq as Pingreq
    from juham_core.wire.packets import Pingresp as Pingresp
    from juham_core.wire.packets import Puback as Puback
    from juham_core.wire.packets import Pubcomp as Pubcomp
    from juham_core.wire.packets import Publish as Publish
    from juham_core.wire.packets import Pubrec as Pubrec
    from juham_core.wire.packets import Pubrel as Pubrel
    from juham_core.wire.packets import Suback as Suback
    from juham_core.wire.packets import Subscribe as Subscribe
    from juham_core.wire.packets import Unsuback as Unsuback
    from juham_core.wire.packets import Unsubscribe as Unsubscribe
    from juham_core.wire.properties import Properties as Properties
    from juham_core.wire.reasons import ReasonCode as ReasonCode
    from juham_core.wire.terms import LARGEST_PACKET as LARGEST_PACKET
    from juham_core.wire.terms import MAX_PAYLOAD as MAX_PAYLOAD
    from juham_core.wire.terms import MQTT_5 as MQTT_5
    from juham_core.wire.terms import MQTT_311 as MQTT_311
    from juham_core.wire.terms import Subscription as Subscription
    from juham_core.wire.terms import Will as Will

_HOMES: Final = {
    "Auth": "wire.packets",
    "Connack": "wire.packets",
    "Connect": "wire.packets",
    "Decoder": "wire.decoder",
    "Disconnect": "wire.packets",
    "LARGEST_PACKET": "wire.terms",
    "MAX_PAYLOAD": "wire.terms",
    "MQTT_311": "wire.terms",
    "MQTT_5": "wire.terms",
    "MalformedPacketError": "errors",
    "Packet": "wire.packets",
    "Pingreq": "wire.packets",
    "Pingresp": "wire.packets",
    "Properties": "wire.properties",
    "Puback": "wire.packets",
    "Pubcomp": "wire.packets",
    "Publish": "wire.packets",
    "Pubrec": "wire.packets",
    "Pubrel": "wire.packets",
    "ReasonCode": "wire.reasons",
    "Suback": "wire.packets",
    "Subscribe": "wire.packets",
    "Subscription": "wire.terms",
    "Unsuback": "wire.packets",
    "Unsubscribe": "wire.packets",
    "Will": "wire.terms",
    "encode": "wire.encoder",
}

__all__ = [
    "LARGEST_PACKET",
    "MAX_PAYLOAD",
    "MQTT_5",
    "MQTT_311",
    "Auth",
    "Connack",
    "Connect",
    "Decoder",
    "Disconnect",
    "MalformedPacketError",
    "Packet",
    "Pingreq",
    "Pingresp",
    "Properties",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "ReasonCode",
    "Suback",
    "Subscribe",
    "Subscription",
    "Unsuback",
    "Unsubscribe",
    "Will",
    "encode",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'juham_core.wire' has no attribute {name!r}")
    return globals().setdefault(name, getattr(importlib.import_module(f"juham_core.{_HOMES[name]}"), name))
