"""``juham backends``: what is installed, by name, from package metadata alone."""

from __future__ import annotations

import json

import click

from juham_core import discovery, factory
from juham_core.cli.table import plain_table
from juham_core.discovery import BackendInfo
from juham_core.errors import JuhamError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backends(as_json: bool) -> None:
    """List the installed backends; imports none of them.

    The default is what is used where neither the program nor the URL names a backend. `juham doctor` tells
    whether they work.
    """
    installed = discovery.backends()
    default, trouble = default_backend()
    if as_json:
        click.echo(json.dumps([_as_dict(info, default) for info in installed], indent=4))
        return
    if installed:
        click.echo(
            plain_table(
                ("name", "class", "distribution", "version", ""),
                [
                    (info.name, info.class_id, info.distribution, info.version, _marks(info, default))
                    for info in installed
                ],
            )
        )
    else:
        click.echo("No backend is installed: pip install juham-paho")
    if trouble:
        click.echo(f"No default: {trouble}", err=True)


def default_backend() -> tuple[str, str]:
    """The name of the backend used where nobody names one, and else why there is none: one is empty."""
    try:
        name = factory.choose()
        discovery.find(name)
    except JuhamError as exc:
        return "", str(exc)
    return name, ""


def _is_default(info: BackendInfo, default: str) -> bool:
    return default in (info.name, info.full_name) and not info.blocked


def _marks(info: BackendInfo, default: str) -> str:
    marks = {"default": _is_default(info, default), "blocked": info.blocked}
    return ", ".join(mark for mark, applies in marks.items() if applies)


def _as_dict(info: BackendInfo, default: str) -> dict[str, object]:
    return {
        "name": info.name,
        "class_id": info.class_id,
        "distribution": info.distribution,
        "version": info.version,
        "entry_point": info.module,
        "default": _is_default(info, default),
        "blocked": info.blocked,
    }
