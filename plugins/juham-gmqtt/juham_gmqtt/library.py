"""gmqtt taken to pieces: the one module that knows its private names.

Juham uses gmqtt's client, packet identifiers, storage, packet building, connection and keepalive. It does not
use gmqtt's reader, because that one acknowledges before the application has a message, delivers a repeated
QoS 2 message twice, knows no reason codes of PUBACK, swallows exceptions, and waits for ever on a length it
cannot read; nor its reconnection, which is JMqtt's matter. So bytes go from gmqtt's protocol to the core's
decoder, answers come from the core's encoder, and gmqtt's package handler, the one that reconnects, is never
called.

Private names of gmqtt 0.8 in use, looked for when this module is imported:

* ``Client._connection``, ``_connack_received``, ``_connection_state``, ``_package_handler``,
  ``_persistent_storage``
* ``IdGenerator._last_used_id``, ``_used_ids``
* ``MQTTConnection._keepalive``, ``_keep_connection``, ``_last_data_in``, ``_last_data_out``
* ``MQTTProtocol._read_loop``
"""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import Any, Final, Protocol

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.package import PublishPacket, SubscribePacket, UnsubscribePacket
from gmqtt.mqtt.protocol import MQTTProtocol

from juham_core.errors import NotSupportedError, OptionError, PayloadError
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.packets import MQTT_5, Subscription
from juham_core.wire.properties import Properties
from juham_core.wire.terms import LARGEST_PACKET, past_wanted
from juham_gmqtt.properties import to_gmqtt

_LONGEST_FIELD: Final = 65_535

_CLIENT_NAMES: Final = (
    "_connection",
    "_connack_received",
    "_connection_state",
    "_package_handler",
    "_persistent_storage",
)
_IDENTIFIER_NAMES: Final = ("_last_used_id", "_used_ids")
_CONNECTION_NAMES: Final = ("_keepalive", "_keep_connection", "_last_data_in", "_last_data_out")


class Transport(Protocol):
    """What gmqtt's side tells the link; see :class:`~juham_gmqtt.link.Link`."""

    def made(self, transport: Any, protocol: WireProtocol) -> None: ...
    def arrived(self, data: bytes) -> None: ...
    def gone(self, error: Exception | None) -> None: ...
    def write(self, data: bytes | bytearray) -> None: ...
    def congested(self, yes: bool) -> None: ...
    def silent(self, seconds: float) -> None: ...
    @property
    def held(self) -> bool: ...


class WireProtocol(MQTTProtocol):  # type: ignore[misc]  # gmqtt has no annotations
    """gmqtt's protocol as far as it sends; what is received goes to the link."""

    def __init__(self, client: Any, link: Transport) -> None:
        super().__init__(
            connection_state=client._connection_state, id_generator=client._package_handler.id_generator
        )
        self._link = link

    async def _read_loop(self) -> None:
        """Where gmqtt would read; see :meth:`data_received`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link.made(transport, self)

    def data_received(self, data: bytes) -> None:
        self._link.arrived(data)

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        # Without the error, which gmqtt would log with a traceback and keep in a future nobody awaits.
        super().connection_lost(None)
        self._link.gone(exc)

    def write_data(self, data: bytes) -> None:
        self._link.write(data)

    def pause_writing(self) -> None:
        self._link.congested(True)

    def resume_writing(self) -> None:
        self._link.congested(False)


class WireConnection(MQTTConnection):  # type: ignore[misc]  # gmqtt has no annotations
    """gmqtt's connection: it keeps the connection alive and notices when nothing comes back."""

    def __init__(
        self, transport: Any, protocol: WireProtocol, client: Any, options: Options, link: Transport
    ) -> None:
        self._link = link
        super().__init__(
            transport, protocol, options.clean_start, options.keepalive, client._package_handler
        )

    def put_package(self, pkg: Any) -> None:
        """Where gmqtt's protocol announces the end of the connection, which the link knows already."""

    def keep_alive(self, seconds: int) -> None:
        """Never be silent for longer than this, and give up on a broker that is (0: never).

        gmqtt pings after 0.8 to 1.3 times its keepalive, and gives up after 2 to 2.5 times. MQTT wants the
        ping within 1.0 (section 3.1.2.10): gmqtt is told two thirds.
        """
        self.keepalive = seconds / 1.5

    def received(self) -> None:
        """Something came."""
        self._last_data_in = time.monotonic()

    def sent(self) -> None:
        """Something went out."""
        self._last_data_out = time.monotonic()

    def _keep_connection(self) -> None:
        if self._link.held:
            self.received()
        super()._keep_connection()

    def release(self) -> None:
        """Leave nothing behind in the loop."""
        self._keep_connection_callback.cancel()

    async def close(self) -> None:
        """What gmqtt calls when its keepalive gives up."""
        self._link.silent(2 * self._keepalive)


def make_client(options: Options) -> Any:
    """A gmqtt client that will never reconnect by itself."""
    client = gmqtt.Client(options.client_id, clean_session=options.clean_start)
    client.set_config({"reconnect_retries": 0})
    client._connection_state.protocol_version = options.protocol
    return client


