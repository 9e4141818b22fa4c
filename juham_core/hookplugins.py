"""The registered hook plugins as pluggy keeps them, and what is asked of one before it is let in.

A module of its own, for most programs have none, and pluggy takes its time to be imported.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Final

from pluggy import HookImpl, PluginManager, PluginValidationError

from juham_core import hookspecs
from juham_core.hooks import PREFIX, HookError
from juham_core.hookspecs import PROJECT

_UNCALLED: Final = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)


class HookPlugins:
    """The plugins by name. Not locked: its owner is."""

    def __init__(self) -> None:
        self.manager = PluginManager(PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._hooks: Final = [name for name in vars(self.manager.hook) if name.startswith(PREFIX)]

    def by_name(self) -> dict[str, object]:
        """The plugins."""
        return dict(self.manager.list_name_plugin())

    def has(self, plugin: object) -> bool:
        """True if this very plugin is among them, under any name."""
        return self.manager.is_registered(plugin)

    def implementations(self) -> Iterator[tuple[str, tuple[HookImpl, ...]]]:
        """The functions for each hook, named without its prefix, in the order in which they are called."""
        for name in self._hooks:
            # pluggy, too, calls them from last to first.
            found = reversed(getattr(self.manager.hook, name).get_hookimpls())
            yield name.removeprefix(PREFIX), tuple(found)

    def add(self, plugin: object, name: str | None) -> str:
        """Let a plugin in and return its name. Raises HookError, and changes nothing, for an unfit one."""
        taken = self.by_name()
        name = name or _make_name(plugin, taken)
        if self.has(plugin):
            raise _refusal(name, f"it is already, as {self.manager.get_name(plugin)!r}")
        if name in taken:
            raise _refusal(name, f"the name is taken by {taken[name]!r}; give another")
        if plugin is None:
            raise _refusal(name, "it is None")
        try:
            self._admit(plugin, name)
        except HookError as exc:
            # Some releases of pluggy keep what they have just refused.
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            raise _refusal(name, " ".join(str(exc).split())) from exc
        return name

    def remove(self, plugin: object) -> str:
        """Let go of a plugin, given itself or its name; return that. Raises HookError if there is none."""
        name = plugin if isinstance(plugin, str) else self.manager.get_name(plugin)
        if name is None or not self.manager.has_plugin(name):
            known = ", ".join(sorted(self.by_name())) or "none"
            raise HookError(f"there is no hook plugin {plugin!r} to unregister; registered: {known}")
        self.manager.unregister(name=name)
        return name

    def overlooked(self, plugin: object) -> Iterator[str]:
        """What pluggy passes over in silence."""
        if not self.manager.get_hookcallers(plugin):
            yield "it implements no hook"
        for name in dir(plugin):
            if not name.startswith(PREFIX) or self.manager.parse_hookimpl_opts(plugin, name) is not None:
                continue
            if callable(inspect.getattr_static(plugin, name, None)):
                hint = "" if name in self._hooks else f", and is no hook: {self._closest(name)}"
                yield f"{name} is never called: it lacks the marker @hookimpl{hint}"

    def _admit(self, plugin: object, name: str) -> None:
        try:
            self.manager.register(plugin, name)
        except PluginValidationError as exc:
            raise HookError(f"{exc}; {hookspecs.__name__} has the arguments of each hook") from exc
        for caller in self.manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin:
                    self._check(impl, caller.name)

    def _check(self, impl: HookImpl, hook: str) -> None:
        if hook not in self._hooks:
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
        spec = getattr(self.manager.hook, hook).spec
        never = [name for name in impl.kwargnames if name in spec.argnames]
        if never:
            text = f"its {hook} has defaults for {', '.join(never)} and would never get more than those"
            raise HookError(f"{text}; leave the defaults out")

    def _closest(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._hooks, n=1)
        return f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(self._hooks)}"


def _make_name(plugin: object, taken: dict[str, object]) -> str:
    own = getattr(plugin, "__name__", None)
    if isinstance(own, str) and own:
        return own
    base = type(plugin).__qualname__
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _refusal(name: str, reason: str) -> HookError:
    return HookError(f"the hook plugin {name!r} cannot be registered: {reason}")
