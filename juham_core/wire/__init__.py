"""The MQTT codec, 3.1.1 and 5, without I/O: the embedded broker stands on it, and so may any backend."""

from juham_core.errors import MalformedPacketError
from juham_core.wire.decoder import LARGEST_PACKET, Decoder
from juham_core.wire.encoder import encode
from juham_core.wire.packets import (
    MAX_PAYLOAD,
    MQTT_5,
    MQTT_311,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import ReasonCode

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
