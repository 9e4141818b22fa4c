"""How the options of a connection become those of an ``awscrt.mqtt5.Client``."""

from __future__ import annotations

from typing import Any, Final, Protocol

from awscrt import mqtt5

from juham_awscrt import transport
from juham_awscrt.properties import CONNECT, to_library, will_of
from juham_core.options import Options
from juham_core.wire.properties import Properties

NO_ACK_TIMEOUT: Final = 2**31
"""Seconds: awscrt's own timeout would forget a publish that the broker may still acknowledge."""


NEVER: Final = 2**31
"""Milliseconds: without a session to be kept, the client is stopped at the first failure."""
AT_ONCE: Final = 1
"""Milliseconds: where it is not, it is kept from its next attempt until JMqtt makes that one."""


class Events(Protocol):
    """What the library calls, on its event loop's thread: nothing here may block or raise."""

    def on_attempt(self, data: Any) -> None: ...
    def on_accepted(self, data: Any) -> None: ...
    def on_failure(self, data: Any) -> None: ...
    def on_disconnection(self, data: Any) -> None: ...
    def on_stopped(self, data: Any) -> None: ...


def client_options(events: Events, options: Options, loop: transport.Loop) -> Any:
    """Everything awscrt needs for one attempt; raises OptionError for TLS files that cannot be used."""
    delay = NEVER if options.clean_start else AT_ONCE
    aliases = options.properties.get("topic_alias_maximum", 0)
    incoming = mqtt5.InboundTopicAliasBehaviorType
    sessions = mqtt5.ClientSessionBehaviorType
    return mqtt5.ClientOptions(
        host_name=options.host,
        port=options.effective_port,
        bootstrap=loop.bootstrap,
        socket_options=transport.socket_options(options),
        tls_ctx=transport.tls_context(options),
        websocket_handshake_transform=transport.handshake(options),
        connect_options=connect_packet(options),
        session_behavior=sessions.CLEAN if options.clean_start else sessions.REJOIN_ALWAYS,
        offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_NON_QOS1_PUBLISH_ON_DISCONNECT,
        min_reconnect_delay_ms=delay,
        max_reconnect_delay_ms=delay,
        # JMqtt waits for CONNACK; awscrt's timeout is only there to outlast it.
        connack_timeout_ms=int(options.connect_timeout * 3000) + 1000,
        ack_timeout_sec=NO_ACK_TIMEOUT,
        topic_aliasing_options=mqtt5.TopicAliasingOptions(
            outbound_behavior=mqtt5.OutboundTopicAliasBehaviorType.MANUAL,
            inbound_behavior=incoming.ENABLED if aliases else incoming.DISABLED,
            inbound_cache_max_size=aliases,
        ),
        on_lifecycle_event_stopped_fn=events.on_stopped,
        on_lifecycle_event_attempting_connect_fn=events.on_attempt,
        on_lifecycle_event_connection_success_fn=events.on_accepted,
        on_lifecycle_event_connection_failure_fn=events.on_failure,
        on_lifecycle_event_disconnection_fn=events.on_disconnection,
        # Else awscrt puts its name and version into the user name, which brokers refuse.
        disable_metrics=True,
    )


def receive_maximum(options: Options) -> int:
    """How many messages of QoS 1 the broker may send before they are answered (section 3.1.2.11.3)."""
    most: int = options.properties.get("receive_maximum", min(options.max_received, 0xFFFF))
    return most


def connect_packet(options: Options) -> Any:
    """CONNECT; awscrt itself derives the time to wait for PINGRESP from the keepalive."""
    properties = Properties(options.properties)
    properties.pop("topic_alias_maximum", None)
    if options.effective_session_expiry:
        properties["session_expiry_interval"] = options.effective_session_expiry
    if receive_maximum(options) < 0xFFFF:
        properties["receive_maximum"] = receive_maximum(options)
    will, delay = will_of(options.will) if options.will is not None else (None, None)
    return mqtt5.ConnectPacket(
        keep_alive_interval_sec=options.keepalive,
        client_id=options.client_id or "",
        username=options.username,
        password=options.password_bytes,
        will=will,
        will_delay_interval_sec=delay,
        **to_library(properties, CONNECT, "CONNECT"),
    )
