"""A cluster of RabbitMQ nodes: they listen on 127.0.0.1 only, and are gone when the test is."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

SCRIPTS = max(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), default=None)
"""Where Debian's package has the scripts that start a node as it is, and not as a service."""

_SETTINGS = """
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}
mqtt.allow_anonymous = true
mqtt.durable_queue_type = quorum
cluster_formation.peer_discovery_backend = classic_config
{peers}
log.file.level = info
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 2GB
"""
_QUIET = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
"""Erlang's schedulers: two, and none that waits at the machine's expense."""
_KEEPER = """
while read -r id; do ids="$ids $id"; done
for id in $ids; do kill -s KILL -- "-$id"; done
rm -rf "$1"
"""
"""Kills the process groups that it was told of, once nobody is left to tell it of more, and removes $1."""
_PATIENCE = 120.0
_STARTS = (40.0, 40.0, _PATIENCE)
"""Seconds for each start of a node that was killed. One takes 4 to 20; but the MQTT plugin of 3.10 first asks
its peers for the members of its Raft group, and may wait 100 seconds for the answer. An operator would start
it again, too."""

_log = logging.getLogger(__name__)


def free_ports(count):
    """Ports that are free, below those that a system gives out, for the nodes listen only later."""
    found = []
    for port in random.sample(range(20_000, 32_000), 1_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports")


class Cluster:
    """Three nodes. ``kill`` and ``revive`` take a node's number; nothing is left after ``close``."""

    size = 3

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="juham-cluster-"))
        mark = secrets.token_hex(4)
        self.names = [f"rb{number}-{mark}@localhost" for number in range(self.size)]
        ports = free_ports(2 * self.size + 1)
        self.ports, self._between, self._epmd = ports[:3], ports[3:6], ports[6]
        self._processes: dict[object, subprocess.Popen[bytes]] = {}
        cookie = self._folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (self._folder / "plugins").write_text("[rabbitmq_mqtt].")
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", str(self._folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def start(self):
        """Return once all nodes are one cluster and listen."""
        self._spawn("epmd", ["epmd", "-port", str(self._epmd), "-address", "127.0.0.1"])
        # The first is there before the others look for it: each must find the same cluster.
        for numbers in ([0], [1, 2]):
            for number in numbers:
                self._start_node(number)
            for number in numbers:
                self._wait_listening(number)
        members = self.members()
        assert sorted(members) == sorted(self.names), members

    def kill(self, number):
        """End a node at once, as a failing machine would."""
        self._end(number)

    def revive(self, number):
        """Start a node again; return once it is back in the cluster and listens."""
        for patience in _STARTS:
            self._start_node(number)
            if self._listens(number, patience):
                return
            _log.warning("node %d does not listen: %s", number, self._said(number))
            self.kill(number)
        raise AssertionError(f"node {number} does not listen, however often it is started")

    def members(self):
        """The names of the nodes that run, in the eyes of the first."""
        return self.ask(0, "rabbit_mnesia cluster_nodes [running]")

    def ask(self, number, call):
        """Call a function in a node; the atoms in its answer, or None if the node does not answer."""
        done = subprocess.run(
            ["erl_call", "-sname", self.names[number], "-a", call],
            env=self._environment(number),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            return None
        return [each.strip(" '\n") for each in done.stdout.strip("[]\n ").split(",")]

    def url(self, backend, first):
        """The URL of all nodes, beginning with one of them."""
        ports = [self.ports[(first + step) % self.size] for step in range(self.size)]
        return f"mqtt+{backend}://" + ",".join(f"127.0.0.1:{port}" for port in ports)

    def log(self, number):
        """The end of what a node has written."""
        texts = [path.read_text(errors="replace") for path in (self._home(number) / "log").glob("*.log")]
        return "\n".join(texts)[-4000:]

    def close(self):
        """Kill everything and remove all files. May be called twice."""
        for key in list(self._processes):
            self._end(key)
        if self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        self._keeper.wait()

    def _home(self, number):
        return self._folder / f"node{number}"

    def _start_node(self, number):
        home = self._home(number)
        home.mkdir(exist_ok=True)
        peers = "\n".join(
            f"cluster_formation.classic_config.nodes.{place} = {name}"
            for place, name in enumerate(self.names, 1)
        )
        (home / "rabbitmq.conf").write_text(_SETTINGS.format(mqtt=self.ports[number], peers=peers))
        self._spawn(number, [str(SCRIPTS / "rabbitmq-server")], self._environment(number))

    def _environment(self, number):
        home = self._home(number)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ", "ERL"))},
            "HOME": str(self._folder),
            # It becomes the node itself instead of waiting for it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self.names[number],
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_DIST_PORT": str(self._between[number]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_QUIET} -kernel inet_dist_use_interface {{127,0,0,1}}",
        }

    def _spawn(self, key, command, environment=None):
        out = self._folder / f"{key}.out"
        with out.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
            )
        self._processes[key] = process
        self._keeper.stdin.write(f"{process.pid}\n".encode())
        self._keeper.stdin.flush()

    def _end(self, key):
        process = self._processes.pop(key)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _wait_listening(self, number):
        assert self._listens(number, _PATIENCE), f"node {number} does not listen: {self._said(number)}"

    def _listens(self, number, patience):
        pause = threading.Event()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            ended = self._processes[number].poll()
            assert ended is None, f"node {number} ended with {ended}: {self._said(number)}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[number]), 1):
                return True
            pause.wait(0.1)
        return False

    def _said(self, number):
        return (self._folder / f"{number}.out").read_text(errors="replace")[-2000:] + self.log(number)


def require_rabbitmq(skip, fail):
    """Skip where there is no RabbitMQ, with a word about it; where CI says so, that is a failure."""
    if SCRIPTS is None:
        reason = "no RabbitMQ on this machine: install rabbitmq-server to run the tests of the cluster"
        (fail if os.environ.get("CI") else skip)(reason)
