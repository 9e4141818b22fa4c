"""MQTT 5 properties in gmqtt's words: what it sends has names of its own, and one it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from juham_core.errors import NotSupportedError

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
