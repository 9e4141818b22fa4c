"""Default arguments that can be told from the same values given: what is not given comes from the options."""

from __future__ import annotations

from typing import Any, Final


class _DefaultStr(str):
    __slots__ = ()


class _DefaultInt(int):
    __slots__ = ()


HOST: Final[str] = _DefaultStr("localhost")
PORT: Final[int] = _DefaultInt(1883)
KEEPALIVE: Final[int] = _DefaultInt(60)


def given(**arguments: Any) -> dict[str, Any]:
    """Those of the arguments that the caller passed."""
    return {
        name: value for name, value in arguments.items() if not isinstance(value, _DefaultStr | _DefaultInt)
    }
