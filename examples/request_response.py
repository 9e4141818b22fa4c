"""Request and response: a service that does sums, and a client that asks it; MQTT 5.

Run it: ``python examples/request_response.py``, with a broker on this machine or in JUHAM_URL.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import juham_core as juham

TOPIC = "juham/sums"


async def serve(ready: asyncio.Event) -> None:
    """Answer every request, until cancelled."""
    async with (
        juham.aio.connect(name="service", protocol=5) as mqtt,
        mqtt.messages(TOPIC, qos=1) as requests,
    ):
        ready.set()
        async for request in requests:
            with suppress(juham.InvalidArgumentError):  # somebody who wants no answer
                await mqtt.respond(request, sum(json.loads(request.payload)))


async def main() -> list[int]:
    """Ask ten times at once; the answers, in the order of the questions."""
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(ready))
    await ready.wait()
    try:
        async with juham.aio.connect(name="client", protocol=5) as mqtt:
            answers = await asyncio.gather(
                *(mqtt.request(TOPIC, json.dumps(list(range(n))), timeout=5) for n in range(10))
            )
            return [int(answer.payload) for answer in answers]
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


if __name__ == "__main__":
    print(asyncio.run(main()))
