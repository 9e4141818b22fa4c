"""What coroutines publish in one turn of the loop may go together; in order, and none of it is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest
from running import LOOPS, run, soon, talking, until

import juham_core as juham
from juham_core.wire import Puback, Publish, Suback, Subscribe


def what_comes(conversation, count):
    """What the broker gets: payloads, and the filters that are subscribed to; all is answered in the end."""
    got, answers = [], []
    for _ in range(count):
        packet = conversation.next()
        if isinstance(packet, Subscribe):
            answers.append(Suback(packet.packet_id, [0] * len(packet.subscriptions)))
            got.append(packet.subscriptions[0].topic_filter)
            continue
        assert isinstance(packet, Publish)
        if packet.qos:
            answers.append(Puback(packet.packet_id))
        got.append(packet.payload.decode())
    conversation.send(*answers)
    return got


@pytest.mark.needs("tcp")
@pytest.mark.parametrize("loop", LOOPS)
def test_calls_of_one_turn_go_out_in_order(backend, peer, loop):
    async def main():
        async with talking(backend, peer) as (mqtt, conversation):
            coming = asyncio.create_task(asyncio.to_thread(what_comes, conversation, 1))
            await mqtt.publish("a", "QoS 1 goes out from the moment at which this one could", 1)
            await coming
            coming = asyncio.create_task(asyncio.to_thread(what_comes, conversation, 6))
            await asyncio.gather(
                mqtt.publish("a", "first", 1),
                mqtt.publish("a", "second", 1),
                mqtt.publish("a", "third", 0),
                mqtt.publish("a", "fourth", 1),
                mqtt.subscribe("filter"),
                mqtt.publish("a", "fifth", 1),
            )
            assert await soon(coming) == ["first", "second", "third", "fourth", "filter", "fifth"]

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_threads_that_publish_at_the_same_time(aio, observer, topic, loop):
    observer.subscribe(f"{topic}/#")

    async def main():
        async with aio(max_queued=1000) as mqtt:
            client = mqtt.client

            def publish(name):
                receipts = [client.publish(f"{topic}/{name}", n, qos=1) for n in range(60)]
                for receipt in receipts:
                    receipt.wait(10)

            threads = [asyncio.to_thread(publish, name) for name in "ab"]
            turns = [mqtt.publish(f"{topic}/c", n, 1) for n in range(60)]
            await soon(asyncio.gather(*threads, *turns))
            assert mqtt.statistics.in_flight == mqtt.statistics.queued == 0
            assert mqtt.statistics.acknowledged == mqtt.statistics.published == 180

    run(main(), loop)
    messages = [observer.next() for _ in range(180)]
    for name in "abc":
        assert [int(each.payload) for each in messages if each.topic == f"{topic}/{name}"] == list(range(60))


@pytest.mark.needs("tcp")
def test_bad_input_raises_at_the_call_and_harms_nobody_else(backend, peer):
    async def main():
        async with talking(backend, peer) as (mqtt, conversation):
            coming = asyncio.create_task(asyncio.to_thread(what_comes, conversation, 2))
            one, bad, two = await asyncio.gather(
                mqtt.publish("a", "one", 1),
                mqtt.publish("a/#", "bad", 1),
                mqtt.publish("a", "two", 1),
                return_exceptions=True,
            )
            assert (one.done(), two.done(), type(bad)) == (True, True, juham.TopicError)
            assert await soon(coming) == ["one", "two"]

    run(main())


@pytest.mark.needs("tcp")
def test_a_queue_that_is_full_refuses_what_the_window_does_not_let_go(backend, peer):
    async def main():
        async with talking(backend, peer, max_inflight=3, max_queued=2) as (mqtt, conversation):
            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(6)]
            await until(calls[5].done)
            assert isinstance(calls[5].exception(), juham.QueueFullError)
            assert (mqtt.statistics.in_flight, mqtt.statistics.queued) == (3, 2)
            got = await soon(asyncio.to_thread(what_comes, conversation, 3))
            got += await soon(asyncio.to_thread(what_comes, conversation, 2))
            assert got == list("01234")
            await soon(asyncio.gather(*calls[:5]))

    run(main())


@pytest.mark.needs("tcp")
def test_closing_in_the_same_turn_sends_it_first(backend, peer):
    async def main():
        async with talking(backend, peer, close_timeout=5.0) as (mqtt, conversation):
            coming = asyncio.create_task(asyncio.to_thread(what_comes, conversation, 3))
            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(3)]
            closing = asyncio.create_task(mqtt.close())
            assert await soon(coming) == list("012")
            await soon(asyncio.gather(*calls, closing))

    run(main())


@pytest.mark.needs("tcp")
def test_closing_fails_what_is_never_acknowledged(backend, peer):
    async def main():
        async with talking(backend, peer) as (mqtt, _conversation):
            calls = [asyncio.create_task(mqtt.publish("a", n, 1)) for n in range(3)]
            await asyncio.gather(mqtt.close())
            for call in calls:
                with pytest.raises(juham.NotConnectedError):
                    await call
            assert (mqtt.statistics.in_flight, mqtt.statistics.queued) == (0, 0)

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_several_loops(aio, observer, topic, loop):
    observer.subscribe(f"{topic}/#")

    async def main(name):
        async with aio() as mqtt:
            await asyncio.gather(*(mqtt.publish(f"{topic}/{name}", n, 1) for n in range(50)))

    threads = [threading.Thread(target=run, args=(main(name), loop)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = [observer.next() for _ in range(100)]
    for name in "ab":
        assert [int(each.payload) for each in messages if each.topic == f"{topic}/{name}"] == list(range(50))
