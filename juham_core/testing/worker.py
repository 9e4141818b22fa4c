"""A process in which ``juham conformance`` tries cases: names come in, results go out, a line each."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def main() -> None:
    """Read the suite and then names of trials from stdin, and write a result for each, as JSON."""
    out = _take_stdout()
    # Only now, for what a backend prints when it is imported must not get among the results.
    from juham_core.testing.running import suite_of  # noqa: PLC0415
    from juham_core.testing.trial import trials_of  # noqa: PLC0415

    given: dict[str, Any] = json.loads(sys.stdin.readline())
    suite = suite_of(given["backend"], given["known_failures"], given["face"])
    trials = {trial.name: trial for trial in trials_of(suite, given["url"])}
    for line in sys.stdin:
        print(json.dumps(vars(trials[line.strip()].result())), file=out, flush=True)


def _take_stdout() -> TextIO:
    """Stdout for the results alone; whatever else is printed goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
