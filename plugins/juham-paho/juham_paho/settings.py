"""The options of a connection, read from and written to the private attributes of paho's client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes

from juham_core.errors import NotSupportedError
from juham_core.options import Options
from juham_core.wire.properties import Properties
from juham_core.wire.terms import MQTT_5, Will
from juham_paho.properties import to_core, to_paho

UNLIMITED: Final = 0
MOST_INFLIGHT: Final = 65_535
MOST_QUEUED: Final = 2**31

Values = dict[str, Any]


def write(client: Client, options: Options) -> None:
    """Set paho's client up for a connection that JMqtt looks after.

    Some of this has no setter, and paho's setters refuse after a lost connection. Raises NotSupportedError
    if this version of paho-mqtt is built differently.
    """
    values: Values = {}
    for _, part in _PARTS:
        values.update(part(options))
    # JMqtt bounds what it hands over and reconnects by itself.
    values.update(
        _max_inflight_messages=UNLIMITED, _max_queued_messages=UNLIMITED, _reconnect_on_failure=False
    )
    _set(client, values)


def read(client: Client) -> Values:
    """What paho's client is set up with, as values of options."""
    will = None
    if client._will:
        will = Will(
            client._will_topic.decode(),
            bytes(client._will_payload),
            client._will_qos,
            bool(client._will_retain),
            to_core(client._will_properties) or Properties(),
        )
    five = client._protocol == MQTTv5
    return {
        "host": client._host,
        "port": client._port,
        "keepalive": client._keepalive,
        "connect_timeout": client._connect_timeout,
        "transport": client._transport,
        "path": client._websocket_path,
        "ws_headers": client._websocket_extra_headers,
        "tls": client._ssl,
        "ssl_context": client._ssl_context,
        "protocol": int(client._protocol),
        "client_id": client._client_id.decode() or None,
        "clean_start": bool(client._clean_start if five else client._clean_session),
        "username": None if client._username is None else client._username.decode(),
        "password": client._password,
        "will": will,
        "manual_ack": client._manual_ack,
        "max_inflight": client._max_inflight_messages or MOST_INFLIGHT,
        "max_queued": client._max_queued_messages or MOST_QUEUED,
        "reconnect": client._reconnect_on_failure,
        "reconnect_min": client._reconnect_min_delay,
        "reconnect_max": client._reconnect_max_delay,
    }


class Mirror:
    """The settings of a client that has them twice: as a JMqtt's options, and as attributes of paho's.

    What the application has set on paho's side is told from what was written there by this.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known = _untouched()

    def adopted(self, options: Options) -> Options:
        """The options with what has been set on paho's side since the last look.

        Raises OptionError for what only paho can do, again each time.
        """
        now = read(self._client)
        changes = {name: value for name, value in now.items() if value != self._known[name]}
        if changes:
            options = options.changed(**changes)
        self._known = now
        return options

    def write_changes(self, before: Options, after: Options) -> None:
        """Let paho's side have what differs between two sets of options, and nothing else."""
        for names, part in _PARTS:
            if any(getattr(before, name) != getattr(after, name) for name in names.split()):
                _set(self._client, part(after))
        self._known = read(self._client)

    def write_bounds(self, options: Options) -> None:
        """Let paho's side have the bounds that JMqtt has kept in its place."""
        _set(self._client, _flow(options))
        self._known = read(self._client)


@cache
def _untouched() -> Values:
    """What a client is set up with that nobody has touched."""
    return read(Client(CallbackAPIVersion.VERSION2))


def require(client: Client, names: Iterable[str]) -> None:
    """Raise NotSupportedError unless paho's client has all of these."""
    missing = sorted(name for name in names if not hasattr(client, name))
    if missing:
        raise NotSupportedError(
            f"paho-mqtt {version('paho-mqtt')} lacks {', '.join(missing)}, which juham-paho needs: "
            "pip install --upgrade juham-paho, or pip install 'paho-mqtt>=2.0,<2.3'"
        )


def _set(client: Client, values: Values) -> None:
    # paho leaves _clean_session out under MQTT 5.
    require(client, values.keys() - {"_clean_session"})
    for name, value in values.items():
        setattr(client, name, value)


def _address(options: Options) -> Values:
    return {
        "_host": options.host,
        "_port": options.effective_port or 1,  # a unix socket has none, and paho wants one
        "_transport": options.transport,
        "_bind_address": options.bind_address,
        "_bind_port": 0,
    }


def _timing(options: Options) -> Values:
    return {"_keepalive": options.keepalive, "_connect_timeout": options.connect_timeout}


def _websocket(options: Options) -> Values:
    return {"_websocket_path": options.path, "_websocket_extra_headers": options.ws_headers}


def _tls(options: Options) -> Values:
    context = options.make_ssl_context()
    return {
        "_ssl": context is not None,
        "_ssl_context": context,
        "_tls_insecure": context is not None and not context.check_hostname,
    }


def _session(options: Options) -> Values:
    properties = Properties(options.properties)
    if options.effective_session_expiry:
        properties["session_expiry_interval"] = options.effective_session_expiry
    five = options.protocol == MQTT_5
    return {
        "_protocol": MQTTv5 if five else MQTTv311,
        "_client_id": (options.client_id or "").encode(),
        "_clean_session": options.clean_start,
        "_clean_start": options.clean_start,
        "_connect_properties": to_paho(properties, PacketTypes.CONNECT) if five else None,
    }


def _credentials(options: Options) -> Values:
    username = None if options.username is None else options.username.encode()
    return {"_username": username, "_password": options.password_bytes}


def _will(options: Options) -> Values:
    will = options.will or Will("", b"")
    return {
        "_will": options.will is not None,
        "_will_topic": will.topic.encode(),
        "_will_payload": will.payload,
        "_will_qos": will.qos,
        "_will_retain": will.retain,
        "_will_properties": to_paho(will.properties, PacketTypes.WILLMESSAGE),
    }


def _flow(options: Options) -> Values:
    return {
        "_manual_ack": options.manual_ack,
        "_max_inflight_messages": options.max_inflight % MOST_INFLIGHT,
        "_max_queued_messages": options.max_queued % MOST_QUEUED,
        "_reconnect_on_failure": options.reconnect,
        "_reconnect_min_delay": options.reconnect_min,
        "_reconnect_max_delay": options.reconnect_max,
    }


_PARTS: Final[tuple[tuple[str, Callable[[Options], Values]], ...]] = (
    ("host port tls transport bind_address", _address),
    ("keepalive connect_timeout", _timing),
    ("path ws_headers", _websocket),
    ("tls ca_certs certfile keyfile keyfile_password insecure ssl_context", _tls),
    ("protocol client_id clean_start session_expiry properties", _session),
    ("username password", _credentials),
    ("will", _will),
    ("manual_ack max_inflight max_queued reconnect reconnect_min reconnect_max", _flow),
)
"""Options by name, and what paho makes of them."""
