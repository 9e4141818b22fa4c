"""JSON files that people edit: errors that name the line, files that appear whole, secrets left out."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from juham_core.errors import ConfigError

_SECRET_PARTS: Final = ("password", "passwd", "passphrase", "secret", "token", "credential", "apikey")
_SECRET_WORDS: Final = frozenset({"auth", "key", "keys", "pass", "pw", "pwd"})
_WORDS: Final = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"
_IN_URL: Final = r"(://[^/:@\s]*):[^/\s]*@"

_EXPECTED: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}


def is_secret(name: str) -> bool:
    """Tell by its name whether an attribute holds a secret: ``password``, ``api_key``, ``accessToken``."""
    lower = name.lower()
    return any(part in lower for part in _SECRET_PARTS) or not _SECRET_WORDS.isdisjoint(
        word.lower() for word in re.findall(_WORDS, name)
    )


def is_jsonable(value: object) -> bool:
    """Tell whether JSON can carry the value and bring it back: an enumeration's member, say, would not be."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) in (list, tuple):
        return all(map(is_jsonable, value))  # type: ignore[call-overload]  # mypy does not narrow by type(...)
    if isinstance(value, dict) and type(value) is dict:
        return all(isinstance(key, str) and is_jsonable(item) for key, item in value.items())
    return False


def without_secrets(value: Any) -> Any:
    """Return a deep copy of a JSON-able value without what is secret by name, or a password within a URL."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items() if not is_secret(key)}
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_secrets, value))
    if isinstance(value, str):
        return re.sub(_IN_URL, r"\1@", value)
    return value


def convert(value: Any, default: Any, what: str) -> Any:
    """Return the value as the type of the default it replaces; a default of None takes anything.

    Raises :class:`ConfigError`, beginning with ``what``, for another type. An integer will do for a number.
    """
    wanted = type(default)
    if default is None or (type(value) is wanted and wanted in _EXPECTED):
        return value
    if (wanted is float and type(value) is int) or (wanted is tuple and type(value) is list):
        return wanted(value)
    # The value itself is not shown: it could be a secret.
    raise ConfigError(f"{what} must be {_EXPECTED[wanted]}, and is {_EXPECTED.get(type(value), 'null')}")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the object a JSON file holds.

    Raises FileNotFoundError if there is no such file, and :class:`ConfigError` naming file and line if it
    cannot be read as a JSON object.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{os.fspath(path)} cannot be read: {exc}") from exc
    return parse_json(text, os.fspath(path))


def parse_json(text: str, source: str) -> dict[str, Any]:
    """Return the object a JSON text holds; :class:`ConfigError` names source and line if it holds none."""
    try:
        data = json.loads(text)
    except ValueError as exc:
        where = f", line {exc.lineno}, column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else ""
        reason = exc.msg if isinstance(exc, json.JSONDecodeError) else str(exc)
        raise ConfigError(f"{source}{where}: {reason}; correct or remove the file") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"{source}, line 1: a JSON object {{...}} belongs here; correct or remove the file")
    return data


def to_json(data: Mapping[str, Any]) -> str:
    """Return the data as a JSON text for people to read and edit."""
    return json.dumps(data, indent=4, sort_keys=True, ensure_ascii=False) + "\n"


def create_file(path: str | os.PathLike[str], text: str) -> bool:
    """Create a file of mode 0600 with this text unless it exists already; True if it was created.

    It appears with all its content or not at all, and of several processes exactly one creates it. Missing
    folders are made with mode 0700. Raises OSError if the file system refuses.
    """
    return _write(Path(path), text, overwrite=False)


def replace_file(path: str | os.PathLike[str], text: str) -> None:
    """Write a file of mode 0600 in one step: a reader finds the old content or the new. Raises OSError."""
    _write(Path(path), text, overwrite=True)


def _write(path: Path, text: str, *, overwrite: bool) -> bool:
    _make_folder(path.parent)
    if not overwrite and os.path.lexists(path):
        return False
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # always of mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            # Unlike a rename, a link never takes the place of what another process just created.
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return True


def _make_folder(folder: Path) -> None:
    # mkdir(parents=True) would give the parents the default mode.
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
