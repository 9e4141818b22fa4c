"""What a trial comes to: how many messages were sent, acknowledged, received, lost and duplicated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Account:
    """The messages of one QoS in one trial; they are numbered from 0 on one topic."""

    fault: str
    backend: str
    qos: int
    sent: int = 0
    """Publishes that were accepted."""
    acknowledged: int = 0
    """Of these, those whose receipt says that the broker has them."""
    failed: int = 0
    """Those whose receipt says that it failed."""
    unresolved: int = 0
    """Those whose receipt says nothing."""
    received: int = 0
    """Different numbers that arrived."""
    lost: int = 0
    """Numbers that were acknowledged and did not arrive."""
    forgotten: int = 0
    """Of the lost, those that the broker had acknowledged on the wire: it had them and lost them."""
    duplicated: int = 0
    """Arrivals of a number that had arrived before."""
    repeated: int = 0
    """Of these, those that the broker sent again by itself, with DUP: the publisher has no part in them."""
    disordered: int = 0
    """First arrivals of a number after a higher one."""
    faults: int = 0
    """Cuts, or restarts of the broker."""
    inside: int = 0
    """Of the cuts, those in the middle of a packet."""
    reconnects: int = 0
    """Connections of the backend after its first."""
    waiting: int = 0
    """The most messages, of any QoS, that had been received at one time and not been handled."""
    seconds: float = 0.0

    def settle(self, receipts, arrivals, promised=frozenset()):
        """Enter receipts (None where there are none), the arrivals in order, and what the broker promised."""
        if receipts is not None:
            self.sent = len(receipts)
            self.unresolved = sum(not receipt.done() for receipt in receipts)
            self.failed = sum(receipt.exception() is not None for receipt in receipts)
            self.acknowledged = self.sent - self.unresolved - self.failed
        seen: set[int] = set()
        highest = -1
        for number, repeated in arrivals:
            if number in seen:
                self.repeated += repeated
            else:
                seen.add(number)
                self.disordered += number < highest
                highest = max(highest, number)
        self.received = len(seen)
        self.duplicated = len(arrivals) - len(seen)
        told = range(self.sent) if receipts is None else _succeeded(receipts)
        missing = set(told) - seen
        self.lost = len(missing)
        self.forgotten = len(missing & promised)
        return self


def _succeeded(receipts):
    return [
        number for number, receipt in enumerate(receipts) if receipt.done() and receipt.exception() is None
    ]
