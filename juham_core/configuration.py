"""Configured: class attributes as configuration, from a JSON file per class and from the command line."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from juham_core import jsonfiles
from juham_core.logged import Logged

_initializing: Final = threading.RLock()


class Configured(Logged):
    """A mixin whose public class attributes of a JSON-able type are the configuration of the class.

    It is kept in ``~/.<app_name>/<config_folder>/<ClassName>.json``. Attributes that state facts rather
    than preferences are named in ``_constants`` by the class that introduces them. Secrets (told by their
    names) are read from a configuration file, and never written to one.
    """

    app_name = "juham"
    config_folder = "config"

    # Say where the file is: inside it they would come too late.
    _constants: ClassVar[frozenset[str]] = frozenset({"app_name", "config_folder"})
    # The values a class was defined with: they tell the types its configuration must have.
    _declared: ClassVar[Mapping[str, Any]] = {}
    _initialized: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declared = {
            name: value
            for name, value in vars(cls).items()
            if not name.startswith("_") and jsonfiles.is_jsonable(value)
        }

    @classmethod
    def get_class_id(cls) -> str:
        """Return the class id, which is the name of the class."""
        return cls.__name__

    @classmethod
    def get_json_file(cls) -> str:
        """Return the path of the configuration file, in what is the user's home now."""
        return str(Path.home() / f".{cls.app_name}" / cls.config_folder / f"{cls.get_class_id()}.json")

    @classmethod
    def _configurable(cls) -> dict[str, Any]:
        """Return the configuration as it is, secrets included, in the order of definition."""
        classes = [base for base in reversed(cls.__mro__) if issubclass(base, Configured)]
        constants = frozenset[str]().union(*(base._constants for base in classes))
        # A name may be hidden by a sibling base, as paho's properties hide class attributes: ask the class.
        names = {name: getattr(cls, name) for base in classes for name in vars(base)}
        return {
            name: value
            for name, value in names.items()
            if not name.startswith("_") and name not in constants and jsonfiles.is_jsonable(value)
        }

    @classmethod
    def classattrs_to_dict(cls) -> dict[str, Any]:
        """Return the configuration: public JSON-able class attributes, own and inherited, but no secrets."""
        attributes: dict[str, Any] = jsonfiles.without_secrets(cls._configurable())
        return attributes

    @classmethod
    def classattrs_from_dict(cls, attributes: Mapping[str, Any]) -> None:
        """Set class attributes, all or none; unknown names are logged as warnings and otherwise ignored.

        Raises :class:`~juham_core.errors.ConfigError` for a value of another type than the attribute's.
        """
        cls._configure_class(attributes, f"the configuration of {cls.get_class_id()}")

    @classmethod
    def _configure_class(cls, attributes: Mapping[str, Any], source: str) -> None:
        known = cls._configurable()
        declared = {name: value for base in reversed(cls.__mro__) for name, value in _declared(base).items()}
        accepted: dict[str, Any] = {}
        for name, value in attributes.items():
            if name in known:
                default = declared.get(name, known[name])
                accepted[name] = jsonfiles.convert(value, default, f'{source}: "{name}"')
            else:
                import difflib  # noqa: PLC0415  # for errors alone

                close = difflib.get_close_matches(name, known)
                hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(sorted(known))}"
                cls._logger_of_class().warning('%s: unknown "%s" is ignored; %s', source, name, hint)
        for name, value in accepted.items():
            setattr(cls, name, copy.deepcopy(value))

    @classmethod
    def load_from_json(cls) -> bool:
        """Set the class attributes the configuration file gives; False if there is no such file.

        Raises :class:`~juham_core.errors.ConfigError` naming the file, and the line or the key, if it is
        broken.
        """
        path = cls.get_json_file()
        try:
            attributes = jsonfiles.read_json(path)
        except FileNotFoundError:
            return False
        cls._configure_class(attributes, path)
        return True

    @classmethod
    def save_to_json(cls) -> bool:
        """Write the configuration file unless it exists; True if this call created it.

        The file has mode 0600 and holds no secrets; any number of processes may try at once. Raises
        OSError if it cannot be written.
        """
        return jsonfiles.create_file(cls.get_json_file(), jsonfiles.to_json(cls.classattrs_to_dict()))

    @classmethod
    def initialize_class(cls) -> bool:
        """Load the configuration files of the class and, before it, of its bases, each once in a process.

        Returns True the first time, False when the class has been initialized already. Raises
        :class:`~juham_core.errors.ConfigError` for a broken file; the class then counts as not initialized.
        Nothing is written. May be called from any thread.
        """
        with _initializing:
            if "_initialized" in vars(cls):
                return False
            for base in cls.__bases__:
                if issubclass(base, Configured) and base is not Configured:
                    base.initialize_class()
            cls.load_from_json()
            cls._initialized = True
            return True

    @classmethod
    def parse_args(cls) -> None:
        """Set class attributes from the options in ``sys.argv``, and leave alone what it does not know.

        ``client_id`` is ``--client-id``, a flag ``tls`` is ``--tls`` or ``--no-tls``. Secrets have no option:
        every user of the machine may read the arguments of a process. A value of the wrong type ends the
        program as argparse does, with a message and status 2.
        """
        import argparse  # noqa: PLC0415  # most programs never ask for their arguments

        parser = argparse.ArgumentParser(
            add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )
        for name, value in cls.classattrs_to_dict().items():
            names = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
            if isinstance(value, bool):
                parser.add_argument(*names, dest=name, action=argparse.BooleanOptionalAction)
            elif value is None or isinstance(value, (int, float, str)):
                parser.add_argument(*names, dest=name, type=str if value is None else type(value))
        for name, value in vars(parser.parse_known_args(sys.argv[1:])[0]).items():
            setattr(cls, name, value)


def _declared(base: type) -> Mapping[str, Any]:
    declared: Mapping[str, Any] = vars(base).get("_declared", {})
    return declared
