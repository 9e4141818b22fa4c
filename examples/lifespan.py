"""MQTT in a web application: one client for as long as the application lives.

FastAPI and Starlette call such a function themselves: ``FastAPI(lifespan=lifespan)``. The broker is that of
the environment variable JUHAM_URL, else the one on this machine. Run it: ``python examples/lifespan.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import juham_core as juham


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """What happens before the first request and after the last."""
    app.state.temperatures = {}
    async with juham.aio.connect(name="web") as mqtt, mqtt.messages("home/+/temperature", qos=1) as stream:
        app.state.mqtt = mqtt
        following = asyncio.create_task(follow(stream, app.state.temperatures))
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def follow(stream: juham.aio.Stream, temperatures: dict[str, float]) -> None:
    """Keep the latest temperature of every room."""
    async for message in stream:
        room = message.topic.split("/")[1]
        with suppress(ValueError):  # a sensor that sends no number changes nothing
            temperatures[room] = float(message.payload)


# Two endpoints; with FastAPI they would be decorated with @app.get and @app.put.


async def read_temperature(app: Any, room: str) -> dict[str, Any]:
    """The last temperature that has been heard of."""
    return {"room": room, "temperature": app.state.temperatures.get(room)}


async def switch_lamp(app: Any, room: str, on: bool) -> dict[str, Any]:
    """Answer once the broker has the command; the framework makes an error page of what this raises."""
    await app.state.mqtt.publish(f"home/{room}/lamp/set", "ON" if on else "OFF", qos=1, timeout=5)
    return {"room": room, "lamp": on}


async def main() -> None:
    """Live for a moment, and serve two requests."""
    app = SimpleNamespace(state=SimpleNamespace())
    async with lifespan(app):
        print(await switch_lamp(app, "hall", on=True))
        print(await read_temperature(app, "hall"))


if __name__ == "__main__":
    asyncio.run(main())
