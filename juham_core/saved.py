"""Wills and properties as JSON has them: bytes as text where they are UTF-8, else in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from juham_core.errors import OptionError
from juham_core.jsonfiles import is_secret
from juham_core.message import encode_payload
from juham_core.wire.properties import Properties
from juham_core.wire.terms import Will

_PARTS: Final = ("topic", "payload", "qos", "retain", "properties")
_AUTHENTICATES: Final = "authentication_data"
_BINARY: Final = frozenset({_AUTHENTICATES, "correlation_data"})


def saved_will(will: Will) -> dict[str, Any]:
    """The will for JSON; what is as by default is left out."""
    try:
        payload: Any = will.payload.decode()
    except UnicodeDecodeError:
        payload = _in_base64(will.payload)
    parts = (will.topic, payload, will.qos, will.retain, saved_properties(will.properties))
    return {name: value for name, value in zip(_PARTS, parts, strict=True) if value}


def saved_properties(properties: Properties) -> dict[str, Any]:
    """The properties for JSON, without what authenticates somebody."""
    saved: dict[str, Any] = {}
    for name, value in properties.items():
        if name == "user_property":
            saved[name] = [list(pair) for pair in value if not is_secret(pair[0])]
        elif name != _AUTHENTICATES:
            saved[name] = _in_base64(value) if name in _BINARY else value
    return saved


def will_of(saved: Mapping[str, Any]) -> Will:
    """The will that :func:`saved_will` made into this, or that somebody wrote in this way.

    Raises OptionError unless it is one, PayloadError for what is no payload, InvalidArgumentError for a
    property that MQTT does not know.
    """
    unknown = next((repr(name) for name in saved if name not in _PARTS), None)
    if unknown or "topic" not in saved:
        wrong = f"there is no {unknown}" if unknown else "this one has no topic"
        raise OptionError(f"the option 'will' has a topic, and may have {', '.join(_PARTS[1:])}: {wrong}")
    payload = encode_payload(_plain(saved.get("payload")))
    retain = saved.get("retain", False)
    if not isinstance(retain, bool):
        raise OptionError(f"'retain' of the option 'will' is true or false, not {retain!r}")
    properties = saved.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise OptionError(f"'properties' of the option 'will' are a dict, not {properties!r}")
    return Will(saved["topic"], payload, saved.get("qos", 0), retain, properties_of(properties))


def properties_of(saved: Mapping[str, Any]) -> Properties:
    """The properties that :func:`saved_properties` made into these, or any others, checked."""
    return Properties(
        {name: _plain(value) if name in _BINARY else value for name, value in saved.items()}
    )


def _in_base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _plain(value: Any) -> Any:
    if not (isinstance(value, Mapping) and set(value) == {"base64"}):
        return value
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as exc:
        raise OptionError(f"what stands behind 'base64' is not in base64: {exc}") from exc
