"""A real Mosquitto for the time of a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def mosquitto(directory, *lines):
    """Start one with these lines in its configuration; gives its port."""
    port = free_port()
    config = Path(directory) / "mosquitto.conf"
    user = [] if os.name == "nt" or os.geteuid() else ["user root"]
    config.write_text("\n".join([*user, f"listener {port} 127.0.0.1", "allow_anonymous true", *lines, ""]))
    process = subprocess.Popen(
        [PROGRAM, "-v", "-c", str(config)], stderr=subprocess.PIPE, text=True, errors="replace"
    )
    ready = threading.Event()
    log = []

    def read():
        for line in process.stderr:
            log.append(line)
            if " running" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(10), "mosquitto said nothing"
        assert process.poll() is None, "".join(log)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        reader.join()
        process.stderr.close()
        if sys.exc_info()[0]:
            sys.stderr.writelines(log[-200:])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
