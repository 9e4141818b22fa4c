"""The plugins that watch and change the traffic: found, and called without harm to any client."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from juham_core.errors import JuhamError, PayloadError
from juham_core.message import MqttMsg, encode_payload
from juham_core.options import Options

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    from pluggy import HookImpl

    from juham_core.hookplugins import HookPlugins

__all__ = [
    "BLOCK_VARIABLE",
    "DROP",
    "GROUP",
    "PREFIX",
    "Drop",
    "HookError",
    "HookProblem",
    "Hooks",
    "hooks",
    "register",
    "unregister",
]

GROUP: Final = "juham_core.hooks"
"""The entry-point group of hook plugins."""
BLOCK_VARIABLE: Final = "JUHAM_HOOKS_BLOCK"
"""The environment variable with the names, separated by commas, of plugins not to be loaded."""
PREFIX: Final = "jmqtt_"
"""How the name of each hook begins."""

_log = logging.getLogger("juham.hooks")
T = TypeVar("T")


class Drop(Enum):
    """The type of :data:`DROP`, which is its only value."""

    DROP = "drop"


DROP: Final = Drop.DROP
"""What ``jmqtt_publishing`` and ``jmqtt_received`` return to make a message disappear."""


class HookError(JuhamError, ValueError):
    """A hook plugin that cannot be registered, or none of this name or identity is."""


class HookProblem(NamedTuple):
    """Something that is wrong with a plugin: its name, its distribution ("" if it has none), and what."""

    name: str
    distribution: str
    text: str


class Hooks:
    """The registered hook plugins.

    ``created``, ``connecting``, ... hold the implementations of each hook in the order in which they are
    called, the one registered last first, unless ``tryfirst`` or ``trylast`` say otherwise. Without any it
    is the empty tuple, so that asking costs next to nothing. Every method may be called from any thread.
    """

    DROP = DROP

    def __init__(self) -> None:
        self.created: tuple[HookImpl, ...] = ()
        self.connecting: tuple[HookImpl, ...] = ()
        self.connected: tuple[HookImpl, ...] = ()
        self.disconnected: tuple[HookImpl, ...] = ()
        self.publishing: tuple[HookImpl, ...] = ()
        self.published: tuple[HookImpl, ...] = ()
        self.received: tuple[HookImpl, ...] = ()
        self.handled: tuple[HookImpl, ...] = ()
        self.closed: tuple[HookImpl, ...] = ()
        self.problems: list[HookProblem] = []
        """What is wrong with the plugins that were loaded or registered, for ``juham doctor``."""
        self._lock = threading.RLock()
        # A lock of its own: loading imports, and a module being imported by another thread may register.
        self._loading = threading.RLock()
        self._loaded = False

    @cached_property
    def _plugins(self) -> HookPlugins:
        """With the lock held: made when a plugin is first asked for or registered."""
        from juham_core.hookplugins import HookPlugins  # noqa: PLC0415  # it needs pluggy, and most need none

        return HookPlugins()

    # --- calling ------------------------------------------------------------------------------------------

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call every implementation of a hook, named without its prefix, with those arguments it takes."""
        for impl in getattr(self, hook):
            _call(impl, hook, arguments)

    def replace(self, hook: str, client: object, message: MqttMsg) -> MqttMsg | None:
        """What the plugins make of a message, each of what its predecessor made; None if one drops it.

        A payload that they make may be whatever ``publish`` takes, and is bytes in what is returned.
        """
        for impl in getattr(self, hook):
            payload = message.payload
            result = _call(impl, hook, {"client": client, "message": message})
            if result is DROP:
                return None
            changed = _accept(impl, hook, result, MqttMsg, message)
            if type(changed.payload) is not bytes:
                try:
                    changed.payload = encode_payload(changed.payload)
                except PayloadError as exc:
                    text = "hook plugin %r: %s%s made a payload that is none, which is ignored: %s"
                    _log.error(text, impl.plugin_name, PREFIX, hook, exc)
                    message.payload = payload  # it may have changed this one instead of making another
                    continue
            message = changed
        return message

    def change_options(self, client: object, options: Options) -> Options:
        """What the plugins make of the options for one attempt to connect."""
        for impl in self.connecting:
            result = _call(impl, "connecting", {"client": client, "options": options})
            options = _accept(impl, "connecting", result, Options, options)
        return options

    # --- registering --------------------------------------------------------------------------------------

    def register(self, plugin: object, name: str | None = None) -> str:
        """Add a plugin and return its name, which is made from the plugin's own if none is given.

        Raises HookError, and registers nothing, if the plugin or the name is taken already, if a marked
        function is no hook or cannot be called as one.
        """
        return self._register(plugin, name, "")

    def unregister(self, plugin: object) -> None:
        """Remove a plugin, given itself or its name. Raises HookError if it is not registered."""
        with self._lock:
            name = self._plugins.remove(plugin)
            self.problems[:] = [problem for problem in self.problems if problem.name != name]
            self._refresh()

    def plugins(self) -> dict[str, object]:
        """The registered plugins by name."""
        with self._lock:
            return self._plugins.by_name()

    def _register(self, plugin: object, name: str | None, distribution: str) -> str:
        with self._lock:
            name = self._plugins.add(plugin, name)
            self._refresh()
            for text in self._plugins.overlooked(plugin):
                self._report(name, distribution, text)
            return name

    def _refresh(self) -> None:
        for name, implementations in self._plugins.implementations():
            setattr(self, name, implementations)

    def _report(self, name: str, distribution: str, text: str, *, exc_info: bool = False) -> None:
        self.problems.append(HookProblem(name, distribution, text))
        origin = f" of {distribution}" if distribution else ""
        _log.warning("hook plugin %r%s: %s", name, origin, text, exc_info=exc_info)

    # --- loading ------------------------------------------------------------------------------------------

    def load(self, installed: Iterable[Distribution] | None = None) -> None:
        """Register every installed plugin, once; later calls return as soon as that has been done.

        ``installed``: what :func:`juham_core.discovery.distributions_for_us` has just found, for whoever has
        asked it. A plugin that cannot be loaded is logged, entered in ``problems`` and skipped. Those whose
        ``name`` or ``distribution:name`` stands in ``JUHAM_HOOKS_BLOCK`` are not even imported.
        """
        with self._loading:
            if self._loaded:
                return
            self._loaded = True  # first, for a plugin whose import makes a client comes back here
            if installed is None:
                from juham_core import discovery  # noqa: PLC0415  # whoever makes clients by name gives it

                installed = discovery.distributions_for_us()
            blocked = {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")} - {""}
            found: dict[str, list[EntryPoint]] = {}
            for distribution in installed:
                entries = self._entries(distribution)
                if entries:
                    # The same distribution further down the path is hidden by this one, for imports too.
                    found.setdefault(_name(distribution), entries)
            known = set()
            for name, entry in [(name, entry) for name, entries in found.items() for entry in entries]:
                names = {entry.name, f"{name}:{entry.name}"}
                known |= names
                if blocked.isdisjoint(names):
                    self._load_one(entry, name)
            for name in sorted(blocked - known):
                self._report(name, "", f"{BLOCK_VARIABLE} names it, but no installed distribution has it")

    def _load_one(self, entry: EntryPoint, distribution: str) -> None:
        try:
            plugin = entry.load()
            taken = self.plugins()
            if any(plugin is other for other in taken.values()):
                return  # the application was faster, or two entry points name one plugin
            # Hooks add up, so two plugins of one name are no conflict: the second gets a longer one.
            name = f"{distribution}:{entry.name}" if entry.name in taken else entry.name
            self._register(plugin, name, distribution)
        except KeyboardInterrupt:
            raise
        except HookError as exc:
            self._report(entry.name, distribution, str(exc))
        except BaseException as exc:  # SystemExit and the like: a plugin may do anything on import
            from juham_core.signals import from_signal  # noqa: PLC0415  # for errors alone

            if from_signal(exc):  # the program is to end
                raise
            text = f"importing {entry.value!r} failed: {type(exc).__name__}: {exc}"
            self._report(entry.name, distribution, text, exc_info=True)

    def _entries(self, distribution: Distribution) -> list[EntryPoint]:
        try:
            return list(distribution.entry_points.select(group=GROUP))
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with one must not hide the others
            text = f"its entry points cannot be read: {type(exc).__name__}: {exc}"
            self._report("?", _name(distribution), text)
            return []


def _name(distribution: Distribution | None) -> str:
    try:
        return (distribution and distribution.name) or "?"
    except Exception:  # noqa: BLE001 - without metadata it has no name: None so far, an error in later Pythons
        return "?"


def _call(impl: HookImpl, hook: str, arguments: dict[str, Any]) -> Any:
    try:
        return impl.function(*[arguments[name] for name in impl.argnames])
    except BaseException as exc:
        # On the main thread these two may come from a signal handler, and are then not the plugin's.
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and isinstance(exc, KeyboardInterrupt | SystemExit):
            raise
        _log.exception("hook plugin %r: %s%s raised", impl.plugin_name, PREFIX, hook)
        return None


def _accept(impl: HookImpl, hook: str, result: object, expected: type[T], present: T) -> T:
    """What a plugin returned if it is of the expected type, else what there was before."""
    if isinstance(result, expected):
        return result
    if result is not None:  # its type only is told: it may hold a password
        text = "hook plugin %r: %s%s returned a %s, which is ignored: it returns a %s or None"
        _log.error(text, impl.plugin_name, PREFIX, hook, type(result).__name__, expected.__name__)
    return present


hooks: Final = Hooks()
"""The hooks of this process: every client calls these."""

register = hooks.register
unregister = hooks.unregister
