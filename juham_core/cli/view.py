"""The demo's house as a person watches it: rooms warming up in the terminal, and the table at the end."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from juham_core.cli import victim
from juham_core.cli.house import House
from juham_core.cli.residents import Room
from juham_core.cli.results import EXPLANATION, HEADER, NUMBERS, TITLE, WIDTH, Result, verdict
from juham_core.cli.tally import percentile

_COLDEST, _WARMEST, _BAR = 16.0, 23.0, 24


class LiveView:
    """Shows the house that runs, and those that have; use as a context manager."""

    def __init__(self, console: Console, broker: str) -> None:
        self._console = console
        self._broker = broker
        self._current: Result | None = None
        self._house: House | None = None
        self._done: list[Result] = []
        # Transient: the table takes its place.
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=10, transient=True
        )

    def __enter__(self) -> LiveView:  # noqa: PYI034  # typing.Self came with Python 3.11
        self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._current = self._house = None
        self._live.stop()

    def begin(self, result: Result) -> None:
        """A backend is about to run."""
        self._current = result

    def watch(self, house: House) -> None:
        """Its house is ready to be looked at."""
        self._house = house

    def done(self, result: Result) -> None:
        """The backend has run."""
        self._done.append(result)
        self._current = self._house = None

    def finish(self, results: list[Result]) -> None:
        """Print the table and the verdict, to stay."""
        narrow = self._console.width < sum(_widths(results)) + 2 * len(HEADER)
        table = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0), pad_edge=False, header_style="bold")
        for title in HEADER:
            table.add_column(
                title, justify="right" if title in NUMBERS else "left", no_wrap=title in NUMBERS
            )
        for result in results:
            table.add_row(*result.cells(), style="" if result.ok else "red")
        self._console.print(_title(self._broker))
        self._console.print(table)
        self._console.print()
        self._console.print(Text(EXPLANATION, style="dim"))
        for result in results:
            for bad, remark in result.remarks():
                self._console.print(
                    Text(f"{result.name}: {remark}", style="red" if bad else "yellow"), soft_wrap=False
                )
        good, sentence = verdict(results)
        self._console.print(Text(sentence, style="bold green" if good else "bold red"))

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [_title(self._broker)]
        parts.extend(_finished(result) for result in self._done)
        if self._current is not None:
            parts.append(_panel(self._current, self._house))
        return Group(*parts)


def _widths(results: list[Result]) -> list[int]:
    return [max(map(len, column)) for column in zip(HEADER, *(r.cells() for r in results), strict=True)]


def _title(broker: str) -> Text:
    return Text.assemble((TITLE, "bold"), "\nThe broker is ", (broker, "cyan"), ".\n")


def _finished(result: Result) -> Text:
    outcome = result.outcome
    text = Text("  ok  " if result.ok else "  !!  ", style="green" if result.ok else "red")
    text.append(f"{result.name:<10}", style="bold")
    if outcome is None:
        text.append(result.error or result.skipped)
    else:
        text.append(
            f"{outcome.messages:>6,} messages, {outcome.lost:,} lost, "
            f"round trip {outcome.p50 * 1000:.1f} ms"
        )
    text.truncate(WIDTH - 2, overflow="ellipsis")
    return text


def _panel(result: Result, house: House | None) -> Panel:
    title = Text.assemble((result.name, "bold"), f"  {result.plugin}  over  {result.library} ")
    if house is None:
        return Panel(Text("importing"), title=title, title_align="left", width=WIDTH)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for room in house.rooms:
        grid.add_row(*_room(room), _status(house.statuses.get(room.name, "")))
    status = house.statuses.get(victim.NAME, "")
    fate = "its sensor has crashed" if status == "offline" else "its sensor will crash"
    grid.add_row(victim.NAME, "", Text(fate, style="dim"), "", _status(status))
    tally = house.home.tally
    counts = Text.assemble(
        f"round {house.round:>3}/{house.rounds}   {tally.sent:>6,} messages   ",
        (f"{tally.missing:>2} under way   ", "dim"),
        f"round trip {percentile(tally.round_trips[-200:], 50) * 1000:5.1f} ms",
    )
    parts = Group(grid, Text(), counts, Text(house.phase, style="italic"))
    return Panel(parts, title=title, title_align="left", width=WIDTH)


def _room(room: Room) -> tuple[RenderableType, ...]:
    share = (room.celsius - _COLDEST) / (_WARMEST - _COLDEST)
    filled = max(0, min(_BAR, round(share * _BAR)))
    colour = "red" if room.heating else "blue"
    bar = Text.assemble(("━" * filled, colour), ("━" * (_BAR - filled), "bright_black"))
    heater = Text("heating", style="bold red") if room.heating else Text("  off  ", style="dim")
    return room.name, f"{room.celsius:4.1f} °C", bar, heater


def _status(status: str) -> Text:
    return Text(status, style={"online": "green", "offline": "bold red"}.get(status, ""))
