"""The outbox: publishes of QoS 1 and 2 kept on disk until the broker has acknowledged them."""

from juham_core.outbox.file import Summary, look_into
from juham_core.outbox.outgoing import StoredOutgoing
from juham_core.outbox.store import Store

__all__ = ["Store", "StoredOutgoing", "Summary", "look_into"]
