"""Who wants which topic filter: subscriptions that streams share, and that nobody leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from juham_core.aio.answers import Answers
from juham_core.aio.streams import Stream, Streams
from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.subscribing import filters_of
from juham_core.topics import split_share
from juham_core.wire.packets import Subscription


class Subscribing:
    """The filters of one client. Belongs to the loop."""

    def __init__(self, client: JMqtt, streams: Streams, answers: Answers) -> None:
        self._client = client
        self._streams = streams
        self._answers = answers
        self._wanted = set(client.subscriptions)
        """What the application has subscribed to itself: no stream ends that."""

    async def subscribe(self, subscriptions: list[Subscription], timeout: float | None) -> dict[str, int]:
        """Subscribe for the application."""
        names = {subscription.topic_filter for subscription in subscriptions}
        new = names - self._wanted
        self._wanted |= names
        try:
            return await self._ask(subscriptions, timeout)
        except BaseException:
            self._wanted -= new
            self._give_up(new)
            raise

    async def unsubscribe(self, topic: Any, timeout: float | None) -> None:
        """Unsubscribe for the application."""
        names = filters_of(topic)
        self._wanted.difference_update(names)
        unread = [name for name in names if not self._streams.uses(name)]
        if unread:
            await self._answers.wait(self._client.unsubscribe(unread), timeout)

    @asynccontextmanager
    async def reading(self, stream: Stream, timeout: float | None) -> AsyncIterator[Stream]:
        """Subscribe for a stream as long as the scope lasts."""
        names = {subscription.topic_filter for subscription in stream.subscriptions}
        self._streams.add(stream)  # before the broker sends the first one
        try:
            await self._ask(stream.subscriptions, timeout)
            yield stream
        except BaseException:
            self._streams.remove(stream)
            self._give_up(names)
            raise
        self._streams.remove(stream)
        await self._leave(names)

    async def _ask(self, subscriptions: list[Subscription], timeout: float | None) -> dict[str, int]:
        receipt = self._client.subscribe(subscriptions)
        await self._answers.wait(receipt, timeout)
        return receipt.granted

    async def _leave(self, names: set[str]) -> None:
        receipt = self._give_up(names)
        if receipt is not None and self._client.is_connected():
            try:
                await self._answers.wait(receipt, self._client.options.close_timeout)
            except JuhamError as exc:  # it is in the ledger that the filter is gone
                self._client.debug(f"{self._client.name}: no answer to UNSUBSCRIBE", str(exc))

    def _give_up(self, names: set[str]) -> Any:
        """Tell the broker of filters that nobody wants any more; the receipt, or None if there are none."""
        known = self._client.subscriptions
        unwanted = [name for name in names if name in known and not self._is_wanted(name)]
        return self._client.unsubscribe(unwanted) if unwanted else None

    def _is_wanted(self, name: str) -> bool:
        handled = self._client._delivery._routes.get(split_share(name)[1])
        return name in self._wanted or self._streams.uses(name) or bool(handled)
