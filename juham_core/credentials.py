"""Where the user name and the password of an attempt come from, if not from the options themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from juham_core.errors import ConnectError, OptionError

if TYPE_CHECKING:
    from juham_core.options import Options

USERNAME: Final = "JUHAM_USERNAME"
PASSWORD: Final = "JUHAM_PASSWORD"  # noqa: S105 - the name of a variable
_SOURCES: Final = ("password", "password_file", "credentials")


def of_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What the environment says of ``username`` and ``password``, where these options do not."""
    if options.get("transport") == "memory" or any(options.get(name) is not None for name in _SOURCES):
        return {}
    found = {"username": os.environ.get(USERNAME), "password": os.environ.get(PASSWORD)}
    return {name: value for name, value in found.items() if value and options.get(name) is None}


def for_attempt(options: Options) -> Options:
    """The options with the user name and the password that are good for this attempt.

    Raises ConnectError if they cannot be had now: the next attempt asks again. Nothing of them is in it.
    """
    if options.credentials is not None:
        return options.changed(**_asked(options))
    if options.password_file is not None:
        return options.changed(password=_read(options.password_file), password_file=None)
    return options


def _asked(options: Options) -> dict[str, Any]:
    assert options.credentials is not None
    try:
        username, password = options.credentials(options)
    except Exception as exc:
        raise ConnectError(f"the option 'credentials' was asked and raised {type(exc).__name__}") from exc
    return {"username": username, "password": password, "credentials": None}


def _read(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        # Not chained: the error holds what it could not decode.
        raise ConnectError(f"the password file {path} is not UTF-8") from None
    except OSError as exc:
        raise ConnectError(f"the password file {path} cannot be read: {exc.strerror}") from exc
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise ConnectError(f"the password file {path} is empty")
    return password


def check(options: Options) -> None:
    """Raise OptionError unless there is one source of the password at most."""
    given = [name for name in _SOURCES if getattr(options, name) is not None]
    if len(given) > 1:
        raise OptionError(f"the password comes from one of {', '.join(given)}, not from all")
    if options.credentials is not None and not callable(options.credentials):
        raise OptionError("the option 'credentials' is a function of the options, not what it returns")
