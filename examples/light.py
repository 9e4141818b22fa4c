"""A light for Home Assistant: it announces itself, obeys, tells its state, and is missed when it goes.

Run it: ``JUHAM_URL=mqtt://homeassistant.local python examples/light.py``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import juham_core as juham

DISCOVERY = "homeassistant/light/juham_lamp/config"
BASE = "juham/lamp"


class Lamp:
    """What would drive the hardware."""

    def __init__(self) -> None:
        self.state = "OFF"
        self.brightness = 255

    def obey(self, command: dict[str, Any]) -> None:
        """Change what the command names."""
        self.state = str(command.get("state", self.state))
        self.brightness = int(command.get("brightness", self.brightness))

    def report(self) -> str:
        """The state, as Home Assistant's JSON schema has it."""
        return json.dumps({"state": self.state, "brightness": self.brightness})


async def announce(mqtt: juham.aio.AsyncMqtt, *_: object) -> None:
    """After every connect: after a lost one the broker has said that the lamp is offline."""
    about = {
        "name": "Lamp",
        "unique_id": "juham_lamp",
        "schema": "json",
        "brightness": True,
        "command_topic": f"{BASE}/set",
        "state_topic": f"{BASE}/state",
        "availability_topic": f"{BASE}/available",
    }
    await mqtt.publish(DISCOVERY, json.dumps(about), qos=1, retain=True)
    await mqtt.publish(f"{BASE}/available", "online", qos=1, retain=True)


async def main() -> None:
    """Serve until cancelled."""
    lamp = Lamp()
    will = juham.Will(f"{BASE}/available", b"offline", 1, True)
    async with juham.aio.connect(name="lamp", will=will) as mqtt:
        mqtt.on_connect = announce
        async with mqtt.messages(f"{BASE}/set", qos=1) as commands:
            await mqtt.publish(f"{BASE}/state", lamp.report(), qos=1, retain=True)
            try:
                async for command in commands:
                    try:
                        lamp.obey(json.loads(command.payload))
                    except (ValueError, AttributeError):
                        continue  # not for us to understand
                    await mqtt.publish(f"{BASE}/state", lamp.report(), qos=1, retain=True)
            finally:
                await mqtt.publish(f"{BASE}/available", "offline", qos=1, retain=True)


if __name__ == "__main__":
    asyncio.run(main())
