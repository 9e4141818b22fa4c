"""Trials in several processes at once, each with brokers of its own; one that dies costs a single trial."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final

from juham_core.testing.report import Result
from juham_core.testing.trial import Trial

_GRACE: Final = 60.0
"""Seconds past a case's deadline after which its process is taken for dead: it may hold the interpreter."""
_LAST_WORDS: Final = 2_000


def run_in_processes(
    suite: Mapping[str, Any],
    trials: Sequence[Trial],
    jobs: int,
    take: Callable[[Result], bool],
) -> None:
    """Try all in ``jobs`` processes; each result is given to ``take``, which tells whether to go on.

    ``suite`` is what a worker reads first: backend, known failures, URL, face. The longest cases begin first.
    """
    due: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    for trial in sorted(trials, key=lambda each: -each.case.seconds):
        due.put(trial)
    results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
    workers = [Worker(suite, due, results) for _ in range(min(jobs, len(trials)))]
    try:
        for worker in workers:
            worker.start()
        left = len(workers)
        while left:
            result = results.get()
            if result is None:
                left -= 1
            elif not take(result):
                return
    finally:
        for worker in workers:
            worker.stop()


class Worker(threading.Thread):
    """Feeds one process after another until no trial is left."""

    def __init__(
        self,
        suite: Mapping[str, Any],
        due: queue.SimpleQueue[Trial],
        results: queue.SimpleQueue[Result | None],
    ) -> None:
        super().__init__(name="conformance-worker", daemon=True)
        self._suite = suite
        self._due = due
        self._results = results
        self._process: subprocess.Popen[str] | None = None
        self._words: IO[bytes] | None = None
        self._stopping = False

    def run(self) -> None:
        """Take trials until there are no more."""
        try:
            while not self._stopping:
                try:
                    trial = self._due.get_nowait()
                except queue.Empty:
                    return
                self._results.put(self._try(trial))
        finally:
            self._results.put(None)

    def stop(self) -> None:
        """Let the process end, and what its cases shared with it."""
        self._stopping = True
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        self.join(_GRACE)
        self._end(process)

    def _try(self, trial: Trial) -> Result:
        process = self._process or self._begin()
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(trial.case.seconds + _GRACE, process.kill)
        limit.start()
        try:
            process.stdin.write(trial.name + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            limit.cancel()
        if line:
            return Result(**json.loads(line))
        code = process.wait(_GRACE)
        words = self._last_words()
        self._process = None
        self._end(process)
        return trial.ended("failed", 0.0, f"the process that tried it has died (exit code {code}): {words}")

    def _begin(self) -> subprocess.Popen[str]:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "juham_core.testing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dict(self._suite)) + "\n")
        return self._process

    def _last_words(self) -> str:
        if self._words is None:
            return ""
        size = self._words.seek(0, 2)
        self._words.seek(max(0, size - _LAST_WORDS))
        return self._words.read().decode(errors="replace").strip()

    def _end(self, process: subprocess.Popen[str] | None) -> None:
        if process is None:
            return
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if self._words is not None:
            self._words.close()
