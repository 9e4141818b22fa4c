"""What falls due later in the embedded broker: keepalives, delayed wills, expiring sessions and messages."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator


class Timers:
    """Actions by key and time. One key has one action at most; setting it again replaces it. Not locked."""

    def __init__(self) -> None:
        self._actions: dict[Hashable, tuple[float, int, Callable[[], None]]] = {}
        # A cancelled or replaced entry stays in the heap until it surfaces: its number gives it away.
        self._heap: list[tuple[float, int, Hashable]] = []
        self._number = 0

    def set(self, key: Hashable, when: float, action: Callable[[], None]) -> None:
        """Let the action run at ``when`` (on the broker's clock) instead of what the key had before."""
        self._number += 1
        self._actions[key] = (when, self._number, action)
        heapq.heappush(self._heap, (when, self._number, key))
        if len(self._heap) > 2 * len(self._actions) + 64:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)

    def set_earlier(self, key: Hashable, when: float, action: Callable[[], None]) -> None:
        """Set the key's action unless it has one that falls due no later."""
        if key not in self._actions or when < self._actions[key][0]:
            self.set(key, when, action)

    def cancel(self, key: Hashable) -> None:
        """Forget the key's action, if it has one."""
        self._actions.pop(key, None)

    @property
    def next(self) -> float | None:
        """When the next action falls due, or None if none will."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Callable[[], None]]:
        """Take out and yield what is due by now, the earliest first."""
        while (when := self.next) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            yield self._actions.pop(key)[2]

    def _is_live(self, entry: tuple[float, int, Hashable]) -> bool:
        _, number, key = entry
        return key in self._actions and self._actions[key][1] == number
