"""MQTT 5 properties: in gmqtt's words, some of which are its own, and the one that stands for a topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from juham_core.errors import MalformedPacketError, NotSupportedError
from juham_core.wire.reasons import TOPIC_ALIAS_INVALID

_RENAMED: Final = {
    "payload_format_indicator": "payload_format_id",
    "authentication_method": "auth_method",
    "request_problem_information": "request_problem_info",
    "request_response_information": "request_response_info",
}
_MISSING: Final = frozenset({"authentication_data"})


def to_gmqtt(properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keyword arguments by which gmqtt takes these properties.

    Raises NotSupportedError for one that gmqtt would leave out with no more than a warning.
    """
    if not properties:
        return {}
    missing = ", ".join(sorted(_MISSING & properties.keys()))
    if missing:
        raise NotSupportedError(
            f"gmqtt cannot send the property {missing}; leave it out, or use another backend"
        )
    # gmqtt trips over an empty list of pairs, which says nothing anyway.
    return {_RENAMED.get(name, name): value for name, value in properties.items() if value != []}


class TopicAliases:
    """The topics that the broker has given numbers on one connection (MQTT 5 section 3.3.2.3.4)."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def resolve(self, topic: str, alias: int) -> str:
        """The topic of a message with an alias, which an empty topic means and any other sets anew.

        Raises MalformedPacketError for an alias that was never set or is larger than we asked for.
        """
        if alias > self._maximum or not (topic or alias in self._topics):
            raise MalformedPacketError(
                f"PUBLISH: topic alias {alias} is unknown or past the maximum of {self._maximum}",
                reason_code=TOPIC_ALIAS_INVALID,
            )
        if topic:
            self._topics[alias] = topic
        return self._topics[alias]
