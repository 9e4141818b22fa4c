"""The kit on every backend that is installed, or on those that JUHAM_TEST_BACKENDS names."""

import os

import juham_core as juham
from juham_core.testing import BackendConformance

_NAMED = os.environ.get("JUHAM_TEST_BACKENDS", "")
_NAMES = sorted(filter(None, _NAMED.split(","))) or sorted({info.name for info in juham.backends()})

for _name in _NAMES:
    _class = f"Test{_name.title()}"
    globals()[_class] = type(_class, (BackendConformance,), {"backend": _name, "__module__": __name__})
