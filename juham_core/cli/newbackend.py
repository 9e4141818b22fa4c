"""``juham new-backend``: a complete distribution for a backend, whose class says what to fill in."""

from __future__ import annotations

import datetime as dt
import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

import click

from juham_core import discovery
from juham_core.errors import ConfigError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*")
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([<>=!~][\w.,<>=!~* +-]*)?"
)
_TAKEN: Final = frozenset({"core", "memory", *discovery.PLUGINS})
"""Names of Juham's own distributions and backends, installed or not."""

_FILES: Final = {
    "setup.cfg": "setup.cfg.in",
    "pyproject.toml": "pyproject.toml.in",
    "LICENSE": "LICENSE.in",
    "README.md": "README.md.in",
    "tox.ini": "tox.ini.in",
    ".gitignore": "gitignore.in",
    ".github/workflows/ci.yml": "ci.yml.in",
    "$package/__init__.py": "package.py.in",
    "$package/py.typed": "",
    "tests/test_conformance.py": "test_conformance.py.in",
}
"""The path in the distribution, and the template it is made from."""


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write it; it must be empty or not exist.  [default: juham-NAME]",
)
@click.option("--library", default="", help="The distribution of the client library, as pip knows it.")
def new_backend(name: str, directory: Path | None, library: str) -> None:
    """Write a distribution for the backend NAME: a package, its tests, and all that is around them.

    It can be installed at once; its five methods say what to fill in, and `juham conformance NAME` says what
    to do next.
    """
    values = _values(check_name(name), library)
    folder = directory or Path(values["distribution"])
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there already and not empty: nothing was written; use --directory")
    for path in write(folder, values):
        click.echo(f"  {path}")
    click.echo("\nNext:\n")
    click.echo(f"  cd {folder}")
    click.echo('  python -m pip install -e ".[testing]"')
    click.echo(f"  juham conformance {name} -x")


def check_name(name: str) -> str:
    """Return the name of a backend to be; click.BadParameter, saying why, if it is none or taken."""
    why = ""
    if not _NAME.fullmatch(name):
        why = "a name has lowercase letters and digits and begins with a letter, to fit into mqtt+NAME://"
    elif name in _TAKEN:
        why = "that is one of Juham's own"
    else:
        same = [info for info in discovery.backends() if info.name == name]
        if same:
            why = f"{same[0].provider} provides a backend of that name"
    if why:
        raise click.BadParameter(f"{name!r} will not do: {why}", param_hint="NAME")
    return name


def _values(name: str, library: str) -> dict[str, str]:
    found = _REQUIREMENT.fullmatch(library)
    if library and found is None:
        raise click.BadParameter(f"{library!r} is no requirement such as fastmqtt>=2", param_hint="--library")
    library_name = found["name"] if found else ""
    return {
        "name": name,
        "title": name.capitalize(),
        "class_name": f"J{name.capitalize()}",
        "package": f"juham_{name}",
        "distribution": f"juham-{name}",
        "library": library_name,
        "requirement": f"\n    {library}" if library else "",
        "over_library": f" over {library_name}" if library_name else "",
        "year": str(dt.datetime.now(tz=dt.timezone.utc).year),
    }


def write(folder: Path, values: dict[str, str]) -> list[Path]:
    """Write the files and return their paths."""
    templates = resources.files("juham_core.cli") / "templates"
    written = []
    for name, template in _FILES.items():
        path = folder / Template(name).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (templates / template).read_text(encoding="utf-8") if template else ""
        path.write_text(Template(text).substitute(values), encoding="utf-8")
        written.append(path)
    return written
