"""Hook plugins that tests make: an object with one function, or a module with several."""

from __future__ import annotations

import types

from juham_core.hookspecs import hookimpl


class Plugin:
    """A plugin with one function, for one hook."""

    def __init__(self, function, hook, **options):
        self.implementation = hookimpl(specname=f"jmqtt_{hook}", **options)(function)


def make_module(name, **functions):
    module = types.ModuleType(name)
    vars(module).update(functions)
    return module
