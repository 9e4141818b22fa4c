"""The kit without pytest: what ``juham conformance`` runs, and what proves the kit itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from juham_core.testing.conformance import BackendConformance
from juham_core.testing.place import check_url
from juham_core.testing.report import Report, Result, write_reports
from juham_core.testing.trial import Backend, load, trials_of
from juham_core.testing.workers import run_in_processes


def run(
    backend: Backend,
    *,
    url: str | None = None,
    report: str | Path | None = None,
    known_failures: Mapping[str, str] | None = None,
    select: Callable[[str], bool] | None = None,
    progress: Callable[[Result], None] | None = None,
    face: str = "",
    jobs: int = 1,
) -> Report:
    """Try a backend on every case and return the report; ``report`` names the JSON file to write it to.

    ``url`` is a broker to use in the place of a Mosquitto of this machine. ``select`` takes a case's
    identifier and tells whether to try it; ``progress`` is called with each result. ``face`` is
    ``"asyncio"`` for :mod:`juham_core.aio`. With ``jobs`` above 1 the trials run in so many processes, and
    ``backend`` is a name. Blocks for a minute or two. Raises BackendError if the backend cannot be loaded,
    ValueError for a bad URL or known failure.
    """
    loaded = load(backend)
    given = check_url(url) if url is not None else None
    suite = suite_of(backend, known_failures, face)
    found = Report.about(backend if isinstance(backend, str) else backend.__name__, loaded)
    found.face = face

    def take(result: Result) -> bool:
        found.results.append(result)
        if progress is not None:
            progress(result)
        return select is None or select(result.id)

    chosen = [trial for trial in trials_of(suite, given) if select is None or select(trial.case.id)]
    if jobs > 1 and isinstance(backend, str):
        known = dict(suite.known_failures)
        first = {"backend": backend, "known_failures": known, "url": given, "face": face}
        run_in_processes(first, chosen, jobs, take)
        order = {trial.name: place for place, trial in enumerate(chosen)}
        found.results.sort(key=lambda result: order[result.name])
    else:
        for trial in chosen:
            if select is None or select(trial.case.id):
                take(trial.result())
    if report is not None:
        write_reports([found], report)
    return found


def run_case(backend: Backend, case_id: str, *, url: str | None = None) -> list[Result]:
    """Try a backend on one case, in every place; ValueError if there is no such case."""
    results = [
        trial.result() for trial in trials_of(suite_of(backend), url) if trial.case.id == case_id
    ]
    if not results:
        raise ValueError(f"there is no case {case_id!r}; juham_core.testing.catalogue() lists them")
    return results


def suite_of(
    backend: Backend, known_failures: Mapping[str, str] | None = None, face: str = ""
) -> type[BackendConformance]:
    """What a backend's author would have written."""
    name = backend if isinstance(backend, str) else backend.__name__
    return type(
        f"Test{name.title()}",
        (BackendConformance,),
        {"backend": backend, "known_failures": dict(known_failures or {}), "face": face},
    )
