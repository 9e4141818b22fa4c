"""Object: what all of Juham's classes share: found by class id, configured, logged, their state as JSON."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Final, TextIO, TypeVar

from juham_core import jsonfiles
from juham_core.configuration import Configured
from juham_core.errors import ClassNotFoundError, ConfigError, InvalidArgumentError

STATE_VERSION: Final = 1
"""The layout of :meth:`Object.to_dict`; another is refused by :meth:`Object.from_dict`."""

_Self = TypeVar("_Self", bound="Object")

_constructors: Final[dict[str, Callable[..., Any]]] = {}


class Object(Configured):
    """The root of Juham's classes; a mixin that needs no ``__init__`` and may stand beside any other base.

    A class is registered when it is defined, under its name, which is its class id. The state of an object
    is its public instance attributes of a JSON-able type.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.register()

    # --- the registry ---------------------------------------------------------------------------------

    @classmethod
    def register(cls) -> None:
        """Register the class under its class id.

        Called when a subclass has been defined; one that overrides it calls ``super().register()``.
        """
        cls.register_class(cls.get_class_id(), cls)

    @classmethod
    def register_class(cls, class_id: str, ctor: Callable[..., Any]) -> None:
        """Let ``ctor``, a class or any callable, make the objects of this class id; the last one counts."""
        _constructors[class_id] = ctor

    @classmethod
    def find_class(cls, class_id: str) -> Any:
        """Return what is registered under the class id, or None.

        The class of an installed backend that has not been imported yet is imported now; if that fails, a
        :class:`~juham_core.errors.BackendError` says why.
        """
        found = _constructors.get(class_id)
        if found is None:
            from juham_core import factory  # noqa: PLC0415  # factory imports this module

            found = factory.find_by_class_id(class_id)
        return found

    @classmethod
    def instantiate(cls, class_id: str) -> Any:
        """Return a new object of the class with this id, made without arguments.

        Raises :class:`~juham_core.errors.ClassNotFoundError`, and what ``find_class`` and the class raise.
        """
        return cls._constructor(class_id)()

    @classmethod
    def instantiate_with_param(cls, class_id: str, param: Any) -> Any:
        """Return a new object of the class with this id, made with one positional argument.

        Raises :class:`~juham_core.errors.ClassNotFoundError`, and what ``find_class`` and the class raise.
        """
        return cls._constructor(class_id)(param)

    @classmethod
    def _constructor(cls, class_id: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = cls.find_class(class_id)
        if found is not None:
            return found
        from juham_core import factory  # noqa: PLC0415  # factory imports this module

        known = sorted({*_constructors, *(info.class_id for info in factory.backends())})
        import difflib  # noqa: PLC0415  # for errors alone

        close = difflib.get_close_matches(str(class_id), known)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known) or 'none'}"
        raise ClassNotFoundError(
            f"no class is registered, and no installed backend provides one, under the class id "
            f"{class_id!r}: {hint}"
        )

    @classmethod
    def is_abstract(cls) -> bool:
        """Tell whether the class has abstract methods left and hence cannot be instantiated."""
        return bool(getattr(cls, "__abstractmethods__", ()))

    # --- the state of an instance ---------------------------------------------------------------------

    def _public_state(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and jsonfiles.is_jsonable(value)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return class id, version and the public JSON-able instance attributes, without secrets."""
        return {
            "_class": self.get_class_id(),
            "_version": STATE_VERSION,
            "_object": jsonfiles.without_secrets(self._public_state()),
        }

    def from_dict(self, data: Mapping[str, Any]) -> None:
        """Set the instance attributes that ``to_dict`` of an object of the same class returned, all or none.

        Raises :class:`~juham_core.errors.InvalidArgumentError` for the state of another class or layout, and
        for a name that is private or a method or property of the class.
        """
        mine = self.get_class_id()
        if data.get("_class") != mine:
            raise InvalidArgumentError(f"this is the state of class {data.get('_class')!r}, not of {mine!r}")
        if data.get("_version") != STATE_VERSION:
            raise InvalidArgumentError(
                f"this state of {mine} has version {data.get('_version')!r}; known is {STATE_VERSION}"
            )
        attributes = data.get("_object")
        if not isinstance(attributes, Mapping):
            raise InvalidArgumentError(f'this state of {mine} lacks the "_object" that holds its attributes')
        for name in attributes:
            held = next((vars(cls)[name] for cls in type(self).__mro__ if name in vars(cls)), None)
            if not name.isidentifier() or name.startswith("_") or hasattr(held, "__get__"):
                raise InvalidArgumentError(f'"{name}" is no attribute that the state of {mine} may set')
        for name, value in attributes.items():
            setattr(self, name, copy.deepcopy(value))

    def copy(self: _Self) -> _Self:  # noqa: PYI019  # typing.Self came with Python 3.11
        """Return a new object of the same class id with the same public state, secrets included.

        It is made without arguments, or, where the class asks for exactly one, with this object's attribute
        of that name.
        """
        class_id = self.get_class_id()
        required = _required_parameters(self._constructor(class_id))
        if len(required) == 1 and hasattr(self, required[0]):
            clone: _Self = self.instantiate_with_param(class_id, getattr(self, required[0]))
        else:
            clone = self.instantiate(class_id)
        state = self.to_dict()
        clone.from_dict(state)
        for name, value in self._public_state().items():
            if jsonfiles.without_secrets({name: value}) != {name: value}:
                setattr(clone, name, copy.deepcopy(value))
        return clone

    def serialize_to_json(self, f: str | PathLike[str] | TextIO) -> None:
        """Write ``to_dict`` as JSON to an open text file, or to a path: at once, with mode 0600.

        Raises OSError if it cannot be written.
        """
        text = jsonfiles.to_json(self.to_dict())
        if isinstance(f, (str, PathLike)):
            jsonfiles.replace_file(f, text)
        else:
            f.write(text)

    def deserialize_from_json(self, f: str | PathLike[str] | TextIO) -> None:
        """Set the attributes that ``serialize_to_json`` wrote to a path or an open text file.

        Raises FileNotFoundError, and :class:`~juham_core.errors.ConfigError` naming file and line for what
        is not the JSON state of this class.
        """
        if isinstance(f, (str, PathLike)):
            source = str(f)
            data = jsonfiles.read_json(f)
        else:
            source = str(getattr(f, "name", "the JSON text"))
            data = jsonfiles.parse_json(f.read(), source)
        try:
            self.from_dict(data)
        except InvalidArgumentError as exc:
            raise ConfigError(f"{source}: {exc}") from exc


def _required_parameters(ctor: Callable[..., Any]) -> list[str]:
    import inspect  # noqa: PLC0415  # making a client does without

    return [
        parameter.name
        for parameter in inspect.signature(ctor).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
