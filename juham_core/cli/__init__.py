"""The ``juham`` command: the demo, and the tools of those who operate or write a backend."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the program's, and return its exit code.

    0: all is well; 1: something is wrong, and stderr or the table says what; 2: the command was misspelt;
    130: Ctrl-C.
    """
    from juham_core.cli.app import run  # noqa: PLC0415  # whoever imports a part of the package needs no click

    return run(arguments)
