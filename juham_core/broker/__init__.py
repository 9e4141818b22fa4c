"""The embedded broker, for development and tests: its state without I/O, and a listener in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from juham_core.broker.connection import Link
from juham_core.broker.limits import Limits, Statistics
from juham_core.broker.state import Broker

if TYPE_CHECKING:
    from juham_core.broker.embedded import EmbeddedBroker

__all__ = ["Broker", "EmbeddedBroker", "Limits", "Link", "Statistics"]


def __getattr__(name: str) -> Any:
    # The in-process backend needs neither asyncio nor ssl, which cost more to import than all the rest.
    if name == "EmbeddedBroker":
        from juham_core.broker.embedded import EmbeddedBroker  # noqa: PLC0415 - imported late on purpose

        return EmbeddedBroker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
