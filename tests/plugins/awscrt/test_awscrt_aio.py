"""awscrt beside an event loop: what is published in one turn is handed to its thread together."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from waiting import PATIENCE

import juham_core as juham
from juham_core.aio import AsyncMqtt
from juham_core.wire import Puback, Publish


@asynccontextmanager
async def connected(peer, **options):
    client = juham.create("awscrt")
    client.configure(**{**peer.options, "close_timeout": 5.0, **options})
    mqtt = AsyncMqtt(client)
    connecting = asyncio.create_task(mqtt.connect())
    conversation = await asyncio.to_thread(peer.take_up)
    await asyncio.to_thread(conversation.accept)
    await connecting
    try:
        yield mqtt, conversation
    finally:
        await mqtt.close()


def take(conversation, count):
    """Acknowledge the next publishes; return what they carry."""
    taken = []
    for _ in range(count):
        packet = conversation.expect(Publish)
        conversation.send(Puback(packet.packet_id))
        taken.append(packet.payload.decode())
    return taken


@pytest.fixture
def handed_over(monkeypatch):
    """How many publishes the library was given each time."""
    counts = []
    original = juham.factory.load("awscrt")._publish_many

    def publish_many(client, messages):
        counts.append(len(messages))
        return original(client, messages)

    monkeypatch.setattr(juham.factory.load("awscrt"), "_publish_many", publish_many)
    return counts


def test_a_turn_is_handed_over_together(peer, handed_over):
    async def main():
        async with connected(peer) as (mqtt, conversation):
            coming = asyncio.create_task(asyncio.to_thread(take, conversation, 10))
            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(10)]
            await asyncio.sleep(0)
            statistics = mqtt.statistics
            assert (statistics.queued, statistics.in_flight, statistics.bytes_sent) == (10, 0, 0)
            await asyncio.gather(*calls)
            assert await coming == [str(n) for n in range(10)]
            assert (statistics.published, mqtt.statistics.acknowledged, statistics.bytes_sent) == (10, 10, 10)
            assert handed_over == [10]

    asyncio.run(main())


def test_a_loop_that_is_blocked_keeps_no_other_thread_from_publishing(peer):
    async def main():
        async with connected(peer) as (mqtt, conversation):
            came = []

            def publish():
                receipt = mqtt.client.publish("a", "other", 1)
                came.extend(take(conversation, 3))
                receipt.wait(PATIENCE)

            def block():
                thread = threading.Thread(target=publish)
                thread.start()
                thread.join()

            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(2)]
            asyncio.get_running_loop().call_soon(block)  # in the turn in which they are published
            await asyncio.gather(*calls)
            assert came == ["0", "1", "other"]

    asyncio.run(main())


def test_a_loop_that_is_closed_in_the_same_turn(peer):
    """Closing the client sends it, and the receipts say so."""
    loop = asyncio.new_event_loop()
    scope = connected(peer)
    mqtt, conversation = loop.run_until_complete(scope.__aenter__())
    receipts = []
    client = mqtt.client
    publish = client.publish
    client.publish = lambda *args: receipts.append(publish(*args)) or receipts[-1]

    async def publish_and_end():
        calls = [asyncio.ensure_future(mqtt.publish("a", n, 1)) for n in range(3)]
        loop.call_soon(loop.stop)
        await asyncio.wait(calls)

    unfinished = [loop.create_task(publish_and_end())]
    loop.run_forever()
    unfinished += asyncio.all_tasks(loop)
    for task in unfinished:
        task._log_destroy_pending = False  # that they are never finished is the point
    loop.close()
    assert client.statistics.queued == 3
    taking = threading.Thread(target=take, args=(conversation, 3))
    taking.start()
    client.disconnect_from_server()
    taking.join(PATIENCE)
    assert [receipt.wait(0).done() for receipt in receipts] == [True] * 3


def test_a_publish_while_the_loop_does_not_run(peer):
    loop = asyncio.new_event_loop()
    scope = connected(peer)
    mqtt, conversation = loop.run_until_complete(scope.__aenter__())
    try:
        mqtt.client.publish("a", "outside", 1)
        assert take(conversation, 1) == ["outside"]
    finally:
        loop.run_until_complete(scope.__aexit__(None, None, None))
        loop.close()


def test_the_one_of_several_that_awscrt_refuses_fails_by_itself(peer, monkeypatch):
    async def main():
        async with connected(peer) as (mqtt, conversation):
            messages = mqtt.client._link.messages
            publish = messages.publish

            def refuse(client, message, answered):
                if message.payload == b"1":
                    raise RuntimeError("awscrt says no")
                publish(client, message, answered)

            # What awscrt refuses at the call JMqtt has refused before, as far as is known.
            monkeypatch.setattr(messages, "publish", refuse)
            coming = asyncio.create_task(asyncio.to_thread(take, conversation, 3))
            results = await asyncio.gather(
                *(mqtt.publish("a", n, 1) for n in range(4)), return_exceptions=True
            )
            assert await coming == ["0", "2", "3"]
            assert [type(result) for result in results].count(juham.PublishError) == 1
            assert "awscrt says no" in str(results[1])
            statistics = mqtt.statistics
            assert (statistics.in_flight, statistics.queued, statistics.acknowledged) == (0, 0, 3)

    asyncio.run(main())


def test_a_connection_that_ends_in_the_same_turn_keeps_it_for_the_next(peer):
    async def main():
        async with connected(peer, reconnect_min=0.01, reconnect_max=0.02) as (mqtt, conversation):
            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(3)]
            conversation.reset()
            again = await asyncio.to_thread(peer.take_up)
            await asyncio.to_thread(again.accept)
            assert await asyncio.to_thread(take, again, 3) == list("012")
            await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)

    asyncio.run(main())
