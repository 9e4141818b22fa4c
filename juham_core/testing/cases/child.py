"""What importing a backend does to a program, found out in a child process that starts from nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_PATIENCE = 60.0
_PROBE = """
import json, logging, os, signal, socket, sys, threading, warnings
sys.path[:] = json.loads(sys.argv[1])
real, made = socket.socket.__init__, []
def noticed(self, *args, **named):
    made.append(repr(args))
    real(self, *args, **named)
import juham_core, asyncio, concurrent.futures
before = {
    "environment": dict(os.environ),
    "handlers": len(logging.getLogger().handlers),
    "level": logging.getLogger().level,
    "hooks": (sys.excepthook, threading.excepthook),
    "sigint": signal.getsignal(signal.SIGINT),
    "folder": os.getcwd(),
}
socket.socket.__init__ = noticed
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    exec(sys.argv[2])
logger = logging.getLogger()
after = {
    "environment": dict(os.environ),
    "handlers": len(logger.handlers),
    "level": logger.level,
    "hooks": (sys.excepthook, threading.excepthook),
    "sigint": signal.getsignal(signal.SIGINT),
    "folder": os.getcwd(),
}
found = {
    "threads": [each.name for each in threading.enumerate() if each is not threading.main_thread()],
    "sockets": made,
    "warnings": [str(each.message) for each in warned],
    "changed": [name for name in before if before[name] != after[name]],
    "modules": sorted(sys.modules),
}
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
"""


class Effects:
    """What a piece of code has done: ``threads``, ``sockets``, ``warnings``, ``changed`` (what of the
    process), ``modules`` (all that are imported), ``files`` (written at home) and ``output``.
    """

    def __init__(self, found: dict[str, Any], files: list[str], output: str) -> None:
        self.threads: list[str] = found["threads"]
        self.sockets: list[str] = found["sockets"]
        self.warnings: list[str] = found["warnings"]
        self.changed: list[str] = found["changed"]
        self.modules: list[str] = found["modules"]
        self.files = files
        self.output = output


def effects_of(code: str) -> Effects:
    """Run a piece of code in a child process with an empty home; AssertionError if it fails."""
    with tempfile.TemporaryDirectory() as home:
        answer = Path(home) / "answer.json"
        child = subprocess.run(  # noqa: S603 - this Python, and code of the kit's own
            [sys.executable, "-c", _PROBE, json.dumps(sys.path), code, str(answer)],
            env={**os.environ, "HOME": home, "USERPROFILE": home, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert child.returncode == 0, f"{code!r} ended with:\n{child.stdout}"
        found = json.loads(answer.read_text())
        answer.unlink()
        # stevedore caches entry points under ~/.cache: the factory's doing, and the same for every backend.
        files = [
            str(path.relative_to(home))
            for path in Path(home).rglob("*")
            if path.is_file() and ".cache" not in path.relative_to(home).parts
        ]
    return Effects(found, files, child.stdout)
