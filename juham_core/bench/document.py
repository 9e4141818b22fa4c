"""The bench's results as a JSON document, which can be measured in parts."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from juham_core import __version__
from juham_core.errors import ConfigError

VERSION: Final = 1
"""Of the document's form."""

_IDENTITY: Final = ("scenario", "qos", "size", "subscriptions", "window", "broker")


def new(command: str) -> dict[str, Any]:
    """A document with no results."""
    return {"juham_bench": VERSION, "command": command, "session": session(), "cases": []}


def session() -> dict[str, Any]:
    """When and where: what figures depend on and ratios, it is hoped, do not."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "juham_core": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "cores": os.cpu_count(),
        "garbage_collector": "as Python sets it; collected before each round",
    }


def add(document: dict[str, Any], case: dict[str, Any]) -> None:
    """Put a case in, in the place of an earlier one of the same work and faces."""
    cases = document["cases"]
    kept = [one for one in cases if _key(one) != _key(case)]
    document["cases"] = [*kept, case]


def add_checks(document: dict[str, Any], title: str, found: list[dict[str, Any]]) -> None:
    """Put what was checked in, in the place of what an earlier check of this title found."""
    document.setdefault("checks", {})[title] = found


def _key(case: dict[str, Any]) -> tuple[Any, ...]:
    faces = sorted({(one["face"], one["uvloop"]) for one in case["contenders"]})
    return (*(case[name] for name in _IDENTITY), tuple(faces))


def load(path: Path) -> dict[str, Any]:
    """Read a document. Raises ConfigError if it is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["juham_bench"] != VERSION:
            raise ConfigError(f"{path} is of another version of the bench: measure again")
        for case in document["cases"]:
            _key(case)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        advice = f"juham bench --json {path}"
        raise ConfigError(f"{path} holds no results of the bench ({exc!r}): {advice}") from exc
    return document


def save(document: dict[str, Any], path: Path) -> None:
    """Write a document, numbers to seven digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_short(document), indent=1) + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
