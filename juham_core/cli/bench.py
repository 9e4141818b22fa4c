"""``juham bench``: backends and the libraries underneath them, measured side by side."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import click

from juham_core import discovery
from juham_core.bench import checks, document, official, report, session, tables
from juham_core.bench.driver import GROUP
from juham_core.bench.session import Case, Contender, Place
from juham_core.cli import brokers
from juham_core.cli.table import plain_table
from juham_core.options import Options
from juham_core.url import parse_url

# The broker of "memory" keeps 10,000 for a subscriber that lags behind, and drops the rest as brokers do.
MESSAGES: Final = {"publish": 10_000, "receive": 10_000, "roundtrip": 1_000, "fanout": 10_000}
_MESSAGES: Final = "10,000; of roundtrip 1,000"
FACES: Final = ("thread", "inline", "raw", "hooks", "outbox", "outbox-full", "aio")


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(session.SCENARIOS)))
@click.option(
    "-b",
    "--backend",
    "names",
    multiple=True,
    metavar="NAME",
    help="Whom to measure. May be given again. [all installed]",
)
@click.option("--url", help="A broker that runs already: mqtt://user:password@host:1883.")
@click.option(
    "--broker",
    type=click.Choice(["mosquitto", "embedded", "free"]),
    help="The broker to start; free costs nothing, so that the client is the limit. "
    "[mosquitto if it is found, else embedded]",
)
@click.option(
    "--face",
    "faces",
    multiple=True,
    type=click.Choice(FACES),
    help="How to use it: as JMqtt, with handlers in a thread or inline, with a hook, with an outbox; through "
    "juham.aio; or the library raw. May be given again. [thread]",
)
@click.option("--raw", is_flag=True, help="Run the libraries underneath by themselves, too.")
@click.option("--aio", is_flag=True, help="Run the asyncio face, too.")
@click.option("--uvloop", is_flag=True, help="Run what has an event loop on uvloop, too.")
@click.option("-q", "--qos", multiple=True, type=click.IntRange(0, 2), help="May be given again. [0 and 1]")
@click.option("--size", "sizes", multiple=True, type=click.IntRange(0, 2**24), help="Bytes of payload. [100]")
@click.option(
    "--subscriptions",
    multiple=True,
    type=click.IntRange(1, 10_000),
    help="Of fanout: how many filters. [1, 10, 100, 1000]",
)
@click.option("-n", "--messages", type=click.IntRange(1), help=f"In each round. [{_MESSAGES}]")
@click.option(
    "--window",
    type=click.IntRange(1, 60_000),
    default=20,
    show_default=True,
    help="Publishes of QoS 1 and 2 that may be unacknowledged.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Turns that each takes, after one to warm up.",
)
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results.")
@click.option("--append", is_flag=True, help="With --json: add to the results that the file has.")
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Measure nothing: from {report.RESULTS} in this folder, write the picture and the page there, and "
    f"the tables into FOLDER.md, between {report.BEGIN} and {report.END}.",
)
@click.option(
    "--report",
    "into",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Make the official run, of about {official.MINUTES} minutes, into this folder; "
    "then as --docs.",
)
@click.option("--routing", is_flag=True, help="Measure how routing grows with the number of subscriptions.")
@click.option("--startup", is_flag=True, help="Measure what importing, creating and finding backends takes.")
@click.option("--check", is_flag=True, help="With --docs: write nothing, and exit with 1 if all is not so.")
def bench(
    scenarios: tuple[str, ...],
    names: tuple[str, ...],
    url: str | None,
    broker: str | None,
    faces: tuple[str, ...],
    raw: bool,
    aio: bool,
    uvloop: bool,
    qos: tuple[int, ...],
    sizes: tuple[int, ...],
    subscriptions: tuple[int, ...],
    messages: int | None,
    window: int,
    rounds: int,
    path: Path | None,
    append: bool,
    docs: Path | None,
    into: Path | None,
    routing: bool,
    startup: bool,
    check: bool,
) -> int:
    """Measure backends side by side: publish, receive, roundtrip, fanout. [the first three]

    Everybody takes turns at the same work, round by round; the client under test and its counterpart are
    processes of their own, and only the first is measured. With --raw the libraries run by themselves in the
    same session, and what Juham costs is a ratio.
    """
    _check_pairs(("--check", check, "--docs FOLDER", docs), ("--append", append, "--json FILE", path))
    if docs is not None:
        return write(docs, check)
    if into is not None:
        return run_official(into, messages)
    asked = [title for title, wanted in (("routing", routing), ("startup", startup)) if wanted]
    if asked:
        for title in asked:
            show_checks(title, checks.ALL[title]())
        return 0
    chosen = list(dict.fromkeys([*faces, *(["raw"] if raw else []), *(["aio"] if aio else [])]))
    if not faces:
        chosen.insert(0, "thread")
    contenders = _some(list(contenders_of(names, chosen, uvloop)), names, chosen)
    cases = [
        Case(scenario, messages or MESSAGES[scenario], level, size, count, window)
        for scenario in scenarios or ("publish", "receive", "roundtrip")
        for level in qos or (0, 1)
        for size in sizes or (100,)
        for count in ((subscriptions or (1, 10, 100, 1000)) if scenario == "fanout" else (1,))
    ]
    found = document.new(shlex.join(["juham", *sys.argv[1:]]))
    if append and path is not None and path.exists():
        found = document.load(path)
    with place_of(broker, url) as place, progress_of(len(cases) * len(contenders) * (rounds + 1)) as progress:
        for case in cases:
            measured = session.run(case, contenders, place, rounds=rounds, progress=progress)
            document.add(found, measured)
            show(measured)
            if path is not None:
                document.save(found, path)
    return 0


def _check_pairs(*pairs: tuple[str, bool, str, Path | None]) -> None:
    """An option that says how is nothing without the one that says what."""
    for name, given, needs, value in pairs:
        if given and value is None:
            raise click.UsageError(f"{name} belongs to {needs}: give both")


def _some(contenders: list[Contender], names: tuple[str, ...], faces: list[str]) -> list[Contender]:
    if not contenders:
        who = ", ".join(names) or "what is installed"
        raise click.UsageError(f"{who} cannot be used as {', '.join(faces)}: try --raw, or another --face")
    return contenders


def run_official(folder: Path, messages: int | None) -> int:
    """Measure what the report shows, write it, and say what there was no time for."""
    found = document.new(shlex.join(["juham", *sys.argv[1:]]))
    until = time.monotonic() + 60 * official.MINUTES
    left_out = 0
    for part in official.plan(messages):
        if time.monotonic() > until:
            left_out += 1
            continue
        contenders = list(contenders_of((), list(part.faces), part.uvloop, part.comparators))
        steps = len(contenders) * (official.ROUNDS + 1)
        with place_of(part.broker, None) as place, progress_of(steps) as progress:
            measured = session.run(part.case, contenders, place, rounds=official.ROUNDS, progress=progress)
        document.add(found, measured)
        show(measured)
        document.save(found, folder / report.RESULTS)
    for title, measure in checks.ALL.items():
        document.add_checks(found, title, measure())
        show_checks(title, found["checks"][title])
    document.save(found, folder / report.RESULTS)
    if left_out:
        click.echo(f"{left_out} cases are left out: the time is over", err=True)
    return write(folder, check=False)


def contenders_of(
    names: tuple[str, ...], faces: list[str], uvloop: bool, comparators: bool = False
) -> Iterator[Contender]:
    """Everybody who takes part: a library that goes by two names takes part once.

    ``comparators``: with drivers, too, for which no backend is installed. Raises BackendNotFoundError or
    another BackendError for a name that is neither a backend nor a driver.
    """
    drivers = {entry_point.name: entry_point.value for entry_point in entry_points(group=GROUP)}
    usable = [info.name for info in discovery.backends() if not info.blocked]
    for name in names:
        if name not in drivers:
            discovery.find(name)
    seen: set[str] = set()
    others = [name for name in drivers if comparators and name not in usable]
    for name in names or [*usable, *others]:
        for face in faces:
            if face == "raw":
                if name not in drivers or drivers[name] in seen:
                    continue
                seen.add(drivers[name])
                same = tuple(other for other, value in drivers.items() if value == drivers[name])
                yield Contender(name, face, names=same)
                if uvloop:
                    yield Contender(name, face, uvloop=True, names=same)
            elif name in usable:
                yield Contender(name, face)
                if uvloop and face == "aio":
                    yield Contender(name, face, uvloop=True)


@contextmanager
def place_of(broker: str | None, url: str | None) -> Iterator[Place]:
    """The broker to measure with."""
    if url and broker:
        raise click.UsageError("--url is a broker that runs already, --broker one to start: not both")
    if url:
        yield Place(url, Options(**parse_url(url)[1]).describe())
        return
    if broker == "free":
        yield Place("", "a broker that costs nothing")
        return
    with ExitStack() as stack:
        if broker is None:
            try:
                brokers.find_mosquitto()
                broker = "mosquitto"
            except brokers.BrokerMissingError:
                broker = "embedded"
        running = stack.enter_context((brokers.mosquitto if broker == "mosquitto" else brokers.embedded)())
        yield Place(running.url, running.description.partition(" at ")[0])


@contextmanager
def progress_of(steps: int) -> Iterator[Callable[[str], None]]:
    """Shows how far it has got: a bar on a terminal, drawn between the rounds and never during one."""
    from rich.console import Console  # noqa: PLC0415  # a pipe does without it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=steps)

        def advance(label: str) -> None:
            bar.update(task, advance=1, description=label, refresh=True)

        yield advance


def show(case: dict[str, Any]) -> None:
    """Print the table of a case."""
    click.echo(f"\n{tables.title(case)}")
    columns = tables.header(case)
    click.echo(plain_table(columns, tables.rows(case), right=columns[1:]))
    for one in case["contenders"]:
        if "error" in one:
            click.echo(f"{one['label']}: {one['error']}")


def show_checks(title: str, found: list[checks.Check]) -> None:
    """Print the table of what was checked."""
    click.echo(f"\n{title}")
    click.echo(plain_table(checks.COLUMNS, list(checks.rows(found)), right=checks.COLUMNS[1:3]))


def write(docs: Path, check: bool) -> int:
    """Write what follows from the results, or look whether it is there."""
    wanted = report.outputs(document.load(docs / report.RESULTS), docs)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if check:
            click.echo(f"{path} is out of date: juham bench --docs {docs}", err=True)
        else:
            path.write_text(wanted[path], encoding="utf-8")
            click.echo(f"{path} is written")
    return 1 if check and stale else 0
