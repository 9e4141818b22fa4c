"""``juham demo``: the same house on every installed backend, and a table of how it went."""

from __future__ import annotations

import math
import secrets
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol

import click
from rich.console import Console

from juham_core import discovery, factory
from juham_core.apart import apart
from juham_core.capabilities import Capabilities
from juham_core.cli import brokers
from juham_core.cli.brokers import RunningBroker
from juham_core.cli.house import House
from juham_core.cli.results import EXPLANATION, HEADER, NUMBERS, TITLE, WIDTH, Result, verdict
from juham_core.cli.table import plain_table
from juham_core.errors import BackendError, BackendNotFoundError, JuhamError, NotSupportedError
from juham_core.options import Options
from juham_core.url import parse_url

ROUNDS: Final = 100
MOST: Final = 1_000_000
"""More rounds than anybody waits for."""
SECONDS: Final = 4.0
PACE: Final = 0.03
"""Seconds a round takes at least while somebody watches."""


class View(Protocol):
    """Shows what goes on."""

    def begin(self, result: Result) -> None: ...
    def watch(self, house: House) -> None: ...
    def done(self, result: Result) -> None: ...
    def finish(self, results: list[Result]) -> None: ...


class PlainView:
    """A line per backend, for pipes and logs."""

    def __init__(self, broker: str) -> None:
        click.echo(TITLE)
        click.echo(f"The broker is {broker}.")

    def begin(self, result: Result) -> None:
        """A backend is about to run."""

    def watch(self, house: House) -> None:
        """Its house is ready to be looked at; a log does not look."""

    def done(self, result: Result) -> None:
        """Say how it went."""
        outcome = result.outcome
        if outcome is not None:
            click.echo(f"{result.name}: {outcome.messages:,} messages, {outcome.lost:,} lost")
        for _bad, remark in result.remarks():
            click.echo(f"{result.name}: {remark}")

    def finish(self, results: list[Result]) -> None:
        """Print the table and the verdict."""
        click.echo()
        click.echo(plain_table(HEADER, [result.cells() for result in results], right=NUMBERS))
        click.echo()
        click.echo(EXPLANATION)
        click.echo(textwrap.fill(verdict(results)[1], WIDTH))


@click.command()
@click.option(
    "--broker", type=click.Choice(["embedded", "mosquitto"]), help="The broker to start. [embedded]"
)
@click.option(
    "--url",
    help="A broker that runs already: mqtt://user:password@host:1883. "
    "With mqtt+NAME:// only the backend NAME runs.",
)
@click.option(
    "--backend",
    "names",
    multiple=True,
    metavar="NAME",
    help="A backend to run, for several repeat it. [all installed]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, MOST),
    help=f"Readings of each sensor. [{ROUNDS}, or as many as {SECONDS:g} seconds are enough for]",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), help="Begin no further round after so long with one backend."
)
@click.option(
    "--sensors", type=click.IntRange(1, 50), default=4, show_default=True, help="Rooms, each with a sensor."
)
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    help="Seconds after which a message counts as lost.",
)
@click.option("--plain", is_flag=True, help="Plain text, also in a terminal.")
def demo(
    broker: str | None,
    url: str | None,
    names: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    sensors: int,
    patience: float,
    plain: bool,
) -> int:
    """Run a small house through every installed backend in turn.

    Sensors publish temperatures, a thermostat switches heaters, all through JMqtt at QoS 1, with retained
    states and wills; one sensor crashes on purpose. Every message is counted. The exit code is 1 if one was
    lost or a backend failed.
    """
    _end_politely()
    if url and broker:
        raise click.UsageError("--url is a broker that runs already, --broker one to start: not both")
    wanted = list(names)
    if url:
        url_backend = parse_url(url)[0]
        if url_backend and wanted not in ([], [url_backend]):
            raise click.UsageError(f"the URL asks for the backend {url_backend}, --backend for others")
        wanted = [url_backend] if url_backend else wanted
    results = _candidates(wanted)
    shape = {
        "sensors": sensors,
        "patience": patience,
        "rounds": rounds or (MOST if seconds else ROUNDS),
        "seconds": seconds or (math.inf if rounds else SECONDS),
    }
    tour = _Tour(results, shape, required=bool(wanted))

    def work() -> None:
        with _broker(broker, url) as running, _view(running.description, plain) as (view, pace):
            tour.run(running, view, pace)
        if not tour.left:
            view.finish(results)

    apart(work, tour.leave, "juham-demo")
    return 0 if verdict(results)[0] else 1


