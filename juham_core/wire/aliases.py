"""The topics that a broker has given numbers on one connection (MQTT 5 section 3.3.2.3.4)."""

from __future__ import annotations

from juham_core.errors import MalformedPacketError
from juham_core.wire.reasons import TOPIC_ALIAS_INVALID


class TopicAliases:
    """Empty at the beginning of a connection; ``maximum`` is what the client announced in CONNECT."""

    def __init__(self, maximum: int = 0) -> None:
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def resolve(self, topic: str, alias: int) -> str:
        """The topic of a message with an alias, which an empty topic means and any other sets anew.

        Raises MalformedPacketError for an alias that was never set or is larger than was asked for.
        """
        if not 0 < alias <= self._maximum or not (topic or alias in self._topics):
            raise MalformedPacketError(
                f"PUBLISH: topic alias {alias} is unknown or past the maximum of {self._maximum}",
                reason_code=TOPIC_ALIAS_INVALID,
            )
        if topic:
            self._topics[alias] = topic
        return self._topics[alias]