def connect_arguments(options: Options) -> dict[str, Any]:
    """CONNECT as the arguments of gmqtt's ``auth``.

    Raises NotSupportedError for what gmqtt would leave out, OptionError for what no packet can carry.
    """
    if options.password is not None and options.username is None:
        raise NotSupportedError("gmqtt sends no password without a username; set one, or use another backend")
    password, will = options.password_bytes, options.will
    if max(len(password or b""), len(will.payload) if will else 0) > _LONGEST_FIELD:
        raise OptionError("the password and the payload of the will have at most 65,535 bytes each")
    properties = Properties(options.properties)
    if options.protocol == MQTT_5 and options.effective_session_expiry:
        properties["session_expiry_interval"] = options.effective_session_expiry
    last_words = None
    if will is not None:
        last_words = gmqtt.Message(
            will.topic, will.payload, will.qos, will.retain, **to_gmqtt(will.properties)
        )
    return {
        # As bytes, because gmqtt counts characters where MQTT counts bytes.
        "client_id": (options.client_id or "").encode(),
        "username": options.username.encode() if options.username is not None else None,
        "password": password,
        "will_message": last_words,
        **to_gmqtt(properties),
    }


def attach(client: Any, connection: WireConnection | None) -> None:
    """Have the client send by this connection."""
    client._connection = connection


def set_accepted(client: Any, accepted: bool) -> None:
    """Let ``client.is_connected`` say what is true."""
    if accepted:
        client._connack_received.set()
    else:
        client._connack_received.clear()


def storage_of(client: Any) -> Any:
    """The store of packets that await an answer: packet identifier to bytes, in order."""
    return client._persistent_storage


def identifiers_of(client: Any) -> Any:
    """The generator of packet identifiers."""
    return client._package_handler.id_generator


def build_publish(message: MqttMsg, protocol: Any, wanted: int = 0) -> tuple[int, bytearray]:
    """Packet identifier (None at QoS 0, the wanted one unless that is 0) and PUBLISH.

    Raises PayloadError if the packet is larger than MQTT allows, and OverflowError if all packet identifiers
    are in use.
    """
    properties = to_gmqtt(message._properties) if message._properties else {}
    if wanted:
        identifiers = protocol.id_generator
        last = identifiers._last_used_id
        identifiers._used_ids.discard(wanted)
        identifiers._last_used_id = wanted - 1
        try:
            return build_publish(message, protocol)
        finally:
            identifiers._last_used_id = past_wanted(last)
    packet_id, package = PublishPacket.build_package(
        gmqtt.Message(message.topic, message.payload, message.qos, message.retain, **properties), protocol
    )
    if len(package) > LARGEST_PACKET:
        protocol.id_generator.free_id(packet_id)
        raise PayloadError(f"the message takes {len(package):,} bytes; MQTT carries {LARGEST_PACKET:,}")
    return packet_id, package


def leave_wanted(protocol: Any) -> None:
    """Take identifiers that no message of an outbox wants from now on."""
    identifiers = protocol.id_generator
    identifiers._last_used_id = past_wanted(identifiers._last_used_id)


def build_subscribe(subscriptions: list[Subscription], protocol: Any) -> tuple[int, bytearray]:
    """Packet identifier and SUBSCRIBE."""
    wanted = [
        gmqtt.Subscription(
            item.topic_filter,
            item.qos,
            item.no_local,
            item.retain_as_published,
            item.retain_handling,
            item.identifier or None,
        )
        for item in subscriptions
    ]
    built: tuple[int, bytearray] = SubscribePacket.build_package(wanted, protocol)
    return built


def build_unsubscribe(topic_filters: list[str], protocol: Any) -> tuple[int, bytearray]:
    """Packet identifier and UNSUBSCRIBE."""
    # As bytes, because gmqtt counts characters where MQTT counts bytes.
    encoded = [topic_filter.encode() for topic_filter in topic_filters]
    built: tuple[int, bytearray] = UnsubscribePacket.build_package(encoded, protocol)
    return built


def _check() -> None:
    client = gmqtt.Client("check")
    set_in_connection = MQTTConnection.__init__.__code__.co_names
    lacking = [f"Client.{name}" for name in _CLIENT_NAMES if not hasattr(client, name)]
    identifiers = identifiers_of(client)
    lacking += [f"IdGenerator.{name}" for name in _IDENTIFIER_NAMES if not hasattr(identifiers, name)]
    lacking += [f"MQTTConnection.{name}" for name in _CONNECTION_NAMES if name not in set_in_connection]
    lacking += [] if hasattr(MQTTProtocol, "_read_loop") else ["MQTTProtocol._read_loop"]
    if lacking:
        raise ImportError(
            f"juham-gmqtt was written for gmqtt 0.8; the installed gmqtt {version('gmqtt')} has no "
            f"{', '.join(lacking)}: pip install 'gmqtt>=0.8,<0.9'"
        )


_check()
