"""A Mosquitto of this machine, started when the first case wants a real broker and stopped at the end."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

_SETTINGS = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
"""


def find_mosquitto() -> str | None:
    """The path of the program, or None."""
    return shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


class Mosquitto:
    """One that listens on 127.0.0.1, on a port that was free."""

    def __init__(self) -> None:
        # Started by root, Mosquitto becomes a user of its own, who must be able to read its files.
        self._folder = Path(tempfile.mkdtemp(prefix="juham-mosquitto-"))
        self._folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> Mosquitto:
        """Return once it accepts connections; RuntimeError, with its log, if it does not."""
        for _ in range(5):
            # It cannot take a free port by itself: find one, and try again if somebody else was faster.
            with socket.create_server(("127.0.0.1", 0)) as server:
                self.port = server.getsockname()[1]
            if self._start_here():
                return self
        raise RuntimeError(f"Mosquitto does not start: {(self._folder / 'log').read_text()}")

    def _start_here(self) -> bool:
        settings = self._folder / "mosquitto.conf"
        settings.write_text(_SETTINGS.format(port=self.port))
        settings.chmod(0o644)
        program = find_mosquitto()
        if program is None:
            raise RuntimeError("there is no mosquitto on this machine")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program that was found, a file of ours
                [program, "-c", str(settings)], stdout=log, stderr=subprocess.STDOUT
            )
        pause = threading.Event()
        for _ in range(500):
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            pause.wait(0.01)
        return False

    def stop(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)


_shared: Mosquitto | None = None


def shared_mosquitto() -> Mosquitto:
    """The one that all cases of this process share; stopped when the process ends."""
    global _shared  # noqa: PLW0603 - one for the process is the point
    if _shared is None:
        _shared = Mosquitto().start()
        atexit.register(stop_shared)
    return _shared


def stop_shared() -> None:
    """Stop the shared one, if it runs."""
    global _shared  # noqa: PLW0603 - as above
    if _shared is not None:
        _shared.stop()
        _shared = None
