"""The subscribes and unsubscribes that wait for the broker's answer, of which there may be only so many."""

from __future__ import annotations

import threading
from collections import deque

from juham_core.errors import QueueFullError
from juham_core.message import Receipt


class Unanswered:
    """The receipts of one client's requests, until they are done."""

    def __init__(self) -> None:
        self.most = 1
        self._lock = threading.Lock()
        self._receipts: deque[Receipt] = deque()  # some at its end may be done already

    def __len__(self) -> int:
        with self._lock:
            return sum(not receipt.done() for receipt in self._receipts)

    def admit(self, receipt: Receipt, untold: int) -> None:
        """Take note of a request. Raises QueueFullError if too many wait for an answer.

        ``untold`` have theirs, and wait for the application to be told.
        """
        with self._lock:
            receipts = self._receipts
            while receipts and receipts[0].done():
                receipts.popleft()
            if len(receipts) + untold >= self.most:
                receipts = self._receipts = deque(one for one in receipts if not one.done())
            if len(receipts) + untold >= self.most:
                raise QueueFullError(
                    f"{len(receipts):,} subscribes and unsubscribes wait for the broker's answer, and "
                    f"{untold:,} answers for their handler (max_requests={self.most:,}): this one was not "
                    "accepted; name several filters in one call, wait for receipts, or raise max_requests"
                )
            receipts.append(receipt)
