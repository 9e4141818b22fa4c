"""The result of a conformance run: what there is for people to read and for machines to keep.

The JSON is one object::

    {"schema": "juham-conformance/1",
     "backends": [{"backend": "mine", "class_id": "JMine", "distribution": "juham-mine", "version": "1.0",
                   "library": "minemqtt", "library_version": "2.1", "face": "", "core_version": "1.0.0",
                   "python": "3.12.1", "platform": "Linux ...", "passed": true, "seconds": 41.2,
                   "counts": {"passed": 180, ...},
                   "cases": [{"id": "publish.payload_bytes", "level": "semantics", "place": "mosquitto",
                              "rule": "...", "outcome": "passed", "seconds": 0.031, "reason": ""}, ...]}]}

``face`` is ``asyncio`` for :mod:`juham_core.aio`, else empty. ``place`` is ``fault_broker``, ``mosquitto``,
``url`` (the broker that was given), ``memory`` or ``none``. ``outcome`` is one of :data:`OUTCOMES`.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import juham_core
from juham_core.discovery import backends
from juham_core.testing.definition import LEVELS

SCHEMA: Final = "juham-conformance/1"
OUTCOMES: Final = {
    "passed": "the rule holds",
    "unsupported": "a capability is not declared, and was refused or not to be seen, as it has to be",
    "not_applicable": "cannot be tried with this backend; the reason says why",
    "known_failure": "fails, as the backend's author says, for the reason given",
    "failed": "the rule is broken, or a known failure is none any more",
}


@dataclass(frozen=True)
class Result:
    """How one trial ended."""

    id: str
    level: str
    place: str
    rule: str
    outcome: str
    seconds: float
    reason: str = ""

    @property
    def name(self) -> str:
        """Case and place, as pytest shows them."""
        return f"{self.id}[{self.place}]"


def _system() -> str:
    """What it ran on, without the names that people give to their kernels."""
    return f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"


@dataclass
class Report:
    """All results of one backend."""

    backend: str
    class_id: str = ""
    distribution: str = ""
    version: str = ""
    library: str = ""
    library_version: str = ""
    face: str = ""
    core_version: str = juham_core.__version__
    python: str = field(default_factory=platform.python_version)
    platform: str = field(default_factory=_system)
    results: list[Result] = field(default_factory=list)

    @classmethod
    def about(cls, backend: str, loaded: type[Any] | None) -> Report:
        """A report without results, its head filled in from metadata."""
        report = cls(backend)
        for info in backends():
            if backend in (info.name, info.full_name):
                report.distribution, report.version = info.distribution, info.version
                report.class_id = info.class_id
        if loaded is not None:
            report.class_id = loaded.__name__
            report.library = loaded.library
            report.library_version = _version(report.library)
        return report

    @property
    def passed(self) -> bool:
        """True if there are results and none is a failure."""
        return bool(self.results) and not self.failures

    @property
    def failures(self) -> list[Result]:
        """The trials that failed."""
        return [result for result in self.results if result.outcome == "failed"]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in which way."""
        found = Counter(result.outcome for result in self.results)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON knows it."""
        head = {name: value for name, value in asdict(self).items() if name != "results"}
        return {
            **head,
            "passed": self.passed,
            "seconds": round(sum(result.seconds for result in self.results), 3),
            "counts": self.counts,
            "cases": [asdict(result) for result in self.results],
        }

    def summary(self) -> str:
        """A few lines for people: counts by level, then every failure with the first line of its reason."""
        what = " ".join(filter(None, (self.distribution, self.version)))
        library = " ".join(filter(None, (self.library, self.library_version))) or "unknown"
        lines = [f"{self.backend}: {self.class_id}, {what or 'not installed'}, library {library}"]
        for level in LEVELS:
            found = Counter(result.outcome for result in self.results if result.level == level)
            if found:
                lines.append(f"  {level:<10} " + ", ".join(f"{n} {o}" for o, n in sorted(found.items())))
        for result in self.results:
            if result.outcome in ("failed", "known_failure"):
                first = result.reason.strip().partition("\n")[0]
                rule = " ".join(result.rule.split())
                lines += [f"  {result.outcome}: {result.name}: {rule}", f"      {first}"]
        return "\n".join(lines)


def write_reports(reports: Iterable[Report], path: str | Path) -> None:
    """Write the JSON file."""
    data: Mapping[str, Any] = {"schema": SCHEMA, "backends": [report.to_dict() for report in reports]}
    Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution) if distribution else ""
    except metadata.PackageNotFoundError:
        return ""
