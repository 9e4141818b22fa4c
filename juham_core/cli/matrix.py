"""``juham matrix``: backends and capabilities as a Markdown table, from what the classes declare."""

from __future__ import annotations

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

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--write", type=_FILE, help=f"Put it into this file, between {BEGIN} and {END}.")
@click.option("--check", type=_FILE, help="Exit with 1 unless this file has it there already.")
def matrix(write: Path | None, check: Path | None) -> int:
    """Print what each installed backend can do, as Markdown.

    Generated from the capabilities that the classes declare, so all backends are imported. Blocked ones
    (JUHAM_BACKENDS_BLOCK) are left out.
    """
    if write and check:
        raise click.UsageError("--write and --check: one of them")
    table = "\n".join(_lines())
    path = write or check
    if path is None:
        click.echo(table)
        return 0
    before, present, after = _split(path)
    if present.strip() == table:
        click.echo(f"{path} is up to date")
        return 0
    if check:
        click.echo(f"{path} is out of date: juham matrix --write {path}", err=True)
        return 1
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    click.echo(f"{path} is written")
    return 0


def _lines() -> Iterator[str]:
    infos = [info for info in discovery.backends() if not info.blocked]
    classes: list[type[JMqtt]] = [factory.load(info.full_name) for info in infos]
    yield _row("", (f"`{info.name}`" for info in infos))
    yield _row("---", (":---:" for _ in infos))
    yield _row("distribution", (info.distribution for info in infos))
    yield _row("library", (cls.library or "–" for cls in classes))  # noqa: RUF001  # a dash in a cell
    for name, meaning, _ in Capabilities().rows():
        yield _row(meaning, ("✓" if getattr(cls.capabilities, name) else "–" for cls in classes))  # noqa: RUF001


def _row(title: str, cells: Iterator[str]) -> str:
    return f"| {' | '.join([title, *cells])} |"


def _split(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    present, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{path} has no place for the matrix: write {BEGIN} and below it {END} there")
    return before, present, after