def _end_politely() -> None:
    """Have SIGTERM and a closed terminal unwind the program: else Mosquitto would be left running."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has one of them
            signal.signal(getattr(signal, name), lambda number, _frame: sys.exit(128 + number))


def _candidates(wanted: list[str]) -> list[Result]:
    """A row for each backend that is to run: those asked for, else all that are not blocked."""
    if wanted:
        return [Result(name) for name in dict.fromkeys(wanted)]
    installed = discovery.backends()
    usable = [info for info in installed if not info.blocked]
    if not usable:
        raise BackendNotFoundError(
            f"there is no backend to run: pip install juham-paho {discovery.installed_names(installed)}"
        )
    names = [info.name for info in usable]
    return [Result(info.name if names.count(info.name) == 1 else info.full_name) for info in usable]


class _Tour:
    """Runs one backend's house after the other, until somebody leaves."""

    def __init__(self, results: list[Result], shape: dict[str, Any], *, required: bool) -> None:
        self.left = False
        self._results = results
        self._shape = shape
        self._required = required
        self._house: House | None = None

    def leave(self) -> None:
        """Have :meth:`run` end soon; from another thread."""
        self.left = True
        house = self._house
        if house is not None:
            house.leave()

    def run(self, running: RunningBroker, view: View, pace: float) -> None:
        """Run the houses and fill in their rows."""
        for result in self._results:
            view.begin(result)
            self._run(result, running, view, pace)
            if self.left:
                return
            view.done(result)

    def _run(self, result: Result, running: RunningBroker, view: View, pace: float) -> None:
        """Run one backend's house, whatever may be wrong with it, and fill in its row."""
        try:
            result.plugin = discovery.find(result.name).provider
            backend = factory.load(result.name)
            result.library = _with_version(backend.library)
            local = _only_in_process(backend.capabilities)
            result.broker = "in memory" if local else running.label
            self._house = House(
                result.name,
                f"memory://juham-demo-{secrets.token_hex(4)}" if local else running.url,
                in_process=local,
                pace=pace,
                **self._shape,
            )
            if self.left:  # before it could see this house
                return
            view.watch(self._house)
            result.outcome = self._house.run()
        except NotSupportedError as exc:
            if self._required:
                result.error = str(exc)
            else:
                result.skipped = str(exc)
        except JuhamError as exc:
            result.error = str(exc) if isinstance(exc, BackendError) else f"{type(exc).__name__}: {exc}"
        except Exception as exc:  # noqa: BLE001  # a backend that breaks the contract must not end the others' demo
            result.error = f"it raised what no backend should: {type(exc).__name__}: {exc}"


def _only_in_process(capabilities: Capabilities) -> bool:
    """True for a backend that reaches no broker outside this process."""
    return capabilities.in_process and not (
        capabilities.tcp or capabilities.websockets or capabilities.unix_sockets
    )


def _with_version(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except (PackageNotFoundError, ValueError):  # ValueError: it declares no library
        return distribution


@contextmanager
def _broker(name: str | None, url: str | None) -> Iterator[RunningBroker]:
    if url:
        yield RunningBroker(url, "external", f"the one at {Options(**parse_url(url)[1]).describe()}")
    else:
        with (brokers.mosquitto if name == "mosquitto" else brokers.embedded)() as running:
            yield running


@contextmanager
def _view(broker: str, plain: bool) -> Iterator[tuple[View, float]]:
    console = Console(highlight=False)
    if plain or not sys.stdout.isatty() or console.is_dumb_terminal:
        yield PlainView(broker), 0.0
        return
    from juham_core.cli.view import LiveView  # noqa: PLC0415  # a pipe does without it

    with LiveView(console, broker) as view:
        yield view, PACE
