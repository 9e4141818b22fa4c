"""What a case is: a rule of the contract, an identifier that never changes, and where it can be tried."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from juham_core.capabilities import Capabilities

Without = Callable[[Any], None]
"""What is tried in the place of a case, with a :class:`~juham_core.testing.kit.Kit` in its hands."""
FunctionT = TypeVar("FunctionT", bound=Callable[..., None])

ANY: Final = "any"
"""On every kind of broker: the fault broker, a real one, and in process."""
FAULTS: Final = "faults"
"""Only on the fault broker, whose script or record the case uses."""
NONE: Final = "none"
"""Without a broker."""

LEVELS: Final = ("packaging", "semantics", "lifecycle", "faults", "mqtt5", "endurance")
_LEVEL_OF: Final = {
    "packaging": "packaging",
    "publish": "semantics",
    "subscribe": "semantics",
    "handlers": "semantics",
    "inline": "semantics",
    "connect": "faults",
    "reconnect": "faults",
    "failover": "faults",
    "hostile": "faults",
    "security": "faults",
    "lifecycle": "lifecycle",
    "threads": "lifecycle",
    "mqtt5": "mqtt5",
    "outbox": "faults",
    "endurance": "endurance",
}
DEADLINE: Final = 30.0
LONG_DEADLINE: Final = 120.0
_ATTRIBUTE: Final = "__juham_case__"


@dataclass(frozen=True)
class Case:
    """One rule of the contract.

    ``needs`` are the names of :class:`~juham_core.capabilities.Capabilities` without which there is nothing
    to try: a backend that does not declare one must refuse to use it instead. Where a capability cannot be
    refused, ``without`` is tried, which fails if the backend has what it does not declare. ``on`` is
    :data:`ANY`, :data:`FAULTS` or :data:`NONE`, ``seconds`` the deadline.
    """

    id: str
    rule: str
    level: str
    needs: tuple[str, ...]
    on: str
    seconds: float
    function: Callable[..., None]
    without: Without | None = None

    @property
    def subject(self) -> str:
        """What the case is about: the first part of its identifier."""
        return self.id.partition(".")[0]


def case(
    case_id: str,
    *,
    level: str | None = None,
    needs: str | tuple[str, ...] = (),
    on: str = ANY,
    seconds: float | None = None,
    without: Without | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Make a method of a class of cases a case; its docstring is the rule, in one sentence.

    ``level`` follows from the subject unless given, and so does ``seconds``: 30, or 120 for endurance.
    """

    def make(function: FunctionT) -> FunctionT:
        subject = case_id.partition(".")[0]
        chosen = level or _LEVEL_OF.get(subject, "semantics")
        needed = (needs,) if isinstance(needs, str) else needs
        rule = inspect.getdoc(function)
        if not rule or "." not in case_id:
            raise ValueError(f"the case {case_id!r} is 'subject.name' and has the rule for a docstring")
        if chosen not in LEVELS or on not in (ANY, FAULTS, NONE):
            raise ValueError(f"the case {case_id!r} has a level of {LEVELS}, and runs on any, faults or none")
        for name in needed:
            Capabilities.meaning(name)  # KeyError for one that does not exist
        limit = seconds or (LONG_DEADLINE if chosen == "endurance" else DEADLINE)
        made = Case(case_id, rule, chosen, needed, on, limit, function, without)
        setattr(function, _ATTRIBUTE, made)
        return function

    return make


def case_of(function: Any) -> Case | None:
    """The case that a method is, or None."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Case) else None


def cases_of(suite: type) -> list[Case]:
    """The cases of a class and its bases, sorted by level, then in the order in which they are written.

    A case is overridden by a method of its name in a class derived from its own; in other classes the name
    may be used for something else. Raises ValueError if two have the same identifier.
    """
    cases: list[Case] = []
    for place, base in enumerate(suite.__mro__):
        # What a class derived from this one has is the author's word; two subjects may well share a name.
        derived = [vars(other) for other in suite.__mro__[:place] if issubclass(other, base)]
        for name, value in vars(base).items():
            found = case_of(value)
            if found is not None and not any(name in names for names in derived):
                cases.append(found)
    twice = {each for each, times in Counter(found.id for found in cases).items() if times > 1}
    if twice:
        raise ValueError(f"two cases of {suite.__name__} have the identifier {', '.join(sorted(twice))}")
    return sorted(cases, key=lambda found: LEVELS.index(found.level))
