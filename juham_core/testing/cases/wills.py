"""Cases about how a client leaves: with DISCONNECT and no will, unless it crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit

_PROGRAM = """
import importlib, json, operator, sys
told = json.loads(sys.stdin.readline())
sys.path[:0] = told["path"]
backend = operator.attrgetter(told["name"])(importlib.import_module(told["module"]))
client = backend("crash")
client.configure(**told["options"])
if told["by_asyncio"]:
    client = importlib.import_module("juham_core.testing.asyncio_face").AsyncioFace(client)
client.will_set(told["topic"], b"crashed", qos=1)
client.connect_to_server()
client.wait_until_connected(10)
print("connected", flush=True)
sys.stdin.read()
"""


class WillCases:
    """The subject ``reconnect``, continued."""

    @case("reconnect.disconnect_packet", on=FAULTS)
    def disconnect_packet(self, kit: Kit) -> None:
        """A deliberate disconnect says DISCONNECT, with reason 0, before it closes (MQTT 5 section 3.14)."""
        client = kit.connect()
        client.publish(kit.topic, b"x", qos=0)
        client.disconnect_from_server()
        assert kit.broker.wait_for("disconnect").reason_code == 0
        kit.broker.wait_until(lambda: not kit.broker.connections, what="the connection to be closed")
        kinds = [entry.kind for entry in kit.broker.log if not entry.sent]
        assert kinds == ["accept", "connect", "publish", "disconnect", "lost"]

    @case("reconnect.no_will_on_disconnect")
    def no_will_on_disconnect(self, kit: Kit) -> None:
        """After a deliberate disconnect the broker sends no will (MQTT 5 section 3.1.2.5)."""
        observer = kit.observer(f"{kit.topic}/#")
        client = kit.create()
        client.will_set(f"{kit.topic}/will", b"gone", qos=1)
        kit.connect(client)
        client.publish(f"{kit.topic}/last", b"words", qos=1)
        client.disconnect_from_server()
        assert observer.message().payload == b"words"
        assert observer.drain() == []

    @case("reconnect.will_after_loss", on=FAULTS)
    def will_after_loss(self, kit: Kit) -> None:
        """When a connection is lost the broker sends the will, and the next connection brings it anew."""
        observer = kit.observer(f"{kit.topic}/will")
        client = kit.create()
        client.will_set(f"{kit.topic}/will", b"gone", qos=1)
        kit.connect(client)
        for connection in (2, 3):
            kit.broker.wait_for("connack", sent=True, connection=connection)
            kit.broker.reset(connection)
            assert observer.message().payload == b"gone"

    @case("reconnect.will_after_crash", needs="tcp")
    def will_after_crash(self, kit: Kit) -> None:
        """When the program is killed the broker sends its will (MQTT 5 section 3.1.2.5)."""
        observer = kit.observer(f"{kit.topic}/will")
        program = _program_with(kit, kit.create(), f"{kit.topic}/will")
        assert program.stdout is not None
        assert program.stdout.readline().strip() == b"connected"
        assert observer.drain() == []
        program.kill()
        assert observer.message().payload == b"crashed"


def _program_with(kit: Kit, client: JMqtt, topic: str) -> subprocess.Popen[bytes]:
    """A program of its own that connects a client like this one, and says so."""
    own = Kit.seen_by_hooks(client)
    told = {
        "path": sys.path,
        "module": type(own).__module__,
        "name": type(own).__qualname__,
        "by_asyncio": own is not client,
        "options": {name: value for name, value in vars(client.options).items() if _is_plain(value)},
        "topic": topic,
    }
    program = subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def end() -> None:
        program.kill()
        program.communicate()

    kit.keep(end)
    assert program.stdin is not None
    program.stdin.write(json.dumps(told).encode() + b"\n")
    program.stdin.flush()
    return program


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
