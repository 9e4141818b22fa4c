"""Classes of plain values, as :mod:`dataclasses` makes them, but without compiling methods for each.

Whoever makes a client waits for the modules that it needs: of a class with many fields, compiling its methods
takes longer than importing anything else. The methods here serve every such class, and look up its fields.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, FrozenInstanceError, fields
from dataclasses import dataclass as plain_dataclass
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def dataclass(cls: type[T] | None = None, /, *, frozen: bool = False, slots: bool = False) -> Any:
    """Stands in for :func:`dataclasses.dataclass`, which type checkers are shown.

    ``fields``, ``replace`` and ``asdict`` know the class.
    """
    if cls is None:
        return lambda cls: dataclass(cls, frozen=frozen, slots=slots)
    methods: dict[str, Any] = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": None}
    if frozen:
        methods.update(__hash__=_hash, __setattr__=_refuse, __delattr__=_refuse)
    for name, method in methods.items():
        setattr(cls, name, method)
    cls.__signature__ = _Signature()  # type: ignore[attr-defined]  # what inspect asks for
    return plain_dataclass(init=False, repr=False, eq=False, slots=slots)(cls)


def _init(self: Any, *args: Any, **named: Any) -> None:
    known = type(self).__dataclass_fields__
    given = {**dict(zip(known, args, strict=False)), **named}
    if len(given) < len(args) + len(named) or not given.keys() <= known.keys():
        _complain(self, args, named)
    for name, item in known.items():
        if name in given:
            value = given[name]
        elif item.default_factory is not MISSING:
            value = item.default_factory()
        elif item.default is not MISSING:
            value = item.default
        else:
            _complain(self, args, named)
        object.__setattr__(self, name, value)
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _complain(self: Any, args: tuple[Any, ...], named: dict[str, Any]) -> NoReturn:
    """Raise what the call of any function would whose arguments are wrong."""
    inspect.signature(type(self)).bind(*args, **named)
    raise AssertionError


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
    return f"{type(self).__qualname__}({shown})"


def _values(record: Any) -> tuple[Any, ...]:
    return tuple([getattr(record, item.name) for item in fields(record) if item.compare])


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, _value: object = None) -> None:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


class _Signature:
    """The signature of a record's class, made when somebody asks, such as help()."""

    def __get__(self, record: object, cls: type) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [
            inspect.Parameter(item.name, kind, default=_default(item), annotation=item.type)
            for item in fields(cls)
        ]
        return inspect.Signature(parameters, return_annotation=None)


def _default(item: Any) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return inspect.Parameter.empty if item.default is MISSING else item.default
