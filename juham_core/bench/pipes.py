"""Processes that take orders: JSON lines on their standard input, and answers on their standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, Final

from juham_core.bench.facts import Unsuitable
from juham_core.errors import JuhamError

LONGEST: Final = 120.0
"""Seconds for an answer; a step gives up by itself long before."""


class BenchError(JuhamError):
    """A process of the bench failed; the message is what it said."""


class Worker:
    """A child process that runs a module of the bench."""

    def __init__(self, module: str, **first: Any) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own module, by our own interpreter
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._name = module.rpartition(".")[2]
        self.tell(**first)

    def tell(self, **order: Any) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as exc:
            raise BenchError(f"the bench's {self._name} process has ended") from exc

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer. Raises BenchError with what went wrong over there, or Unsuitable."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(LONGEST, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise BenchError(f"the bench's {self._name} process has ended ({self._process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "unsuitable" in answer:
            raise Unsuitable(answer["unsuitable"])
        if "error" in answer:
            raise BenchError(answer["error"])
        return answer

    def ask(self, **order: Any) -> dict[str, Any]:
        """Send an order and wait for its answer."""
        self.tell(**order)
        return self.answer()

    def close(self) -> None:
        """Have it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def own_output() -> IO[str]:
    """Take standard output for answers alone: what a library prints goes to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def say(output: IO[str], **answer: Any) -> None:
    """Send an answer."""
    output.write(json.dumps(answer) + "\n")
    output.flush()


def orders() -> Iterator[dict[str, Any]]:
    """The orders that come, until there are no more."""
    for line in sys.stdin:
        yield json.loads(line)
