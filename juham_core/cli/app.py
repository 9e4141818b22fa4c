"""The group of commands: each module is imported when its command runs, and errors become one clear line."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

import click

from juham_core import __version__
from juham_core.errors import JuhamError

INTERRUPTED: Final = 130
"""The exit code of a program that Ctrl-C has ended: 128 + SIGINT."""

_COMMANDS: Final = {
    "demo": "Run a small house through every installed backend in turn.",
    "backends": "List the installed backends; imports none of them.",
    "doctor": "Try every installed backend and say what is wrong, and what to do.",
    "outbox": "Show what is in an outbox: messages that wait on disk for the broker.",
    "broker": "Run the embedded broker, for development and tests.",
    "matrix": "Print what each installed backend can do, as Markdown.",
    "new-backend": "Write a distribution for a backend of your own, ready to be filled in.",
    "conformance": "Try a backend on every rule of the contract.",
    "bench": "Measure backends, and the libraries underneath them, side by side.",
}


class LazyGroup(click.Group):
    """Knows its commands by name and help: ``juham backends`` is not to wait for the demo's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command and return it."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"juham_core.cli.{cmd_name.replace('-', '')}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of one that does not exist, say which is meant most likely."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            import difflib  # noqa: PLC0415  # for errors alone

            close = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(_COMMANDS)}"
            ctx.fail(f"No such command {name!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show log lines, and the traceback of an error.")
@click.version_option(__version__, prog_name="juham")
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:
    """MQTT from Python through any client library, chosen by name at run time."""
    ctx.obj = debug
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    else:
        # What matters is in the output; log lines would run through tables and the live view.
        logging.getLogger().addHandler(logging.NullHandler())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code; see :func:`juham_core.cli.main`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a degree sign still shows the numbers
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result: Any = app.main(given, prog_name="juham", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not stumble over it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (JuhamError, OSError) as exc:  # OSError: of files that are to be read or written
        if "--debug" in given:
            traceback.print_exc()
        else:
            click.echo(f"juham: {exc}", err=True)
        return 1
    return result if isinstance(result, int) else 0
