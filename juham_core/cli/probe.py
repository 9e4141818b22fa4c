"""What ``juham doctor`` runs in a child process: whatever an import does there, it harms nobody else.

Reads one JSON list, the name of a check and its arguments, and writes what it found as a JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

PATIENCE: Final = 60.0
"""Seconds for a child to finish; an import that waits for the network can take for ever."""


def ask(check: str, *arguments: Any, patience: float = PATIENCE) -> dict[str, Any]:
    """Run a check in a child process and return what it found, with ``error`` if it did not survive."""
    try:
        done = subprocess.run(  # noqa: S603  # this module, by this interpreter
            [sys.executable, "-m", __name__],
            input=json.dumps([check, *arguments]),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it had not finished after {patience:g} s"}
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return {"error": ": ".join([f"it ended the process it was tried in, with {how}", *last])}
    return found


def check_backend(name: str) -> dict[str, Any]:
    """Import a backend and read its class configuration."""
    from juham_core import factory  # noqa: PLC0415  # only the child needs any of this
    from juham_core.errors import BackendError, ConfigError  # noqa: PLC0415

    try:
        backend = factory.load(name)
    except BackendError as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
    found: dict[str, Any] = {"library": backend.library, "transports": _transports(backend.capabilities)}
    warnings = Warnings()
    logging.getLogger("juham").addHandler(warnings)
    try:
        backend.initialize_class()
    except ConfigError as exc:
        found["configuration"] = str(exc)
    return {**found, "warnings": warnings.texts}


class Warnings(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def check_hooks() -> dict[str, Any]:
    """Load the hook plugins."""
    from juham_core.hooks import hooks  # noqa: PLC0415

    hooks.load()
    return {"plugins": sorted(hooks.plugins()), "problems": [list(problem) for problem in hooks.problems]}


def check_outbox(path: str | None) -> dict[str, Any]:
    """Try the place of an outbox, and look into the one that is there; None: only what SQLite can do here."""
    import tempfile  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from juham_core.errors import OutboxError  # noqa: PLC0415

    try:
        from juham_core.outbox.file import look_into  # noqa: PLC0415
        from juham_core.outbox.trial import try_place  # noqa: PLC0415
    except ImportError as exc:
        return {"error": f"this Python has no SQLite, so no outbox: {exc}"}
    try:
        place = try_place(path or os.path.join(tempfile.gettempdir(), f"juham-{os.getpid()}"))  # noqa: PTH118  # as it is given
        found: dict[str, Any] = asdict(place)
        where = path and os.path.expanduser(path)  # noqa: PTH111  # as it is given
        if where and os.path.exists(where):  # noqa: PTH110  # as it is given
            found["summary"] = asdict(look_into(where))
    except OutboxError as exc:
        return {"error": str(exc)}
    return found


def check_round_trip(name: str, url: str, timeout: float) -> dict[str, Any]:
    """Connect, subscribe, publish to ourselves and await the message."""
    import secrets  # noqa: PLC0415
    import time  # noqa: PLC0415

    import juham_core as juham  # noqa: PLC0415
    from juham_core.errors import JuhamError  # noqa: PLC0415
    from juham_core.message import MqttMsg  # noqa: PLC0415
    from juham_core.url import parse_url  # noqa: PLC0415

    topic, text = f"juham-doctor-{secrets.token_hex(4)}/ping", secrets.token_bytes(16)
    arrived = threading.Event()

    def came(_client: object, _userdata: object, message: MqttMsg) -> None:
        if message.payload == text:
            arrived.set()

    # What waits in an outbox is the application's to send, and the outbox may be in use.
    options = {**parse_url(url)[1], "reconnect": False, "outbox": None}
    try:
        with juham.create(name, "doctor", **options) as client:
            client.connect_to_server()
            client.wait_until_connected(timeout)
            client.loop_start()
            client.message_callback_add(topic, came)
            client.subscribe(topic, qos=1).wait(timeout)
            started = time.perf_counter()
            client.publish(topic, text, qos=1).wait(timeout)
            if not arrived.wait(timeout):
                return {"error": f"a message to {topic} did not come back within {timeout:g} s"}
            return {"milliseconds": (time.perf_counter() - started) * 1000}
    except JuhamError as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
    except Exception as exc:  # noqa: BLE001  # to be reported, whatever it is
        return {"error": f"it raised what no backend should: {type(exc).__name__}: {exc}"}


def _transports(capabilities: Any) -> list[str]:
    names = {"tcp": "tcp", "websockets": "websockets", "unix_sockets": "unix", "in_process": "memory"}
    return [transport for name, transport in names.items() if getattr(capabilities, name)]


_CHECKS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "backend": check_backend,
    "hooks": check_hooks,
    "outbox": check_outbox,
    "round_trip": check_round_trip,
}


def _main() -> None:
    # What an import prints must not come between: stdout becomes stderr, and the answer has its own way.
    answer = os.dup(1)
    os.dup2(2, 1)
    check, *arguments = json.loads(sys.stdin.read())
    found: dict[str, Any] = _CHECKS[check](*arguments)
    with os.fdopen(answer, "w", encoding="utf-8") as output:
        json.dump(found, output)
    sys.stderr.flush()
    os._exit(0)  # threads that an import has left behind are not to keep us


if __name__ == "__main__":
    _main()
