"""Which backends are installed, from package metadata alone: nothing of a backend is imported to list it.

Other modules import this one without stevedore or JMqtt. Metadata is read anew at each call, past every
cache: what pip has just installed is there, what it has removed is gone.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Final, NamedTuple

from juham_core.errors import BackendAmbiguousError, BackendBlockedError, BackendNotFoundError

OURS: Final = "juham_core."
"""How the entry-point groups of backends and of hooks begin."""
GROUP: Final = "juham_core.backends"
ALLOW: Final = "JUHAM_BACKENDS_ALLOW"
BLOCK: Final = "JUHAM_BACKENDS_BLOCK"

PLUGINS: Final[Mapping[str, str]] = {
    "paho": "juham-paho",
    "paho2": "juham-paho",
    "gmqtt": "juham-gmqtt",
    "awscrt": "juham-awscrt",
    "native": "juham-native",
}
"""Distributions known to provide a backend: what to advise when a name is not installed."""

_log: Final = logging.getLogger("juham.discovery")


class BackendInfo(NamedTuple):
    """An installed backend, as its distribution's metadata describes it."""

    name: str
    distribution: str
    version: str
    class_id: str
    """The class to be, which :meth:`Object.instantiate` accepts."""
    module: str
    """The value of the entry point: ``module:class``."""
    blocked: bool
    """True if the allow or the block list of the environment excludes it."""
    entry_point: EntryPoint

    @property
    def full_name(self) -> str:
        """``distribution:name``, which no other backend has."""
        return f"{self.distribution}:{self.name}"

    @property
    def provider(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


def distributions_for_us() -> list[Distribution]:
    """Return the installed distributions that may have entry points for us; imports none of them.

    One whose metadata cannot be read may have: whoever looks closer says so.
    """
    # pip may have changed a folder within one tick of the clock that tells the caches a folder has changed.
    importlib.invalidate_caches()
    return [distribution for distribution in distributions() if _may_be_for_us(distribution)]


def _may_be_for_us(distribution: Distribution) -> bool:
    # Parsing the metadata of every distribution would take most of the time.
    try:
        return OURS in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # noqa: BLE001  # metadata may be wrong in any way
        return True


def backends(installed: Iterable[Distribution] | None = None) -> list[BackendInfo]:
    """Return the installed backends, sorted by name; imports none of them.

    ``installed``: what :func:`distributions_for_us` has just found, for whoever needs it for more than this.
    A name occurs twice if two distributions claim it. A distribution with unreadable metadata is left out,
    with a warning in the log.
    """
    allow, block = _names(ALLOW), _names(BLOCK)
    found: dict[str, list[BackendInfo]] = {}
    for distribution in distributions_for_us() if installed is None else installed:
        try:
            infos = _read(distribution, allow, block)
        except Exception as exc:  # noqa: BLE001  # whatever is wrong with one must not hide the others
            where = getattr(distribution, "_path", distribution)
            _log.warning("%s is ignored: its metadata cannot be read: %r", where, exc)
            continue
        if infos:
            # The same distribution further down the path is hidden by this one, for imports too.
            found.setdefault(normalize(infos[0].distribution), infos)
    return sorted(info for infos in found.values() for info in infos)


def _read(distribution: Distribution, allow: set[str], block: set[str]) -> list[BackendInfo]:
    entry_points = distribution.entry_points.select(group=GROUP)
    if not entry_points:
        return []
    owner, version = _name_and_version(distribution)
    infos = []
    for entry_point in entry_points:
        name = entry_point.name
        aliases = {name, f"{normalize(owner)}:{name}"}
        infos.append(
            BackendInfo(
                name=name,
                distribution=owner,
                version=version,
                class_id=entry_point.value.partition("[")[0].strip().replace(":", ".").rpartition(".")[2],
                module=entry_point.value,
                blocked=bool(block & aliases or (allow and not allow & aliases)),
                entry_point=entry_point,
            )
        )
    return infos


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    # Parsing all of the metadata, as email, would take longer than all else that is read.
    head = (distribution.read_text("METADATA") or "").partition("\n\n")[0]
    found = dict(line.partition(": ")[::2] for line in head.splitlines())
    if "Name" in found and "Version" in found:
        return found["Name"], found["Version"]
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _names(variable: str) -> set[str]:
    """The names in a comma-separated variable, as ``name`` or ``distribution:name``; unset is like empty."""
    listed = {item.strip() for item in os.environ.get(variable, "").split(",")} - {""}
    return {_with_normalized_owner(item) for item in listed}


def _with_normalized_owner(name: str) -> str:
    owner, colon, short = name.rpartition(":")
    return f"{normalize(owner)}{colon}{short}"


def normalize(distribution: str) -> str:
    """Return a distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find(name: str, installed: Iterable[Distribution] | None = None) -> BackendInfo:
    """Return the one installed backend with this ``name`` or ``distribution:name``; imports nothing.

    ``installed`` as for :func:`backends`. Raises :class:`~juham_core.errors.BackendNotFoundError`,
    BackendBlockedError or BackendAmbiguousError.
    """
    if "://" in name or "@" in name:  # a URL, which may have a password in it
        raise BackendNotFoundError("the name of a backend is wanted, not a URL: connect() takes one", name="")
    owner, _, short = name.rpartition(":")
    infos = backends(installed)
    same_name = [info for info in infos if info.name == short]
    found = [info for info in same_name if not owner or normalize(info.distribution) == normalize(owner)]
    if not found:
        raise BackendNotFoundError(_not_found(name, same_name, infos), name=name)
    return only(found, name)


def only(found: Iterable[BackendInfo], asked: str) -> BackendInfo:
    """Return the one backend of these that may be used.

    Raises :class:`~juham_core.errors.BackendBlockedError` or BackendAmbiguousError.
    """
    found = list(found)
    usable = [info for info in found if not info.blocked]
    if not usable:
        raise BackendBlockedError(
            f'backend "{asked}" of {_joined(info.provider for info in found)} is installed, but excluded by '
            f"the environment: {_lists()}; change that, or choose another backend",
            name=asked,
            distribution=found[0].distribution,
        )
    if len(usable) > 1:
        raise BackendAmbiguousError(
            f'backend "{asked}" is claimed by {_joined(info.provider for info in usable)}: ask for '
            f"{_joined((repr(info.full_name) for info in usable), 'or')}, or "
            f"pip uninstall {usable[-1].distribution}",
            name=asked,
        )
    return usable[0]


def _not_found(name: str, same_name: list[BackendInfo], installed: list[BackendInfo]) -> str:
    short = name.rpartition(":")[2]
    if same_name:
        hint = f"did you mean {_joined((repr(info.full_name) for info in same_name), 'or')}?"
    elif short in PLUGINS:
        hint = f"pip install {PLUGINS[short]}"
    else:
        import difflib  # noqa: PLC0415  # for errors alone

        names = {info.name for info in installed}
        close = difflib.get_close_matches(short, sorted(names | set(PLUGINS)))
        hint = (
            f"did you mean {_joined((_with_command(other, names) for other in close), 'or')}?"
            if close
            else f"pip install the plugin that provides it; known are {_known()}"
        )
    return f'backend "{name}" is not installed: {hint} {installed_names(installed)}'


def _with_command(name: str, installed: set[str]) -> str:
    return f'"{name}"' if name in installed else f'"{name}" (pip install {PLUGINS[name]})'


def _known() -> str:
    return ", ".join(sorted(set(PLUGINS.values())))


def installed_names(installed: Iterable[BackendInfo]) -> str:
    """Return a remark for messages that says which backends there are."""
    names = sorted({f"{info.name} (blocked)" if info.blocked else info.name for info in installed})
    return f"(installed: {', '.join(names) or 'none'})"


def _lists() -> str:
    return " and ".join(
        f"{variable}={os.environ[variable]!r}" for variable in (ALLOW, BLOCK) if os.environ.get(variable)
    )


def _joined(items: Iterable[str], word: str = "and") -> str:
    *first, last = items
    return f"{', '.join(first)} {word} {last}" if first else last
