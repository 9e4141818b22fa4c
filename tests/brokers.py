"""The brokers that the tests run against: Mosquitto as a child process, certificates for TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

FOUND = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def free_port():
    """A port that was free a moment ago: Mosquitto cannot choose one by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Mosquitto:
    """A Mosquitto on a port of its own; ``users`` are let in by name and password, else everybody is."""

    settings = """
listener {port} 127.0.0.1
persistence false
max_queued_messages 0
sys_interval 1
"""

    def __init__(self, users=None):
        # Started by root, Mosquitto becomes a user of its own, who must be able to read its files.
        self._folder = Path(tempfile.mkdtemp(prefix="juham-mosquitto-"))
        self._folder.chmod(0o755)
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        for _ in range(5):
            self.port = free_port()
            if self._start_at(self.port):
                return self
        raise AssertionError(f"Mosquitto does not start: {(self._folder / 'log').read_text()}")

    def _start_at(self, port):
        settings = self._folder / "mosquitto.conf"
        settings.write_text(self.settings.format(port=port, folder=self._folder) + self._access())
        settings.chmod(0o644)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(FOUND), "-c", str(settings)], stdout=log, stderr=subprocess.STDOUT
            )
        pause = threading.Event()
        for _ in range(500):
            if self._process.poll() is not None:
                return False  # somebody else has taken the port
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            pause.wait(0.01)
        return False

    def _access(self):
        if self._users is None:
            return "allow_anonymous true\n"
        passwords = self._folder / "passwords"
        passwords.write_text("".join(f"{name}:{secret}\n" for name, secret in self._users.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
        passwords.chmod(0o644)
        return f"allow_anonymous false\npassword_file {passwords}\n"

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


def require_mosquitto(skip, fail):
    """Skip where there is no Mosquitto, with a word about it; where CI says so, that is a failure."""
    if FOUND is None:
        reason = "no mosquitto on this machine: install it to run the tests against a real broker"
        (fail if os.environ.get("CI") else skip)(reason)
