"""The plugins that watch and change the traffic: found, checked, and called without harm to any client."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pluggy import HookImpl, PluginManager, PluginValidationError

from juham_core import hookspecs
from juham_core.errors import JuhamError
from juham_core.hookspecs import DROP, PREFIX, PROJECT
from juham_core.message import MqttMsg
from juham_core.options import Options

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = [
    "BLOCK_VARIABLE",
    "DROP",
    "GROUP",
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

_log = logging.getLogger("juham.hooks")
T = TypeVar("T")


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
        self._manager = PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._names: Final = [name for name in vars(self._manager.hook) if name.startswith(PREFIX)]
        self._lock = threading.RLock()
        # A lock of its own: loading imports, and a module being imported by another thread may register.
        self._loading = threading.RLock()
        self._loaded = False

    # --- calling ------------------------------------------------------------------------------------------

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call every implementation of a hook, named without its prefix, with those arguments it takes."""
        for impl in getattr(self, hook):
            _call(impl, hook, arguments)

    def replace(self, hook: str, client: object, message: MqttMsg) -> MqttMsg | None:
        """What the plugins make of a message, each of what its predecessor made; None if one drops it."""
        for impl in getattr(self, hook):
            result = _call(impl, hook, {"client": client, "message": message})
            if result is DROP:
                return None
            message = _accept(impl, hook, result, MqttMsg, message)
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
            name = plugin if isinstance(plugin, str) else self._manager.get_name(plugin)
            if name is None or not self._manager.has_plugin(name):
                known = ", ".join(sorted(self.plugins())) or "none"
                raise HookError(f"there is no hook plugin {plugin!r} to unregister; registered: {known}")
            self._manager.unregister(name=name)
            self.problems[:] = [problem for problem in self.problems if problem.name != name]
            self._refresh()

    def plugins(self) -> dict[str, object]:
        """The registered plugins by name."""
        with self._lock:
            return dict(self._manager.list_name_plugin())

    def _register(self, plugin: object, name: str | None, distribution: str) -> str:
        with self._lock:
            taken = self.plugins()
            name = name or _make_name(plugin, taken)
            if self._manager.is_registered(plugin):
                raise _refusal(name, f"it is already, as {self._manager.get_name(plugin)!r}")
            if name in taken:
                raise _refusal(name, f"the name is taken by {taken[name]!r}; give another")
            if plugin is None:
                raise _refusal(name, "it is None")
            try:
                self._admit(plugin, name)
            except HookError as exc:
                # Some releases of pluggy keep what they have just refused.
                if self._manager.has_plugin(name):
                    self._manager.unregister(name=name)
                raise _refusal(name, " ".join(str(exc).split())) from exc
            self._refresh()
            for text in self._overlooked(plugin):
                self._report(name, distribution, text)
            return name

    def _admit(self, plugin: object, name: str) -> None:
        try:
            self._manager.register(plugin, name)
        except PluginValidationError as exc:
            raise HookError(f"{exc}; {hookspecs.__name__} has the arguments of each hook") from exc
        for caller in self._manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin:
                    self._check(impl, caller.name)

    def _check(self, impl: HookImpl, hook: str) -> None:
        if hook not in self._names:
            if impl.optionalhook:
                return
            raise HookError(f"there is no hook {hook!r}: {self._closest(hook)}")
        if impl.wrapper or impl.hookwrapper:
            raise HookError(f"its {hook} is a wrapper, which no hook here may be; use plain def")
        function = impl.function
        if any(kind(function) for kind in _UNCALLED):
            raise HookError(f"its {hook} is async or a generator, which nobody would run; use plain def")
        try:
            inspect.signature(function).bind(*impl.argnames)
        except TypeError as exc:
            hint = "; register an instance of the class" if inspect.isclass(impl.plugin) else ""
            given = ", ".join(impl.argnames)
            raise HookError(f"its {hook} cannot be called with {given}: {exc}{hint}") from exc
        spec = getattr(self._manager.hook, hook).spec
        never = [name for name in impl.kwargnames if name in spec.argnames]
        if never:
            text = f"its {hook} has defaults for {', '.join(never)} and would never get more than those"
            raise HookError(f"{text}; leave the defaults out")

    def _overlooked(self, plugin: object) -> Iterable[str]:
        """What pluggy passes over in silence."""
        if not self._manager.get_hookcallers(plugin):
            yield "it implements no hook"
        for name in dir(plugin):
            if not name.startswith(PREFIX) or self._manager.parse_hookimpl_opts(plugin, name) is not None:
                continue
            if callable(inspect.getattr_static(plugin, name, None)):
                hint = "" if name in self._names else f", and is no hook: {self._closest(name)}"
                yield f"{name} is never called: it lacks the marker @hookimpl{hint}"

    def _closest(self, name: str) -> str:
        import difflib  # noqa: PLC0415  # for errors alone

        close = difflib.get_close_matches(name, self._names, n=1)
        return f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(self._names)}"

    def _refresh(self) -> None:
        for name in self._names:
            impls = getattr(self._manager.hook, name).get_hookimpls()
            # pluggy, too, calls them from last to first.
            setattr(self, name.removeprefix(PREFIX), tuple(reversed(impls)))

    def _report(self, name: str, distribution: str, text: str, *, exc_info: bool = False) -> None:
        self.problems.append(HookProblem(name, distribution, text))
        origin = f" of {distribution}" if distribution else ""
        _log.warning("hook plugin %r%s: %s", name, origin, text, exc_info=exc_info)

    # --- loading ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Register every installed plugin, once; later calls return as soon as that has been done.

        A plugin that cannot be loaded is logged, entered in ``problems`` and skipped. Those whose ``name``
        or ``distribution:name`` stands in ``JUHAM_HOOKS_BLOCK`` are not even imported.
        """
        with self._loading:
            if self._loaded:
                return
            self._loaded = True  # first, for a plugin whose import makes a client comes back here
            blocked = {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")} - {""}
            known = set()
            for entry in self._find():
                distribution = _name(entry.dist)
                names = {entry.name, f"{distribution}:{entry.name}"}
                known |= names
                if blocked.isdisjoint(names):
                    self._load_one(entry, distribution)
            for name in sorted(blocked - known):
                self._report(name, "", f"{BLOCK_VARIABLE} names it, but no installed distribution has it")

    def _load_one(self, entry: EntryPoint, distribution: str) -> None:
        try:
            plugin = entry.load()
            if self._manager.is_registered(plugin):
                return  # the application was faster, or two entry points name one plugin
            # Hooks add up, so two plugins of one name are no conflict: the second gets a longer one.
            name = f"{distribution}:{entry.name}" if entry.name in self.plugins() else entry.name
            self._register(plugin, name, distribution)
        except KeyboardInterrupt:
            raise
        except HookError as exc:
            self._report(entry.name, distribution, str(exc))
        except BaseException as exc:  # noqa: BLE001 - SystemExit and the like: a plugin may do anything on import
            text = f"importing {entry.value!r} failed: {type(exc).__name__}: {exc}"
            self._report(entry.name, distribution, text, exc_info=True)

    def _find(self) -> list[EntryPoint]:
        from importlib import metadata  # noqa: PLC0415 - the slowest import of all, and only loading needs it

        try:
            return list(metadata.entry_points(group=GROUP))
        except Exception:  # noqa: BLE001 - one distribution with unreadable metadata spoils it for all
            return [entry for found in metadata.distributions() for entry in self._entries(found)]

    def _entries(self, distribution: Distribution) -> list[EntryPoint]:
        try:
            return list(distribution.entry_points.select(group=GROUP))
        except Exception as exc:  # noqa: BLE001 - this is the one
            text = f"its entry points cannot be read: {type(exc).__name__}: {exc}"
            self._report("?", _name(distribution), text)
            return []


_UNCALLED: Final = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)


def _make_name(plugin: object, taken: dict[str, object]) -> str:
    own = getattr(plugin, "__name__", None)
    if isinstance(own, str) and own:
        return own
    base = type(plugin).__qualname__
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _refusal(name: str, reason: str) -> HookError:
    return HookError(f"the hook plugin {name!r} cannot be registered: {reason}")


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
