"""paho beside an event loop, which writes what is published in it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from scripted import ScriptedPeer
from waiting import PATIENCE

import juham_core as juham
from juham_core.wire import Disconnect, Puback, Publish

pytestmark = pytest.mark.parametrize("kind", ["paho", "paho2"])
LARGE = b"x" * 300_000


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()


@asynccontextmanager
async def connected(kind, peer):
    client = juham.create(kind)
    client.configure(**peer.options, max_inflight=100, close_timeout=1.0)
    mqtt = juham.aio.AsyncMqtt(client)
    connecting = asyncio.create_task(mqtt.connect())
    conversation = await asyncio.to_thread(peer.take_up)
    await asyncio.to_thread(conversation.accept)
    await connecting
    try:
        yield mqtt, conversation
    finally:
        await mqtt.close()


def test_what_the_socket_does_not_take_is_sent_while_the_loop_is_busy(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            publishing = [asyncio.create_task(mqtt.publish("a", b"%d" % n + LARGE, 1)) for n in range(30)]
            for _ in range(3):
                await asyncio.sleep(0)
            for n in range(30):  # in the loop's own thread
                packet = conversation.expect(Publish)
                assert packet.payload == b"%d" % n + LARGE
                conversation.send(Puback(packet.packet_id))
            await asyncio.wait_for(asyncio.gather(*publishing), PATIENCE)

    asyncio.run(main())


def test_all_is_sent_before_disconnect(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            for n in range(20):
                await mqtt.publish("a", n)
            await mqtt.close()
            for n in range(20):
                assert conversation.expect(Publish).payload == b"%d" % n
            conversation.expect(Disconnect)

    asyncio.run(main())


def test_a_call_while_the_loop_does_not_run(kind, peer):
    loop = asyncio.new_event_loop()
    scope = connected(kind, peer)
    mqtt, conversation = loop.run_until_complete(scope.__aenter__())
    try:
        receipt = mqtt.client.publish("a", "outside", 1)
        assert conversation.take() == "outside"
        receipt.wait(PATIENCE)
    finally:
        loop.run_until_complete(scope.__aexit__(None, None, None))
        loop.close()
