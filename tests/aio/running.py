"""How the tests of the asyncio face run: one loop each, in debug mode, with a bound."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from waiting import PATIENCE

import juham_core as juham
from juham_core.wire import Suback, Subscribe

try:
    import uvloop
except ImportError:
    uvloop = None

LONG = 6 * PATIENCE
LOOPS = [None] if uvloop is None else [None, uvloop.new_event_loop]
"""What makes the loop, None for asyncio's own."""


def run(main, factory=None):
    """Run a coroutine to its end, in a loop of its own that complains about what is forgotten."""

    async def bounded():
        return await asyncio.wait_for(main, LONG)

    if factory is None:
        return asyncio.run(bounded(), debug=True)
    loop = factory()
    try:
        return loop.run_until_complete(bounded())
    finally:
        loop.close()


async def soon(awaitable):
    """What it comes to, which may not take long."""
    return await asyncio.wait_for(awaitable, PATIENCE)


async def take(stream, count):
    """The next messages of a stream, as texts."""
    return [(await soon(anext(stream))).payload.decode() for _ in range(count)]


async def until(condition):
    """Wait for what nobody tells of."""

    async def poll():
        while not condition():  # noqa: ASYNC110  # if there were an event, the test would wait for it
            await asyncio.sleep(0.005)

    await soon(poll())


@asynccontextmanager
async def talking(backend, peer, **options):
    """A connected client, and the other end: the conversation with the scripted peer."""
    options = {"close_timeout": 0.2, **peer.options, **options}

    async def connected():
        return await juham.aio.connect(backend=backend, **options)

    connecting = asyncio.create_task(connected())
    conversation = await asyncio.to_thread(peer.take_up)
    await asyncio.to_thread(conversation.accept)
    mqtt = await soon(connecting)
    try:
        yield mqtt, conversation
    finally:
        await mqtt.close()


def refuse_to_subscribe(conversation):
    """Refuse what the client subscribes to next."""
    packet = conversation.expect(Subscribe)
    conversation.send(Suback(packet.packet_id, [0x80] * len(packet.subscriptions)))
