"""The options of a connection, as paho's client keeps them in its private attributes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes

from juham_core.errors import NotSupportedError
from juham_core.options import Options
from juham_core.wire.packets import MQTT_5
from juham_core.wire.properties import Properties
from juham_paho.properties import to_paho

UNLIMITED = 0


def write(client: Client, options: Options) -> None:
    """Set paho's client up for its next connection.

    Some of this has no setter, and paho's setters refuse after a lost connection. Raises NotSupportedError
    if this version of paho-mqtt is built differently.
    """
    values = as_paho(options)
    # paho leaves _clean_session out under MQTT 5.
    require(client, values.keys() - {"_clean_session"})
    for name, value in values.items():
        setattr(client, name, value)


def require(client: Client, names: Any) -> None:
    """Raise NotSupportedError unless paho's client has all of these."""
    missing = sorted(name for name in names if not hasattr(client, name))
    if missing:
        raise NotSupportedError(
            f"paho-mqtt {version('paho-mqtt')} lacks {', '.join(missing)}, which juham-paho needs: "
            "pip install --upgrade juham-paho, or pip install 'paho-mqtt>=2.0,<2.3'"
        )


def as_paho(options: Options) -> dict[str, Any]:
    """The options as the private attributes of paho's client."""
    will = options.will
    five = options.protocol == MQTT_5
    context = options.make_ssl_context()
    return {
        "_host": options.host,
        "_port": options.effective_port or 1,  # a unix socket has none, and paho wants one
        "_bind_address": options.bind_address,
        "_bind_port": 0,
        "_keepalive": options.keepalive,
        "_connect_timeout": options.connect_timeout,
        "_transport": options.transport,
        "_websocket_path": options.path,
        "_websocket_extra_headers": options.ws_headers,
        "_ssl": context is not None,
        "_ssl_context": context,
        "_tls_insecure": context is not None and not context.check_hostname,
        "_protocol": MQTTv5 if five else MQTTv311,
        "_client_id": (options.client_id or "").encode(),
        "_clean_session": options.clean_start,
        "_clean_start": options.clean_start,
        "_connect_properties": to_paho(_connect_properties(options), PacketTypes.CONNECT) if five else None,
        "_username": None if options.username is None else options.username.encode(),
        "_password": options.password_bytes,
        "_will": will is not None,
        "_will_topic": will.topic.encode() if will else b"",
        "_will_payload": will.payload if will else b"",
        "_will_qos": will.qos if will else 0,
        "_will_retain": will.retain if will else False,
        "_will_properties": to_paho(will.properties, PacketTypes.WILLMESSAGE) if will and five else None,
        "_manual_ack": options.manual_ack,
        # JMqtt bounds what it hands over and reconnects by itself.
        "_max_inflight_messages": UNLIMITED,
        "_max_queued_messages": UNLIMITED,
        "_reconnect_on_failure": False,
    }


def _connect_properties(options: Options) -> Properties:
    properties = Properties(options.properties)
    if options.effective_session_expiry:
        properties["session_expiry_interval"] = options.effective_session_expiry
    return properties
