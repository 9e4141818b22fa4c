"""From a backend's name to its class: the one that was asked for is imported, and no other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint
from typing import Any, Final

from juham_core import discovery
from juham_core.discovery import BackendInfo, backends
from juham_core.errors import (
    BackendAmbiguousError,
    BackendImportError,
    BackendInvalidError,
    BackendNotFoundError,
    BackendVersionError,
    ConfigError,
)
from juham_core.hooks import hooks
from juham_core.jmqtt import JMqtt

__all__ = [
    "DEFAULT_BACKENDS",
    "BackendInfo",
    "backends",
    "choose",
    "connect",
    "create",
    "find_by_class_id",
    "load",
]

DEFAULT_BACKENDS: Final = ("native", "paho2")
"""What is used when nobody chose: the first that is installed, in the order of docs/performance.md."""

IN_PROCESS: Final = frozenset({"memory"})
"""Backends that reach no broker: never the default just because nothing else is installed."""

SUPPORTED_CONTRACTS: Final = frozenset({1})
"""The values of ``contract_version`` on a backend class that this juham-core speaks."""

_ENTRY_POINT: Final = r"[\w.]+(:[\w.]+)?\s*(\[.*\])?"


def load(name: str) -> type[JMqtt]:
    """Import and return the backend class of this ``name``, or ``distribution:name``; nothing else.

    Raises a :class:`~juham_core.errors.BackendError`: BackendNotFoundError, BackendBlockedError or
    BackendAmbiguousError before anything is imported, then BackendImportError, BackendInvalidError or
    BackendVersionError. May be called from any thread; blocks for as long as the import takes.
    """
    return _load(discovery.find(name))


def find_by_class_id(class_id: str) -> type[JMqtt] | None:
    """Import and return the installed backend whose class has this name, or None if there is none.

    Raises a :class:`~juham_core.errors.BackendError` if there is one and it cannot be used.
    """
    # One class may go by several names.
    found = {
        (info.distribution, info.module): info for info in backends() if info.class_id == class_id
    }.values()
    return _load(discovery.only(found, class_id)) if found else None


def choose(
    backend: str | None = None,
    url_backend: str | None = None,
    installed: Iterable[Distribution] | None = None,
) -> str:
    """Return the name of the backend to use; whether it can be loaded is for :func:`load` to find out.

    It is the argument, else the one of the URL, else that of the environment variable ``JUHAM_BACKEND``,
    else ``"backend"`` in the configuration file of JMqtt, else ``native`` if that is installed, else
    ``paho2``, else the only one installed that reaches a broker. Empty strings count as nothing said.
    ``installed`` as for :func:`juham_core.discovery.backends`.

    Raises :class:`~juham_core.errors.BackendNotFoundError` or BackendAmbiguousError if that leaves none or
    several, and ConfigError for a broken configuration file.
    """
    return backend or url_backend or os.environ.get("JUHAM_BACKEND") or _configured() or _default(installed)


def create(backend: str | None = None, name: str | None = None, **options: Any) -> JMqtt:
    """Return a new client of the chosen backend, configured and not connected.

    Raises what :func:`choose` and :func:`load` raise, ConfigError for a broken configuration file, and
    what ``configure`` raises for the options.
    """
    installed = discovery.distributions_for_us()  # looked for once, for it takes most of the time
    cls = _load(discovery.find(choose(backend, None, installed), installed))
    hooks.load(installed)
    cls.initialize_class()
    client = cls() if name is None else cls(name)
    if options:
        client.configure(**options)
    return client


def create_for(
    url: str | None = None, *, backend: str | None = None, name: str | None = None, **options: Any
) -> JMqtt:
    """Return the client that :func:`connect` would connect; the arguments and most errors are the same."""
    from juham_core.credentials import of_environment  # noqa: PLC0415  # listing backends does without
    from juham_core.url import parse_url  # noqa: PLC0415  # as above

    url_backend, from_url = parse_url(url or os.environ.get("JUHAM_URL") or "mqtt://localhost")
    if url_backend is None and from_url["transport"] == "memory":
        url_backend = next(iter(IN_PROCESS))  # the scheme says it
    if options.get("servers"):
        from_url = {key: value for key, value in from_url.items() if key not in ("host", "port")}
    elif "host" in options:
        from_url.pop("servers", None)
    options = {**from_url, **options}
    return create(backend or url_backend, name, **{**of_environment(options), **options})


def connect(
    url: str | None = None,
    *,
    backend: str | None = None,
    name: str | None = None,
    timeout: float | None = None,
    **options: Any,
) -> JMqtt:
    """Return a client that the broker has accepted, its handlers running in a thread; close it when done.

    ``url`` is ``scheme[+backend]://[user[:password]@]host[:port][?options]``, by default that of the
    environment variable ``JUHAM_URL``, else ``mqtt://localhost``; ``host1:port1,host2`` are tried in turn.
    ``timeout`` in seconds, for the broker to answer, is by default the option ``connect_timeout`` for each
    server. ``options`` go before those of the URL. Where neither names a user or a password, those of the
    environment variables ``JUHAM_USERNAME`` and ``JUHAM_PASSWORD`` are used.

    Raises OptionError for the URL or an option, BackendError for the backend, NotSupportedError for what the
    backend lacks, AuthError if the broker refuses the credentials, ConnectTimeoutError if it does not
    answer, and ConnectError for everything else that keeps the connection from being made.
    """
    client = create_for(url, backend=backend, name=name, **options)
    try:
        client.connect_to_server()
        client.wait_until_connected(timeout)
    except BaseException:
        client.disconnect_from_server()
        raise
    client.loop_start()
    return client


def _configured() -> str | None:
    JMqtt.initialize_class()
    backend = JMqtt.backend
    if backend is not None and not isinstance(backend, str):
        raise ConfigError(f'{JMqtt.get_json_file()}: "backend" must be the name of a backend, in quotes')
    return backend


def _default(installed: Iterable[Distribution] | None) -> str:
    infos = backends(installed)
    names = {info.name for info in infos if not info.blocked}
    for name in DEFAULT_BACKENDS:
        if name in names:
            return name
    candidates = sorted(names - IN_PROCESS)
    if not candidates:
        raise BackendNotFoundError(
            "no backend that reaches a broker is installed: "
            f"pip install {discovery.PLUGINS[DEFAULT_BACKENDS[0]]} {discovery.installed_names(infos)}"
        )
    if len(candidates) > 1:
        raise BackendAmbiguousError(
            f"no backend was chosen, and there are {', '.join(candidates)}: name one in the call or the URL, "
            f'set JUHAM_BACKEND, or write {{"backend": "{candidates[0]}"}} to {JMqtt.get_json_file()}'
        )
    return candidates[0]


def _load(info: BackendInfo) -> type[JMqtt]:
    if not re.fullmatch(_ENTRY_POINT, info.module):
        raise _invalid(info, f"its entry point reads {info.module!r}, not 'module:class'")
    try:
        loaded = _import(info.entry_point)
    except AttributeError as exc:
        if info.entry_point.module not in sys.modules:  # raised by the module itself, which is gone again
            raise _import_failed(info, exc) from exc
        raise _invalid(info, f"{info.entry_point.module} has no {info.entry_point.attr!r}") from exc
    except (Exception, SystemExit) as exc:
        from juham_core.signals import from_signal  # noqa: PLC0415  # for errors alone

        if from_signal(exc):  # the program is to end, and this import was only in the way
            raise
        raise _import_failed(info, exc) from exc
    return _check(info, loaded)


def _import(entry_point: EntryPoint) -> object:
    from stevedore.driver import DriverManager  # noqa: PLC0415  # listing and choosing do without it

    class OneDriver(DriverManager):  # type: ignore[type-arg, misc, unused-ignore]  # generic and annotated in newer releases only
        """Sees the entry point that was chosen: neither stevedore's cached ones nor its duplicates."""

        def list_entry_points(self) -> list[EntryPoint]:
            return [entry_point]

    found: object = OneDriver(discovery.GROUP, entry_point.name).driver
    return found


