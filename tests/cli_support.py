"""What the tests of the command share: distributions made on the spot, and the command in a child process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import juham_core
from juham_core import discovery, factory
from juham_core.errors import BackendError

COMMAND = (sys.executable, "-m", "juham_core.cli")
ROOT = Path(juham_core.__file__).parents[1]

# Backends with one fault each, to be registered by the tests that must find it.
FAULTY = """
import itertools
from dataclasses import replace
from juham_core.memory import JMemory

class JLossy(JMemory):
    '''Acknowledges every tenth message and drops it.'''
    def _set_up(self, name):
        super()._set_up(name)
        self._numbers = itertools.count(1)
        self._dropped = itertools.count(1_000_000)

    def _publish(self, message):
        if message.qos and next(self._numbers) % 10 == 0:
            key = next(self._dropped)
            self._acknowledged(key)
            return key
        return super()._publish(message)

class JWilless(JMemory):
    '''Forgets the will.'''
    def _open(self, options):
        super()._open(replace(options, will=None))

class JUnretained(JMemory):
    '''Forgets the flag "retain".'''
    def _publish(self, message):
        message.retain = False
        return super()._publish(message)

class JEchoing(JMemory):
    '''Delivers everything twice.'''
    def _received(self, *args, **kwargs):
        super()._received(*args, **kwargs)
        super()._received(*args, **kwargs)

class JRaising(JMemory):
    '''Raises what no backend should.'''
    def _open(self, options):
        raise ZeroDivisionError("a foreign error")

class JElsewhere(JMemory):
    '''Does not speak MQTT 3.1.1, which the demo's URLs ask for.'''
    capabilities = replace(JMemory.capabilities, mqtt_311=False)

    def _set_up(self, name):
        super()._set_up(name)
"""


class Installed:
    """A folder of distributions, as pip would leave them; to be put on the path."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, distribution, entry_points, *, group="juham_core.backends", version="1.0", **modules):
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        for module, source in modules.items():
            (self.folder / f"{module}.py").write_text(source)
        return self

    def add_faulty(self, name, class_name):
        return self.add("acme-faulty", {name: f"acme_faulty:{class_name}"}, acme_faulty=FAULTY)


def environment(installed, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUHAM", "COLUMNS"))}
    home = installed.folder / "home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join([str(installed.folder), str(ROOT)])
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": path, **variables}


def juham(installed, *arguments, **variables):
    """Run the command to its end; stdout and stderr are pipes."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(installed, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def start(installed, *arguments, **variables):
    """Start the command; its stdout can be read line by line."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(installed, PYTHONUNBUFFERED="1", **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=_interruptible if os.name == "posix" else None,  # noqa: PLW1509  # it takes no lock
    )


def _interruptible():
    """A shell has what it starts in the background ignore SIGINT, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def network_backends():
    """The names of the installed backends that speak MQTT over TCP."""
    names = []
    for info in discovery.backends():
        try:
            if factory.load(info.full_name).capabilities.tcp:
                names.append(info.name)
        except BackendError:  # noqa: PERF203  # its own tests say what is wrong with it
            continue
    return names


def row(output, name):
    """The cells of the table's row that begins with this name."""
    rows = [line.split() for line in output.splitlines() if line.startswith(f"{name} ")]
    assert len(rows) == 1, output
    return rows[0]
