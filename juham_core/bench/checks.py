"""What no client is needed for: the cost of routing as subscriptions grow, and of starting."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from juham_core import discovery
from juham_core.filtertree import FilterTree

Check = dict[str, Any]
"""``what`` was measured, what was ``found``, its ``unit``, and the ``bound`` that it should keep."""

FEW: Final = 10
MANY: Final = 100_000
ENTRY_POINTS: Final = 300
_PAHO: Final = "import paho.mqtt.client as paho; paho.Client(paho.CallbackAPIVersion.VERSION2)"
_TIMED: Final = "import time; begun = time.perf_counter()\n{}\nprint(time.perf_counter() - begun)"


def routing(rounds: int = 9, topics: int = 2_000) -> list[Check]:
    """How much longer it takes to find a message's handlers among very many filters than among few.

    Topics come in an order that no cache foresees, and each is matched by one filter, in trees of three
    levels; the trees take turns.
    """
    trees = {size: _tree(size) for size in (FEW, MANY)}
    asked = {size: [_topic(number * 7_919 % size) for number in range(topics)] for size in trees}
    times: dict[int, list[float]] = {size: [] for size in trees}
    for _ in range(rounds):
        for size, tree in trees.items():
            begun = time.perf_counter()
            for topic in asked[size]:
                tree.match(topic)
            times[size].append((time.perf_counter() - begun) / topics)
    ratio = median(many / few for few, many in zip(times[FEW], times[MANY], strict=True))
    return [_check(f"a match among {MANY:,} filters against {FEW}", ratio, "times", 2.0)]


def _tree(size: int) -> FilterTree[int]:
    tree: FilterTree[int] = FilterTree()
    for number in range(size):
        room = _topic(number)
        tree.add(room if number % 2 else f"{room.rpartition('/')[0]}/+", number)
    return tree


def _topic(number: int) -> str:
    return f"house/room{number}/temperature"


def startup(rounds: int = 15) -> list[Check]:
    """What it takes to import the core, to make a client and to find backends, in fresh processes.

    Their modules are compiled already, as pip leaves them, however this process is told to keep bytecode.
    """
    with tempfile.TemporaryDirectory(prefix="juham-bench-") as folder:
        compiled, plugins = Path(folder) / "compiled", Path(folder) / "plugins"
        plugins.mkdir()
        _install(plugins)
        environment = {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
        return list(_startup(rounds, environment, {**environment, "PYTHONPATH": str(plugins)}))


def _startup(rounds: int, usual: dict[str, str], crowded: dict[str, str]) -> Iterator[Check]:
    core = "import juham_core"
    times = _interleaved({core: usual}, rounds)
    yield _check(core, 1e3 * median(times[core]), "ms", 60.0)
    if any(info.name == "paho2" and not info.blocked for info in discovery.backends()):
        ours = 'import juham_core; juham_core.create("paho2")'
        times = _interleaved({ours: usual, _PAHO: usual}, rounds)
        ratio = median(one / other for one, other in zip(times[ours], times[_PAHO], strict=True))
        yield _check('create("paho2") against paho and a Client()', ratio, "times", 1.1)
    search = "import juham_core; juham_core.backends()"
    more = search + " # more"
    times = _interleaved({search: usual, more: crowded}, rounds)
    difference = 1e3 * (median(times[more]) - median(times[search]))
    what = f"backends() with {ENTRY_POINTS} further entry points installed, how much longer"
    yield _check(what, difference, "ms", 20.0)


def _check(what: str, found: float, unit: str, bound: float) -> Check:
    return {"what": what, "found": found, "unit": unit, "bound": bound}


def _interleaved(programs: dict[str, dict[str, str]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each program takes in processes of its own, one after the other, round by round."""
    times: dict[str, list[float]] = {program: [] for program in programs}
    for number in range(rounds + 1):
        for program, environment in programs.items():
            seconds = _seconds(program, environment)
            if number:  # the first run fills the caches of the disk
                times[program].append(seconds)
    return times


def _seconds(program: str, environment: dict[str, str]) -> float:
    run = subprocess.run(  # noqa: S603  # the programs are those above
        [sys.executable, "-c", _TIMED.format(program)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(run.stdout.split()[-1])


def _install(folder: Path) -> None:
    """Make distributions there that have an entry point each, as plugins of other programs do."""
    for number in range(ENTRY_POINTS):
        info = folder / f"juham_bench_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: juham-bench-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[somebody.elses]\np{number} = module{number}:thing\n")


ALL: Final[dict[str, Callable[[], list[Check]]]] = {"routing": routing, "startup": startup}


def rows(found: list[Check]) -> Iterator[tuple[str, str, str, str]]:
    """The cells of a table: what, the figure, its bound, and whether it keeps it."""
    for one in found:
        verdict = "holds" if one["found"] <= one["bound"] else "does not hold"
        yield one["what"], f"{one['found']:.3g} {one['unit']}", f"{one['bound']:g}", verdict


COLUMNS: Final = ("what", "found", "bound", "")