def _check(info: BackendInfo, loaded: object) -> type[JMqtt]:
    if not isinstance(loaded, type):
        raise _invalid(info, f"{info.module} is no class but {type(loaded).__name__}")
    if not issubclass(loaded, JMqtt):
        raise _invalid(info, f"{info.module} does not derive from juham_core's JMqtt")
    version: object = loaded.contract_version
    if version not in SUPPORTED_CONTRACTS:
        newer = isinstance(version, int) and version > max(SUPPORTED_CONTRACTS)
        raise BackendVersionError(
            f'backend "{info.name}" of {info.provider} speaks version {version!r} of the contract, this '
            f"juham-core speaks {', '.join(map(str, sorted(SUPPORTED_CONTRACTS)))}: "
            f"pip install --upgrade {'juham-core' if newer else info.distribution}",
            name=info.name,
            distribution=info.distribution,
        )
    if loaded.__abstractmethods__:
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise _invalid(info, f"{info.module} does not implement {missing}")
    return loaded


def _import_failed(info: BackendInfo, exc: BaseException) -> BackendImportError:
    return BackendImportError(
        f'backend "{info.name}" of {info.provider} cannot be imported: {type(exc).__name__}: {exc}; '
        f"pip install --force-reinstall {info.distribution}",
        name=info.name,
        distribution=info.distribution,
    )


def _invalid(info: BackendInfo, reason: str) -> BackendInvalidError:
    return BackendInvalidError(
        f'backend "{info.name}" of {info.provider} cannot be used: {reason}; tell its author, or try '
        f"pip install --upgrade {info.distribution}",
        name=info.name,
        distribution=info.distribution,
    )
