"""Mutants: backends that each break one rule, in a few lines, on top of the correct toy.

How to add one: in ``mutants_SUBJECT.py``, derive from JToy, override what it takes to break the rule, and
decorate with ``@mutant("case.id", "what it does wrong")``. ``tests/kit/test_mutants.py`` sees to it that the
case named catches it. Break the rule as a real backend would, not by the name of the case.
"""

from __future__ import annotations

import importlib
from pathlib import Path

MUTANTS = {}
"""Name of the class -> (class, case that must catch it, what it does wrong)."""


def mutant(case_id, does):
    def enter(cls):
        if cls.__name__ in MUTANTS:
            raise ValueError(f"there are two mutants {cls.__name__}")
        MUTANTS[cls.__name__] = (cls, case_id, does)
        return cls

    return enter


def load_all():
    for path in sorted(Path(__file__).parent.glob("mutants_*.py")):
        importlib.import_module(path.stem)
    return MUTANTS
