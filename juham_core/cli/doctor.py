"""``juham doctor``: one command that tells which plugin is broken, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from juham_core import discovery, factory, jsonfiles
from juham_core.cli import probe
from juham_core.discovery import BackendInfo
from juham_core.errors import ConfigError, JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.url import parse_url


@click.command()
@click.option(
    "--url",
    help="Connect to this broker with each backend, and send a message there and back. "
    "With mqtt+NAME:// only with the backend NAME.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds for each answer of the broker.",
)
def doctor(url: str | None, timeout: float) -> int:
    """Try every installed backend and say what is wrong, and what to do.

    Each is imported in a process of its own. The exit code is 1 if anything is wrong.
    """
    examination = Examination(url, timeout)
    examination.backends()
    examination.hooks()
    examination.configuration()
    examination.outbox()
    examination.choice()
    click.echo()
    count = examination.faults
    wrong = "1 thing is wrong." if count == 1 else f"{count} things are wrong."
    click.echo(wrong if count else "All is well.")
    return 1 if count else 0


class Examination:
    """Prints what it finds, and counts what is wrong. Raises OptionError for a bad URL."""

    def __init__(self, url: str | None, timeout: float) -> None:
        self.faults = 0
        self._url = url
        self._timeout = timeout
        self._url_backend, options = parse_url(url) if url else (None, {})
        self._where = Options(**options)
        self._configuration: dict[str, None] = {}  # problems, each once, in the order found
        self._remarks: dict[str, None] = {}

    def backends(self) -> None:
        """Import each, and connect with it if there is a URL."""
        click.echo("Backends")
        installed = discovery.backends()
        if not installed:
            self._bad("none is installed: pip install juham-paho")
        for info in installed:
            who = f"{info.name} ({info.provider})"
            if info.blocked:
                self._note(f"{who}: blocked by the environment, not tried")
                continue
            found = probe.ask("backend", info.full_name)
            if "error" in found:
                self._bad(f"{who}: {_with_advice(found['error'], info)}")
                continue
            self._good(f"{who}: imports{_library(found['library'])}")
            self._remarks.update(dict.fromkeys(found["warnings"]))
            if "configuration" in found:
                self._configuration[found["configuration"]] = None
            elif self._url and self._url_backend in (None, info.name, info.full_name):
                self._connect(info, found)

    def _connect(self, info: BackendInfo, found: dict[str, Any]) -> None:
        where = self._where.describe()
        if self._where.transport not in found["transports"]:
            self._note(f"{info.name}: does not support {where.partition(':')[0]}, not connected")
            return
        # Four waits, and the time to import and to close.
        patience = 4 * self._timeout + probe.PATIENCE
        trip = probe.ask("round_trip", info.full_name, self._url, self._timeout, patience=patience)
        if "error" in trip:
            self._bad(f"{info.name}: {trip['error']}")
        else:
            self._good(f"{info.name}: a message went to {where} and back in {trip['milliseconds']:.1f} ms")

    def hooks(self) -> None:
        """Load the hook plugins."""
        click.echo("Hooks")
        found = probe.ask("hooks")
        if "error" in found:
            self._bad(f"loading the hook plugins: {found['error']}; set JUHAM_HOOKS_BLOCK to leave one out")
            return
        for name, distribution, text in found["problems"]:
            self._bad(f"{name}{f' ({distribution})' if distribution else ''}: {text}")
        faulty = {name for name, *_ in found["problems"]}
        for name in found["plugins"]:
            if name not in faulty:
                self._good(f"{name}: loads")
        if not found["plugins"] and not found["problems"]:
            self._note("no plugin is installed")

    def configuration(self) -> None:
        """Read the files of the class configuration."""
        click.echo("Configuration")
        folder = Path(JMqtt.get_json_file()).parent
        files = sorted(folder.glob("*.json"))
        checks: list[Callable[[], object]] = [partial(jsonfiles.read_json, path) for path in files]
        checks.append(partial(factory.choose, None, self._url_backend))
        for check in checks:
            try:
                check()
            except (ConfigError, OSError) as exc:  # noqa: PERF203  # each file has troubles of its own
                self._configuration[str(exc)] = None
            except JuhamError:
                pass  # the choice has a section of its own
        for problem in self._configuration:
            self._bad(problem)
        for remark in self._remarks:
            self._note(remark)
        for path in files:
            if not any(str(path) in problem for problem in self._configuration):
                self._good(str(path))
        if not files:
            self._note(f"no file in {folder}")

    def outbox(self) -> None:
        """Try where an outbox is or would be, and look into the one that the URL names."""
        click.echo("Outbox")
        path = self._where.outbox
        if not self._url and os.environ.get("JUHAM_URL"):
            try:
                path = parse_url(os.environ["JUHAM_URL"])[1].get("outbox")
            except JuhamError as exc:
                self._bad(f"JUHAM_URL: {exc}")
                return
        found = probe.ask("outbox", path)
        if "error" in found:
            self._bad(found["error"])
            return
        tried = f"SQLite {found['sqlite']} keeps one in {found['folder']}"
        if found["journal"] == "wal":
            self._good(f"{tried}, {found['free'] / 1e6:,.0f} MB free")
        else:
            self._note(f"{tried} without a write-ahead log, which is slow: a network file system?")
        if path is None:
            self._note("the URL names none")
        elif "summary" not in found:
            self._note(f"{path} is not there yet")
        else:
            self._content(path, found["summary"])

    def _content(self, path: str, summary: dict[str, Any]) -> None:
        if summary["damage"] is not None or summary["damaged"]:
            self._bad(f"{path}: {summary['damage'] or 'it has damaged messages'}; juham outbox {path}")
        else:
            self._good(f"{path}: {summary['messages']:,} messages of {summary['size']:,} bytes wait in it")

    def choice(self) -> None:
        """Tell which backend would be used, and why."""
        click.echo("Choice")
        try:
            name = factory.choose(None, self._url_backend)
            info = discovery.find(name)
        except ConfigError:
            self._note("cannot be told before the configuration is repaired")
            return
        except JuhamError as exc:
            self._bad(str(exc))
            return
        self._good(f"{info.full_name}, because {self._reason(name)}")

    def _reason(self, name: str) -> str:
        if self._url_backend:
            return "the URL names it"
        if os.environ.get("JUHAM_BACKEND"):
            return f"JUHAM_BACKEND={os.environ['JUHAM_BACKEND']}"
        if JMqtt.backend:
            return f"{JMqtt.get_json_file()} names it"
        if name in factory.DEFAULT_BACKENDS:
            return "it is the default where nobody chooses"
        return "it is the only one installed that reaches a broker"

    def _good(self, text: str) -> None:
        click.echo(f"  {click.style('ok', fg='green')}    {text}")

    def _note(self, text: str) -> None:
        click.echo(f"  {click.style('-', dim=True)}     {text}")

    def _bad(self, text: str) -> None:
        self.faults += 1
        click.echo(f"  {click.style('wrong', fg='red')} {text}")


def _with_advice(error: str, info: BackendInfo) -> str:
    """Typed errors carry their advice; a crash cannot."""
    return error if "pip install" in error else f"{error}; pip install --force-reinstall {info.distribution}"


def _library(distribution: str) -> str:
    if not distribution:
        return ""
    try:
        return f", on {distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f", on {distribution}"
