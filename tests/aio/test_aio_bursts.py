"""Bursts: who reads as fast as the messages come loses none, however few may wait."""

from __future__ import annotations

import asyncio

import pytest
from running import run, soon, talking

from juham_core.wire import Publish, encode

MESSAGES = 12_000
BURST = encode(Publish("burst", b"x" * 1_000), 4) * MESSAGES
"""An event loop reads 256 KiB of it at once."""
MAY_WAIT = 2_000


@pytest.mark.needs("callers_loop")
@pytest.mark.parametrize("reader", ["stream", "function", "coroutine function"])
def test_of_a_burst_at_qos_0_nothing_is_lost(backend, peer, reader):
    run(burst(backend, peer, reader))


async def burst(backend, peer, reader):
    count = 0
    over = asyncio.Event()

    def arrived():
        nonlocal count
        count += 1
        if count == MESSAGES:
            over.set()

    async def on_message(_mqtt, _userdata, _message):
        arrived()

    async def read(stream):
        async for _ in stream:
            arrived()

    async with talking(backend, peer, max_received=MAY_WAIT) as (mqtt, conversation):
        granting = asyncio.create_task(asyncio.to_thread(conversation.grant))
        if reader == "stream":
            async with mqtt.messages("burst") as stream:
                reading = asyncio.create_task(read(stream))
                await granting
                await asyncio.to_thread(conversation.send_bytes, BURST)
                await over.wait()  # as long as the whole test may take: it is work, and no answer
            await soon(reading)
        else:
            mqtt.on_message = on_message if reader == "coroutine function" else lambda *_: arrived()
            await mqtt.subscribe("burst")
            await granting
            await asyncio.to_thread(conversation.send_bytes, BURST)
            await over.wait()
        assert mqtt.statistics.dropped == {}
    assert count == MESSAGES
