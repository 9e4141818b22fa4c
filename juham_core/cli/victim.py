"""The sensor in the garden, which crashes on purpose: its will must reach the house.

Where there is a network it runs in a process of its own, which is killed: what a crash is. A client of an
in-process broker cannot leave that way; there another client takes its session over, and the broker closes
its connection without a DISCONNECT just the same (MQTT 5 section 3.1.4-3).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final, Protocol

from juham_core.cli.residents import Home
from juham_core.jmqtt import JMqtt

NAME: Final = "garden"


class Victim(Protocol):
    """Someone who crashes."""

    def crash(self) -> None:
        """Vanish without a DISCONNECT."""

    def close(self) -> str:
        """Leave nothing behind; return what it complained of. May be called without a crash."""


class ProcessVictim:
    """Runs this module in a child process, and kills it."""

    def __init__(self, home: Home, url: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this module, by this interpreter
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; it goes when we do, for its stdin ends then
        )
        stdin = self._process.stdin
        if stdin is not None:  # the URL may hold a password: not in the arguments, which everybody can read
            stdin.write(json.dumps([home.backend, url, home.prefix, home.patience]) + "\n")
            stdin.flush()

    def crash(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def close(self) -> str:
        """Kill the process unless it is gone."""
        self._process.kill()
        complaint = self._process.communicate()[1].strip()
        return complaint.splitlines()[-1] if complaint else ""


class LocalVictim:
    """A client in this process, whose session another one takes over."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = _settle(home)

    def crash(self) -> None:
        """Take the session over."""
        with self._home.client(NAME, client_id=self._client.client_id) as usurper:
            usurper.connect_to_server()
            usurper.wait_until_connected()

    def close(self) -> str:
        """Close the client."""
        self._client.disconnect_from_server()
        return ""


def _settle(home: Home) -> JMqtt:
    client = home.client(NAME, reconnect=False)
    try:
        return home.enter(client)
    except BaseException:  # the house is being left, perhaps
        client.disconnect_from_server()
        raise


def _main() -> None:
    backend, url, prefix, patience = json.loads(sys.stdin.readline())
    with _settle(Home(backend, url, prefix, patience)):
        sys.stdin.read()  # until the parent kills us, or is gone itself


if __name__ == "__main__":
    _main()
