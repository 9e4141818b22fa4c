"""What a client has done so far, in numbers that people can watch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from juham_core.records import dataclass, field


@dataclass
class Statistics:
    """Counts since the client was made; what is queued, in flight, or waits is of the moment."""

    published: int = 0
    """Publishes accepted."""
    acknowledged: int = 0
    """Publishes of QoS 1 and 2 that the broker has acknowledged."""
    resent: int = 0
    """Publishes sent again after a connection was lost: anew, or by the library, with PUBLISH or PUBREL."""
    received: int = 0
    """Messages the library delivered."""
    handled: int = 0
    """Calls of message handlers that returned."""
    handler_errors: int = 0
    """Calls of handlers of any kind that raised."""
    connects: int = 0
    """Connections the broker accepted."""
    reconnects: int = 0
    """Of these, how many came after a lost one."""
    short_lived: int = 0
    """Connections that were accepted and ended before they had lasted (option ``reconnect_reset``): a number
    that rises tells of another client with the same client identifier, or of a broker that is not well."""
    bytes_sent: int = 0
    """Payload bytes handed to the library, once more for what is handed over again."""
    bytes_received: int = 0
    """Payload bytes of the messages that the library delivered."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Messages given up, by reason."""
    queued: int = 0
    """Publishes that wait for the broker."""
    in_flight: int = 0
    """Publishes sent and not yet acknowledged."""
    outbox_messages: int = 0
    """Messages in the outbox."""
    outbox_bytes: int = 0
    """Their topics, payloads and properties."""
    requests: int = 0
    """Subscribes and unsubscribes that wait for the broker's answer, or for a connection."""
    untold: int = 0
    """Calls of on_publish, on_subscribe and on_unsubscribe that wait for their turn."""
    merged: int = 0
    """Events of the connection that on_connect and on_disconnect were not told of, for they lagged behind."""
    waiting: int = 0
    """Received messages and events that wait for their handlers."""
    waiting_bytes: int = 0
    """Payload bytes of these messages."""
