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
        self._asked: dict[str, Subscription] = {}
        self._folded: dict[str, Subscription] = {}
        """What streams read through a wider subscription: many brokers would send it once for each."""

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
            self._unfold(unread)
            self._forget(unread)
            await self._answers.wait(self._client.unsubscribe(unread), timeout)
        else:
            self._fold()

    @asynccontextmanager
    async def reading(self, stream: Stream, timeout: float | None) -> AsyncIterator[Stream]:
        """Subscribe for a stream as long as the scope lasts."""
        names = {subscription.topic_filter for subscription in stream.subscriptions}
        self._streams.add(stream)  # before the broker sends the first one
        try:
            await self._ask(stream.subscriptions, timeout)
            self._fold()
            yield stream
        except BaseException:
            self._streams.remove(stream)
            self._give_up(names)
            raise
        self._streams.remove(stream)
        await self._leave(names)

    async def _ask(self, subscriptions: list[Subscription], timeout: float | None) -> dict[str, int]:
        receipt = self._client.subscribe(subscriptions)
        for subscription in subscriptions:
            self._asked[subscription.topic_filter] = subscription
            self._folded.pop(subscription.topic_filter, None)
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
        gone = [name for name in names if not self._is_wanted(name)]
        unwanted = [name for name in gone if name in known]
        self._unfold(unwanted)
        self._forget(gone)
        if not unwanted:
            return None
        return self._client.unsubscribe(unwanted)

    def _fold(self) -> None:
        """Unsubscribe from what only streams want and a wider subscription brings as well.

        Not before it was granted: what is retained has come, or is about to.
        """
        granted = self._granted()
        for name in list(granted):
            if not self._is_wanted_otherwise(name) and self._is_covered(name, granted):
                del granted[name]
                self._folded[name] = self._asked[name]
                self._client.unsubscribe(name)

    def _unfold(self, going: list[str]) -> None:
        """Before filters are unsubscribed from: subscribe to what came through them only."""
        if not self._folded:
            return
        granted = {name: qos for name, qos in self._granted().items() if name not in going}
        bare = [
            name for name in self._folded if self._is_wanted(name) and not self._is_covered(name, granted)
        ]
        if bare:
            self._client.subscribe([self._folded.pop(name) for name in bare])

    def _forget(self, names: list[str]) -> None:
        for name in names:
            self._asked.pop(name, None)
            self._folded.pop(name, None)

    def _granted(self) -> dict[str, int]:
        """What may cover, or be covered: plain subscriptions, and the QoS of each."""
        known = self._client.subscriptions
        return {
            name: qos
            for name, subscription in self._asked.items()
            if (qos := known.get(name)) is not None and subscription == Subscription(name, subscription.qos)
        }

    def _is_covered(self, name: str, granted: dict[str, int]) -> bool:
        qos = self._asked[name].qos
        return any(other != name and has >= qos and covers(other, name) for other, has in granted.items())

    def _is_wanted(self, name: str) -> bool:
        return self._streams.uses(name) or self._is_wanted_otherwise(name)

    def _is_wanted_otherwise(self, name: str) -> bool:
        return name in self._wanted or bool(self._client._delivery.router.routes.get(split_share(name)[1]))


def covers(wide: str, narrow: str) -> bool:
    """True if what matches the narrow filter matches the wide one; False wherever a ``$`` is concerned."""
    if narrow.startswith("$") or wide.startswith("$"):
        return False
    inner = narrow.split("/")
    outer = wide.split("/")
    for position, level in enumerate(outer):
        if level == "#":
            return True
        if position >= len(inner) or inner[position] == "#" or level not in ("+", inner[position]):
            return False
    return len(outer) == len(inner)
