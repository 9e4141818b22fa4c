"""The pytest plugin: it makes test items of cases, and a report of their results.

Loaded wherever juham-core is installed beside pytest, so it imports nothing of the kit until a test class
derives from :class:`~juham_core.testing.BackendConformance`.
"""

from __future__ import annotations

import sys
import time
import types
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from juham_core.testing.trial import Trial

_CASES = "juham_core.testing.cases"
if _CASES not in sys.modules:  # pytest warns about what it cannot rewrite any more
    pytest.register_assert_rewrite(_CASES)

_PROPERTY = "juham"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("juham", "conformance of MQTT backends")
    group.addoption(
        "--mqtt-url", metavar="URL", help="a real broker for the conformance kit, in place of Mosquitto"
    )
    group.addoption("--juham-report", metavar="FILE", help="write the conformance kit's report (JSON)")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker, and the report if it is wanted."""
    config.addinivalue_line("markers", "juham(level): a case of the conformance kit")
    if config.getoption("--juham-report") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Reporter(config.getoption("--juham-report")), "juham-report")


def pytest_unconfigure() -> None:
    """Stop what the cases of this process shared."""
    if "juham_core.testing.mosquitto" in sys.modules:
        from juham_core.testing.mosquitto import stop_shared  # noqa: PLC0415 - only if the kit is in use

        stop_shared()


def pytest_pycollect_makeitem(collector: Any, name: str) -> list[pytest.Item] | None:
    """Make the items of a conformance class: one for each case in each place."""
    if "juham_core.testing.conformance" not in sys.modules or not isinstance(collector, pytest.Class):
        return None
    from juham_core.testing.conformance import BackendConformance  # noqa: PLC0415 - only if it is in use

    suite = collector.obj
    if not issubclass(suite, BackendConformance):
        return None
    if name == "test_the_plugin_is_loaded":  # it is: in its place stand the cases
        return _items(collector, suite)
    return None


def _items(collector: pytest.Class, suite: type[Any]) -> list[pytest.Item]:
    from juham_core.testing.place import check_url  # noqa: PLC0415 - only if it is in use
    from juham_core.testing.trial import trials_of  # noqa: PLC0415

    if not hasattr(suite, "backend"):
        raise collector.CollectError(f'{suite.__name__} does not say which backend: backend = "mine"')
    url = collector.config.getoption("--mqtt-url")
    try:
        trials = list(trials_of(suite, check_url(url) if url else None))
    except ValueError as exc:
        raise collector.CollectError(str(exc)) from exc
    return [TrialItem.of(collector, trial) for trial in trials]


class TrialItem(pytest.Function):
    """A trial as pytest runs it, with the fixtures that the author's own tests get by themselves."""

    trial: Trial

    @classmethod
    def of(cls, collector: pytest.Class, trial: Trial) -> TrialItem:
        """Make the item."""

        def call(suite: Any) -> None:
            _run(item, trial, suite)

        instance = collector.obj()
        item: TrialItem = cls.from_parent(
            collector, name=trial.name, callobj=types.MethodType(call, instance)
        )
        item.trial = trial
        item.add_marker(pytest.mark.juham(trial.case.level))
        item.extra_keyword_matches.update((trial.case.level, trial.case.subject, trial.place))
        if trial.known_failure is not None:
            item.add_marker(pytest.mark.xfail(reason=trial.known_failure, strict=True))
        return item


def _run(item: TrialItem, trial: Trial, suite: Any) -> None:
    from juham_core.testing.kit import NotApplicableError  # noqa: PLC0415 - only if it is in use

    backend = trial.suite.backend
    name = backend if isinstance(backend, str) else backend.__name__
    key = (name, trial.suite.face)
    started = time.perf_counter()
    outcome, reason = "failed", ""
    try:
        outcome, reason = trial.run(suite)
        if trial.known_failure is not None:
            outcome, reason = "failed", f"it passes: take it out of known_failures ({trial.known_failure})"
    except NotApplicableError as exc:
        outcome, reason = "not_applicable", str(exc)
        pytest.skip(str(exc))
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
        if trial.known_failure is not None:
            outcome, reason = "known_failure", trial.known_failure
        raise
    finally:
        result = trial.ended(outcome, time.perf_counter() - started, reason)
        item.user_properties.append((_PROPERTY, (key, vars(result))))


class _Reporter:
    """Gathers results, from workers too, and writes them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._results: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a result out of the report that carries it."""
        if report.when == "call":
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    found: Any = value  # what _run has put there
                    self._results.setdefault(tuple(found[0]), []).append(found[1])

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        from juham_core.testing.report import Report, Result, write_reports  # noqa: PLC0415 - only now
        from juham_core.testing.trial import load_or_none  # noqa: PLC0415

        reports = []
        for (backend, face), results in sorted(self._results.items()):
            report = Report.about(backend, load_or_none(backend))
            report.face = face
            report.results += [Result(**result) for result in results]
            reports.append(report)
        write_reports(reports, self._path)
