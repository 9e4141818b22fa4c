"""Classes of plain values, as :mod:`dataclasses` makes them, but without that module and what it compiles.

Whoever makes a client waits for the modules that it needs: to import :mod:`dataclasses`, with :mod:`inspect`
below it, and to have methods of classes with many fields compiled, takes longer than anything of ours. The
methods here serve every such class, and look up its fields. Type checkers are shown :mod:`dataclasses`, whose
functions know the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    import inspect

T = TypeVar("T")

MISSING: Final = object()
"""The default of a field that must be given."""


class Field:
    """What a class says of one of its values: the arguments are those of :func:`dataclasses.field`."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.name = ""
        self.default = said.get("default", MISSING)
        self.default_factory: Callable[[], Any] | None = said.get("default_factory")
        self.repr: bool = said.get("repr", True)
        self.compare: bool = said.get("compare", True)
        self.metadata: Mapping[str, Any] = said.get("metadata", {})


field = Field


def dataclass(cls: type[T] | None = None, /, *, frozen: bool = False, slots: bool = False) -> Any:
    """Stands in for :func:`dataclasses.dataclass`; a class inherits no fields."""
    if cls is None:
        return lambda cls: dataclass(cls, frozen=frozen, slots=slots)
    contents = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    known = {}
    for name in cls.__annotations__:
        given = contents.pop(name, MISSING)
        known[name] = item = _field(given)
        item.name = name
        if not slots and item.default is not MISSING:
            contents[name] = item.default
    if slots:
        contents["__slots__"] = tuple(known)
    if frozen:
        contents.update(__hash__=_hash, __setattr__=_refuse, __delattr__=_refuse)
    else:
        contents["__hash__"] = None
    contents.update(__init__=_init, __repr__=_repr, __eq__=_eq, __match_args__=tuple(known), _record=known)
    contents.update(
        __signature__=_Lazy(_signature),
        __dataclass_fields__=_Lazy(lambda cls: _counterpart(cls).__dataclass_fields__),
        __dataclass_params__=_Lazy(lambda cls: _counterpart(cls).__dataclass_params__),
    )
    metaclass: Any = type(cls)
    return metaclass(cls.__name__, cls.__bases__, contents)


def _field(given: Any) -> Field:
    if isinstance(given, Field):
        return given
    return Field() if given is MISSING else Field(default=given)


def fields(record: Any) -> tuple[Field, ...]:
    """Stands in for :func:`dataclasses.fields`."""
    return tuple(record._record.values())


def replace(record: T, /, **changes: Any) -> T:
    """Stands in for :func:`dataclasses.replace`."""
    return type(record)(**{name: getattr(record, name) for name in record._record} | changes)  # type: ignore[attr-defined]  # a record has them


def _init(self: Any, *args: Any, **named: Any) -> None:
    known = self._record
    given = {**dict(zip(known, args, strict=False)), **named}
    if len(given) < len(args) + len(named) or not given.keys() <= known.keys():
        _complain(self, args, named)
    for name, item in known.items():
        if name in given:
            value = given[name]
        elif item.default_factory is not None:
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
    type(self).__signature__.bind(*args, **named)
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


def _refuse(self: Any, name: str, _value: object = None) -> NoReturn:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415  # for errors alone

    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


class _Lazy:
    """What others look for on a class, such as help() and the functions of dataclasses, made when they do."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def __get__(self, record: object, cls: type) -> Any:
        return self.make(cls)


@cache  # to make one takes a millisecond, and dataclasses.replace() asks twice
def _counterpart(cls: Any) -> Any:
    """The class as dataclasses would have made it."""
    import dataclasses  # noqa: PLC0415  # for those who use it, too

    said: list[Any] = [
        (item.name, cls.__annotations__[item.name], dataclasses.field(**item.said)) for item in fields(cls)
    ]
    return dataclasses.make_dataclass(cls.__name__, said)


def _signature(cls: Any) -> inspect.Signature:
    import inspect  # noqa: PLC0415  # as above

    return inspect.signature(_counterpart(cls))
