"""The brokers that the demo can start: the embedded one, and the Mosquitto found on the machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from juham_core.broker import EmbeddedBroker
from juham_core.errors import ConnectError, JuhamError

HOST: Final = "127.0.0.1"
_STARTUP: Final = 10.0
"""Seconds for Mosquitto to listen; it takes a fiftieth."""
_SBIN: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", r"C:\Program Files\mosquitto")
"""Where Mosquitto is installed without being on everybody's path."""


class BrokerMissingError(JuhamError):
    """The broker that was asked for is not installed, or does not start."""


@dataclass(frozen=True)
class RunningBroker:
    """A broker that accepts connections: its URL, and what to call it, in a column and in a sentence."""

    url: str
    label: str
    description: str


@contextmanager
def embedded() -> Iterator[RunningBroker]:
    """Run the embedded broker on a free port."""
    with EmbeddedBroker(HOST) as broker:
        yield RunningBroker(broker.url, "embedded", f"the embedded one at {broker.url}")


@contextmanager
def mosquitto() -> Iterator[RunningBroker]:
    """Run Mosquitto on a free port. Raises BrokerMissingError if it is not installed or does not start."""
    program = find_mosquitto()
    with tempfile.TemporaryDirectory(prefix="juham-mosquitto-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root it becomes user mosquitto, who has to read its files
        process, port = _start(program, folder)
        try:
            url = f"mqtt://{HOST}:{port}"
            yield RunningBroker(url, "mosquitto", f"Mosquitto{_version(program)} at {url}")
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def find_mosquitto() -> str:
    """The path of the program. Raises BrokerMissingError, saying how it is installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(_SBIN))
    if found is None:
        raise BrokerMissingError(
            "Mosquitto is not installed: apt-get install mosquitto (or https://mosquitto.org/download), "
            "or run with --broker embedded"
        )
    return found


def _start(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    log = folder / "log"
    for _ in range(3):  # somebody may take the free port before Mosquitto does
        port = _free_port()
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} {HOST}\n"
            "allow_anonymous true\n"
            "persistence false\n"
            "log_dest stderr\n"
            "# Else small packets wait for each other, 40 ms and more at every hop.\n"
            "set_tcp_nodelay true\n"
            "# The defaults lose messages of a client that is slow for a moment.\n"
            "max_queued_messages 0\n"
            "max_inflight_messages 0\n",
            encoding="utf-8",
        )
        config.chmod(0o644)
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # found on the machine, asked for by the user
                [program, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: the broker stays until the clients have left it
            )
        if _listens(process, port):
            return process, port
        process.kill()
        process.wait()
    reason = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise BrokerMissingError(f"{program} does not start: {reason[0]}; run with --broker embedded")


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Try to connect until it works or the process has ended."""
    for _ in range(int(_STARTUP / 0.02)):
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return False
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, 0))
        except OSError as exc:
            raise ConnectError(f"no free port on {HOST}: {exc}") from exc
        port: int = probe.getsockname()[1]
        return port


def _version(program: str) -> str:
    helped = subprocess.run(  # noqa: S603  # as above
        [program, "-h"], capture_output=True, text=True, check=False, timeout=10
    )
    first, _, _ = helped.stdout.partition("\n")
    return first.removeprefix("mosquitto version") if first.startswith("mosquitto version ") else ""
