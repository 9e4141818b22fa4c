"""Streams of messages: a bounded queue for each, and what becomes of a message when one is full."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from juham_core.aio.message import AsyncMessage
from juham_core.errors import InvalidArgumentError, JuhamError, QueueFullError
from juham_core.filtertree import FilterTree
from juham_core.statistics import Statistics
from juham_core.topics import split_share
from juham_core.wire.packets import Subscription

if TYPE_CHECKING:
    from typing_extensions import Self

OVERFLOW: Final = ("wait", "drop_oldest", "drop_newest", "raise")
READ_ON: Final = 0.02
"""Seconds for which a reader that never waits gets what waits for its full stream; others wait so long."""
MOST_PLANS: Final = 10_000
"""Topics whose streams are remembered."""


class Stream:
    """The messages that match some filters, in order: ``async for message in stream``.

    It ends when its scope is left or the client is closed, after what it still holds, and raises
    ConnectError when the client has given up connecting. It outlasts lost connections. Belongs to one loop;
    several tasks may read it, and each message goes to one of them.
    """

    def __init__(
        self,
        streams: Streams,
        subscriptions: list[Subscription],
        max_queued: int,
        overflow: str,
        most_bytes: int,
    ) -> None:
        if overflow not in OVERFLOW:
            raise InvalidArgumentError(f"overflow is one of {', '.join(OVERFLOW)}, not {overflow!r}")
        if max_queued < 1:
            raise InvalidArgumentError(f"a stream holds at least one message, not {max_queued!r}")
        self.subscriptions = subscriptions
        self.max_queued = max_queued
        self.overflow = overflow
        self.dropped = 0
        """Messages that were lost because the stream was full."""
        self._streams = streams
        self._queue: deque[AsyncMessage] = deque()
        self._bytes = 0  # of the payloads in it
        self._most_bytes = most_bytes
        self._readers: deque[asyncio.Future[None]] = deque()
        self._as_published = any(each.retain_as_published for each in subscriptions)
        self._retained: set[str] = set()
        self._connection = 0
        self._until = 0.0  # when a reader that reads on has to let others have their turn
        self._lost = 0  # of those dropped, what the reader is yet to be told
        self._ended = False
        self._error: JuhamError | None = None

    @property
    def waiting(self) -> int:
        """Messages that wait to be read."""
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncMessage:
        """The next message. Raises QueueFullError, with ``overflow="raise"``, where messages are missing."""
        while not self._queue:
            if self._lost:
                lost, self._lost = self._lost, 0
                raise QueueFullError(
                    f"{lost:,} messages were lost here: {self.max_queued:,} (max_queued), or "
                    f"{self._most_bytes:,} bytes of them (max_received_bytes), were waiting to be read; read "
                    "faster, or choose another overflow"
                )
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if time.perf_counter() < self._until:
                self._streams.move_on()
                if self._queue:
                    break
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except BaseException:
                self._readers = deque(each for each in self._readers if each is not reader)
                if reader.done() and not reader.cancelled():
                    self._wake()  # the message that woke this reader is for the next one
                raise
            self._until = time.perf_counter() + READ_ON
        message = self._take()
        if self._streams.stalled:
            self._streams.resume()
        return message

    def put(self, message: AsyncMessage) -> None:
        """Take a message in, or not, as ``overflow`` has it."""
        if self._ended or (message.retain and self._has_had(message)):
            return
        while self._lost or self._is_full():
            self.dropped += 1
            self._streams.statistics.dropped["stream full"] += 1
            if self.overflow == "raise":
                self._lost += 1
            if self.overflow != "drop_oldest":
                return
            oldest = self._take()
            oldest._holders -= 1
            if not oldest._holders:
                oldest._seen_by_nobody()
        message._holders += 1
        self._queue.append(message)
        self._bytes += len(message.payload)
        if self._readers:
            self._wake()

    def _take(self) -> AsyncMessage:
        message = self._queue.popleft()
        self._bytes -= len(message.payload)
        return message

    def _is_full(self) -> bool:
        return len(self._queue) >= self.max_queued or self._bytes >= self._most_bytes

    def _has_had(self, message: AsyncMessage) -> bool:
        """True for a retained message that comes again because somebody else has subscribed."""
        if self._as_published:
            return False  # there, a new message has the flag too
        if message._connection != self._connection:
            self._connection = message._connection
            self._retained.clear()
        if message.topic in self._retained:
            return True
        self._retained.add(message.topic)
        return False

    def keeps_waiting(self) -> bool:
        """True if the others have to wait until somebody reads."""
        return self.overflow == "wait" and self._is_full() and not self._ended

    def end(self, error: JuhamError | None = None) -> None:
        """Let the readers know that nothing more will come."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        while self._readers:
            self._wake()

    def _wake(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return


class Streams:
    """The streams of one client, found by topic. Belongs to the loop."""

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self.stalled = False
        """True while a message waits for a stream that is full."""
        self.has_room: Callable[[], None] = _nobody
        """Has the line move on soon."""
        self.move_on: Callable[[], None] = _nobody
        """Has it move on now."""
        self.closing = False
        """True once nobody is to wait any more: what is dropped now comes again in the next connection."""
        self._tree: FilterTree[Stream] = FilterTree()
        self._plans: dict[str, list[Stream]] = {}

    def add(self, stream: Stream) -> None:
        """Let a stream have its messages from now on."""
        for subscription in stream.subscriptions:
            self._tree.add(split_share(subscription.topic_filter)[1], stream)
        self._plans.clear()

    def remove(self, stream: Stream) -> None:
        """Give a stream no further message."""
        for subscription in stream.subscriptions:
            self._tree.remove(split_share(subscription.topic_filter)[1], stream)
        self._plans.clear()
        stream.end()
        self.resume()

    def uses(self, topic_filter: str) -> bool:
        """True if a stream reads this filter."""
        return any(
            subscription.topic_filter == topic_filter
            for stream in self._tree.get(split_share(topic_filter)[1])
            for subscription in stream.subscriptions
        )

    def put(self, message: AsyncMessage) -> bool | None:
        """Give a message to its streams: True if there is any, None if one of them has no room yet."""
        found = self._plans.get(message.topic)
        if found is None:
            found = self._plan(message.topic)
        if not found:
            return False
        if not self.closing:
            for stream in found:
                if stream.keeps_waiting():
                    self.stalled = True
                    return None
        for stream in found:
            if self.closing and stream.keeps_waiting():
                stream.dropped += 1
                self.statistics.dropped["closed"] += 1
            else:
                stream.put(message)
        self.statistics.handled += 1
        return True

    def _plan(self, topic: str) -> list[Stream]:
        """Find the streams whose filters match, and keep them while neither these nor the topics change."""
        found = self._tree.match(topic)
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[topic] = found
        return found

    def resume(self) -> None:
        """Somebody has read from a full stream, or it is gone."""
        if self.stalled:
            self.stalled = False
            self.has_room()

    def begin_close(self) -> None:
        """Make nobody wait any more: the client is being closed."""
        self.closing = True
        self.resume()

    def end_all(self, error: JuhamError | None = None) -> None:
        """End every stream; those of a client that is closed, or has given up."""
        for _, stream in list(self._tree):
            stream.end(error)


def _nobody() -> None:
    """No line waits."""
