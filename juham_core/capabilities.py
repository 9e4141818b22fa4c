"""What a backend can do, declared on its class so that it can be asked without connecting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from juham_core.errors import NotSupportedError

if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields
else:
    from juham_core.records import dataclass, field, fields


def _capability(meaning: str) -> bool:
    declared: bool = field(default=False, metadata={"meaning": meaning})
    return declared


@dataclass(frozen=True)
class Capabilities:
    """The abilities that differ between client libraries; all False unless declared.

    Using one that is missing raises :class:`~juham_core.errors.NotSupportedError`; all but two, which cannot
    be refused. ``early_packet_limit`` says how an option is kept. ``dup_and_mid`` says whether ``dup`` and
    ``mid`` of a received message are what the broker has sent (section 3.3), and to read an attribute raises
    nothing: a program that goes by ``message.dup`` asks for ``client.capabilities.dup_and_mid`` first. What
    holds without it :class:`~juham_core.message.MqttMsg` tells.
    """

    mqtt_311: bool = _capability("MQTT 3.1.1")
    mqtt_5: bool = _capability("MQTT 5")
    qos_2: bool = _capability("QoS 2")
    tcp: bool = _capability("TCP")
    tls: bool = _capability("TLS")
    ssl_context: bool = _capability("TLS by an ssl.SSLContext")
    websockets: bool = _capability("websockets")
    unix_sockets: bool = _capability("unix sockets")
    in_process: bool = _capability("in-process broker")
    bind_address: bool = _capability("local address to bind to")
    persistent_session: bool = _capability("persistent sessions")
    shared_subscriptions: bool = _capability("shared subscriptions")
    manual_ack: bool = _capability("manual acknowledgement")
    dup_and_mid: bool = _capability("DUP and packet identifiers of received messages")
    packet_limit: bool = _capability("limit to the size of packets received")
    early_packet_limit: bool = _capability("packets refused by the length that they announce")
    callers_loop: bool = _capability("the caller's event loop")

    def require(self, name: str, backend: str) -> None:
        """Raise NotSupportedError unless this capability is declared."""
        if not getattr(self, name):
            have = ", ".join(meaning for ability, meaning, has in self.rows() if has)
            raise NotSupportedError(
                f"the backend {backend} does not support {self.meaning(name)}; it supports: {have}"
            )

    def rows(self) -> Iterator[tuple[str, str, bool]]:
        """Each capability as (name, what it means, whether it is declared)."""
        for item in fields(self):
            yield item.name, item.metadata["meaning"], getattr(self, item.name)

    @classmethod
    def meaning(cls, name: str) -> str:
        """A capability's name as a person would say it."""
        for item in fields(cls):
            if item.name == name:
                meaning: str = item.metadata["meaning"]
                return meaning
        raise KeyError(name)
