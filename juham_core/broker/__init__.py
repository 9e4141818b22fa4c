"""The embedded broker, for development and tests: its state without I/O, and a listener in a thread."""

from __future__ import annotations

from juham_core.broker.connection import Link
from juham_core.broker.limits import Limits, Statistics
from juham_core.broker.state import Broker

__all__ = ["Broker", "Limits", "Link", "Statistics"]
