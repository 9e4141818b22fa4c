"""``juham conformance``: the conformance kit outside pytest, with a summary that says what to do next."""

from __future__ import annotations

import fnmatch
import os
import sys
import time
from collections.abc import Iterator
from inspect import getsourcefile, getsourcelines
from pathlib import Path
from typing import Final

import click

from juham_core import discovery
from juham_core.cli.table import plain_table
from juham_core.errors import OptionError
from juham_core.testing import Report, Result, catalogue, run
from juham_core.testing.definition import LEVELS
from juham_core.testing.report import OUTCOMES
from juham_core.testing.running import suite_of
from juham_core.testing.trial import trials_of

_MANY: Final = 3
"""So many failures of one reason are told one by one; more of them have one cause, and are told once."""
_EVERY: Final = 25
"""Of so many trials one is told of where the output is no terminal."""


@click.command()
@click.argument("name")
@click.option("--url", help="A broker to try on in place of this machine's Mosquitto: mqtt://HOST:PORT.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the report (JSON).  [default: juham-conformance-NAME.json]",
)
@click.option(
    "-k",
    "patterns",
    multiple=True,
    metavar="CASES",
    help="Only cases whose identifier contains this, or fits it if it has * in it. May be given again.",
)
@click.option("-x", "--stop", is_flag=True, help="Stop after the first case that fails.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    help="How many processes try cases at once.  [default: two for each core; 1 with --stop]",
)
@click.option("--face", type=click.Choice(["asyncio"]), help="Through juham.aio instead.")
@click.option(
    "--known",
    multiple=True,
    metavar="CASE=WHY",
    help="A case that is known to fail, and why; it is a failure if it passes. May be given again.",
)
def conformance(
    name: str,
    url: str | None,
    report: Path | None,
    patterns: tuple[str, ...],
    stop: bool,
    jobs: int | None,
    face: str | None,
    known: tuple[str, ...],
) -> int:
    """Try the backend NAME on every rule of the contract, and say which ones it breaks.

    Each case runs on the kit's own broker, and on a real one if there is one. The exit code is 1 if a case
    fails. `pytest` runs the same cases, from the class BackendConformance.
    """
    if sys.flags.optimize:
        raise click.UsageError("python -O takes the assertions out, and the cases consist of them")
    discovery.find(name)  # a name that is not installed is told before anything else
    known_failures = dict(_known(item) for item in known)
    chosen = choose(patterns)
    path = report or Path(f"juham-conformance-{name.replace(':', '-')}{f'-{face}' if face else ''}.json")
    path.parent.mkdir(parents=True, exist_ok=True)  # if it cannot be, that is told before the work
    try:
        trials = sum(trial.case.id in chosen for trial in trials_of(suite_of(name, known_failures), url))
        progress = Progress(trials)
        found = run(
            name,
            url=url,
            report=path,
            known_failures=known_failures,
            select=lambda case_id: case_id in chosen and not (stop and progress.failed),
            progress=progress,
            face=face or "",
            jobs=jobs or (1 if stop else 2 * (os.cpu_count() or 1)),  # they wait more than they compute
        )
    except ValueError as exc:
        raise OptionError(str(exc)) from exc
    progress.end()
    again = f"{f' --face {face}' if face else ''}{' --url URL' if url else ''}"  # it may hold a password
    click.echo("\n".join(summary(found, again)))
    click.echo(f"\nThe report: {path}")
    return 1 if found.failures else 0


def choose(patterns: tuple[str, ...]) -> set[str]:
    """The identifiers of the cases that the patterns mean; all of them without a pattern."""
    known = [case.id for case in catalogue()]
    chosen = {case_id for case_id in known if not patterns or any(_fits(case_id, each) for each in patterns)}
    if not chosen:
        subjects = ", ".join(dict.fromkeys(case_id.partition(".")[0] for case_id in known))
        raise click.UsageError(f"no case is called {' or '.join(patterns)}; the subjects are {subjects}")
    return chosen


def _fits(case_id: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(case_id, pattern) if "*" in pattern else pattern in case_id


def _known(item: str) -> tuple[str, str]:
    case, equals, why = item.partition("=")
    if not equals:
        raise click.BadParameter(f"{item!r} is not CASE=WHY", param_hint="--known")
    return case, why


class Progress:
    """Shows on stderr how far it has got: one line that changes on a terminal, and else one now and then.

    It starts no thread: with one job the kit watches the threads of this process.
    """

    def __init__(self, trials: int) -> None:
        self.failed = 0
        self._trials = trials
        self._count = 0
        self._started = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, result: Result) -> None:
        """Take note of a result."""
        self._count += 1
        self.failed += result.outcome == "failed"
        so_far = f"{self._count} of {self._trials}, {self.failed} failed"
        if self._live:
            click.echo(f"\r\x1b[K{so_far}: {result.name}", err=True, nl=False)
        elif self._count % _EVERY == 0:
            click.echo(f"{so_far}, {time.monotonic() - self._started:.0f} s", err=True)

    def end(self) -> None:
        """Make room for the summary."""
        if self._live:
            click.echo("\r\x1b[K", err=True, nl=False)


def summary(report: Report, again: str = "") -> Iterator[str]:
    """The lines for people: levels and outcomes, what is known to fail, what fails, and what to do next.

    ``again``: the options that have to be given once more.
    """
    through = f", through juham.aio ({report.face})" if report.face else ""
    over = f", over {report.library} {report.library_version}".rstrip() if report.library else ""
    yield f"{report.backend}: {report.class_id} of {report.distribution} {report.version}{over}{through}"
    yield ""
    titles = [outcome.replace("_", " ") for outcome in OUTCOMES]
    rows = []
    for level in LEVELS:
        outcomes = [result.outcome for result in report.results if result.level == level]
        if outcomes:
            rows.append((level, *(str(outcomes.count(outcome)) for outcome in OUTCOMES)))
    rows.append(("all", *(str(count) for count in report.counts.values())))
    yield plain_table(("level", *titles), rows, titles)
    for title, (outcome, meaning) in zip(titles, OUTCOMES.items(), strict=True):
        if report.counts[outcome]:
            yield f"{title}: {meaning}"
    for result in report.results:
        if result.outcome == "known_failure":
            yield f"\nKnown to fail: {result.name}\n    rule   {_rule(result)}\n    why    {result.reason}"
    yield from _failures(report, again)


def _failures(report: Report, again: str) -> Iterator[str]:
    by_reason: dict[str, list[Result]] = {}
    for result in report.failures:
        by_reason.setdefault(_first_line(result.reason), []).append(result)
    for reason, results in by_reason.items():
        if len(results) > _MANY:
            yield f"\n{len(results)} times: {reason}"
            yield f"    at first in {results[0].name}, then in {results[1].name}, {results[2].name}, ..."
            yield f"    rule   {_rule(results[0])}"
            yield f"    read   {_place(results[0])}"
            continue
        for result in results:
            yield f"\nFailed: {result.name}"
            yield f"    rule   {_rule(result)}"
            yield f"    found  {reason}"
            yield f"    read   {_place(result)}"
    if report.failures:
        first = report.failures[0].id
        yield f"\nNext: juham conformance {report.backend} -x -k {first}{again}"


def _rule(result: Result) -> str:
    return " ".join(result.rule.split())


def _first_line(reason: str) -> str:
    return reason.strip().partition("\n")[0]


def _place(result: Result) -> str:
    """Where the case is written: file and line."""
    function = next(case.function for case in catalogue() if case.id == result.id)
    return f"{getsourcefile(function)}:{getsourcelines(function)[1]}"
