"""Cases about a broker that stops reading: publishing ends in an error, and not in a dead process.

The client is in a process of its own, whose memory is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from juham_core.aio import AsyncMqtt
from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.testing.asyncio_face import AsyncioFace
from juham_core.testing.cases.publisher import client_and_arguments, start_process
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import eventually

MESSAGES: Final = 1_000_000
PAYLOAD: Final = 100
MOST: Final = 100_000_000
"""Bytes by which the process may grow."""
_AT_A_TIME: Final = 64
"""Publishes in one turn of an event loop."""


class PressureCases:
    """The subject ``endurance``, continued."""

    @case("endurance.stalled_qos_0", on=FAULTS)
    def stalled_qos_0(self, kit: Kit) -> None:
        """1,000,000 publishes of QoS 0 to a broker that reads nothing end in QueueFullError below 100 MB."""
        _press(kit, 0)

    @case("endurance.stalled_qos_1", on=FAULTS)
    def stalled_qos_1(self, kit: Kit) -> None:
        """1,000,000 publishes of QoS 1 to a broker that reads nothing end in QueueFullError below 100 MB."""
        _press(kit, 1)


def _press(kit: Kit, qos: int, **options: Any) -> None:
    if not sys.platform.startswith("linux"):
        kit.not_applicable("only Linux tells how much memory a process takes in the way that is used here")
    kit.broker.wire.enabled = False
    kit.broker.on("publish").freeze()
    # Longer than the case may take: a library that misses PINGRESP first would give the connection up.
    told = press(kit, qos, keepalive=3600, **options)
    full = told["error"].startswith("QueueFullError")
    assert full, f"{told['accepted']:,} were accepted: {told['error']}"
    assert told["grown"] < MOST, f"the process has grown by {told['grown']:,} bytes"


def press(kit: Kit, qos: int, **options: Any) -> dict[str, Any]:
    """What became of a process that publishes as much as it can: bytes ``grown``, ``accepted``, ``error``."""
    process = start_process(__name__, kit.create(reconnect=False, **options), kit.topic, qos)
    try:
        output = process.communicate()[0]
        assert output, f"the publishing process has ended with {process.returncode}"
        told: dict[str, Any] = json.loads(output)
    finally:
        process.kill()
        process.communicate()
    return told


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _stays_connected(client: JMqtt) -> bool:
    """Whether the connection outlasts a publish that failed: its end may be told of a moment later."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: not client.is_connected(), "the connection ends")
    return client.is_connected()


class _Pressing:
    """What comes of publishing as much as can be, and what it takes."""

    def __init__(self) -> None:
        self.before = self.most = _resident()
        self.error, self.accepted = "none", 0

    def go_on(self, receipt: Any) -> bool:
        """Whether to publish on, after a message."""
        if receipt.done() and receipt.exception() is not None:
            self.error = repr(receipt.exception())
            return False
        self.accepted += 1
        if self.accepted % 4096 == 0:
            self.most = max(self.most, _resident())
        return self.most - self.before <= 2 * MOST  # else it has failed: spare the machine

    def publish(self, client: JMqtt, topic: str, qos: int) -> None:
        """From a thread."""
        try:
            for number in range(MESSAGES):
                if not self.go_on(client.publish(topic, str(number).rjust(PAYLOAD), qos=qos)):
                    return
        except JuhamError as exc:
            self.error = f"{type(exc).__name__}: {exc}"

    async def publish_awaiting(self, mqtt: AsyncMqtt, topic: str, qos: int) -> None:
        """From a coroutine; what would be awaited in vain goes to the client underneath."""
        try:
            for number in range(MESSAGES):
                payload = str(number).rjust(PAYLOAD)
                if qos:
                    receipt = mqtt.client.publish(topic, payload, qos)
                    if number % _AT_A_TIME == 0:
                        await asyncio.sleep(0)
                else:
                    receipt = await mqtt.publish(topic, payload)
                if not self.go_on(receipt):
                    return
        except JuhamError as exc:
            self.error = f"{type(exc).__name__}: {exc}"


def main() -> None:
    """The process."""
    client, (topic, qos) = client_and_arguments()
    client.connect_to_server()
    client.wait_until_connected()
    client.loop_start()
    pressing, started = _Pressing(), time.monotonic()
    face: Any = client
    if isinstance(face, AsyncioFace):
        face.have_awaited(lambda mqtt: pressing.publish_awaiting(mqtt, topic, qos))
    else:
        pressing.publish(client, topic, qos)
    error, grown = pressing.error, max(pressing.most, _resident()) - pressing.before
    seconds = time.monotonic() - started
    answer = {
        "grown": grown,
        "accepted": pressing.accepted,
        "error": error,
        "connected": _stays_connected(client) if error.startswith("NotConnectedError") else True,
        "seconds": round(seconds, 2),
    }
    os.write(1, json.dumps(answer).encode())
    os._exit(0)  # what was published is of no use to anybody
