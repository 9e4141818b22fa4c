"""``juham matrix``: backends, their capabilities and their conformance as a Markdown table.

Capabilities are what the classes declare, conformance is what the reports of ``juham conformance`` hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from juham_core import discovery, factory
from juham_core.capabilities import Capabilities
from juham_core.errors import ConfigError
from juham_core.jmqtt import JMqtt

BEGIN: Final = "<!-- matrix -->"
END: Final = "<!-- /matrix -->"

PLACES: Final = {
    "fault_broker": "conformance (fault broker)",
    "mosquitto": "conformance (Mosquitto)",
    "memory": "conformance (in process)",
}
"""The places of a conformance report that have a row."""
_TRIED: Final = ("passed", "known_failure", "failed")
_NOTHING: Final = "–"  # noqa: RUF001  # a dash in a cell

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--write", type=_FILE, help=f"Put it into this file, between {BEGIN} and {END}.")
@click.option("--check", type=_FILE, help="Exit with 1 unless this file has it there already.")
@click.option("--reports", type=_FOLDER, help="Add how many conformance cases pass: NAME.json here.")
def matrix(write: Path | None, check: Path | None, reports: Path | None) -> int:
    """Print what each installed backend can do, as Markdown.

    Generated from the capabilities that the classes declare, so all backends are imported. Blocked ones
    (JUHAM_BACKENDS_BLOCK) are left out.
    """
    if write and check:
        raise click.UsageError("--write and --check: one of them")
    table = "\n".join(_lines(reports))
    path = write or check
    if path is None:
        click.echo(table)
        return 0
    before, present, after = _split(path)
    if present.strip() == table:
        click.echo(f"{path} is up to date")
        return 0
    if check:
        more = f" --reports {reports}" if reports else ""
        click.echo(f"{path} is out of date: juham matrix{more} --write {path}", err=True)
        return 1
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    click.echo(f"{path} is written")
    return 0


def _lines(reports: Path | None) -> Iterator[str]:
    infos = [info for info in discovery.backends() if not info.blocked]
    classes: list[type[JMqtt]] = [factory.load(info.full_name) for info in infos]
    yield _row("", (f"`{info.name}`" for info in infos))
    yield _row("---", (":---:" for _ in infos))
    yield _row("distribution", (info.distribution for info in infos))
    yield _row("library", (cls.library or _NOTHING for cls in classes))
    for name, meaning, _ in Capabilities().rows():
        yield _row(meaning, ("✓" if getattr(cls.capabilities, name) else _NOTHING for cls in classes))
    if reports is not None:
        cases = [_cases(reports / f"{info.name}.json", info.name) for info in infos]
        for place, title in PLACES.items():
            yield _row(title, (_passed(found, place) for found in cases))
        faces = [_cases(reports / f"{info.name}.json", info.name, "asyncio") for info in infos]
        yield _row("conformance through asyncio", (_passed(found, *PLACES) for found in faces))


def _cases(path: Path, name: str, face: str = "") -> list[dict[str, str]]:
    """The cases of a backend in the report; none if there is no report of it."""
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["backends"]
        return [
            case
            for report in found
            if report["backend"] == name and report.get("face", "") == face
            for case in report["cases"]
        ]
    except (ValueError, KeyError, TypeError) as exc:
        advice = f"juham conformance {name} --report {path}"
        raise ConfigError(f"{path} is no conformance report ({exc!r}): {advice}") from exc


def _passed(cases: list[dict[str, str]], *places: str) -> str:
    """How many passed of those that were tried; what a backend does not declare is in the rows above."""
    tried = [case for case in cases if case["place"] in places and case["outcome"] in _TRIED]
    outcomes = [case["outcome"] for case in tried]
    return f"{outcomes.count('passed')} of {len(outcomes)}" if outcomes else _NOTHING


def _row(title: str, cells: Iterator[str]) -> str:
    return f"| {' | '.join([title, *cells])} |"


def _split(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    present, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{path} has no place for the matrix: write {BEGIN} and below it {END} there")
    return before, present, after
