"""The receipt of a message in the outbox: of a million that wait, only those exist that somebody holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from juham_core.message import PublishReceipt


class StoredReceipt(PublishReceipt):
    """The receipt of a message in the outbox. Its message is in memory only while it is under way.

    Of a million that wait, only those are kept here that somebody holds, or wants to be told of.
    """

    __slots__ = ("__weakref__", "_told", "expires_at", "number", "size")

    def __init__(self, mid: int, told: set[StoredReceipt]) -> None:
        super().__init__(mid)
        self.number = 0
        self.size = 0
        self.expires_at: float | None = None
        self._told = told

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See :meth:`juham_core.message.Receipt.add_done_callback`."""
        if not self._done:
            self._told.add(self)
        super().add_done_callback(callback)
        if self._done:
            self._told.discard(self)

    def _tell(self) -> None:
        super()._tell()
        self._told.discard(self)
