"""Cancelled at every step that the loop makes of it, no call leaves anything behind."""

from __future__ import annotations

import asyncio
import threading

import pytest
from running import LOOPS, run, soon, until

import juham_core as juham

STEPS = 12
"""Turns of the loop after which the call, if it still runs, waits for the broker."""
WAITS = [0.0005 * 2**n for n in range(10)]


async def cancelled(make):
    """Cancel it after each of its steps, and then after longer and longer, until one is done in time."""
    interrupted = 0
    for turns, seconds in [*((turns, None) for turns in range(STEPS)), *((0, seconds) for seconds in WAITS)]:
        task = asyncio.create_task(make())
        for _ in range(turns):
            await asyncio.sleep(0)
        if seconds is not None:
            await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await soon(asyncio.wait([task]))
        if task.cancelled():
            interrupted += 1
        else:
            task.result()
            if seconds is not None:
                break
    assert interrupted, "it was done before it could be cancelled"


def nothing_is_left(mqtt):
    return (
        not mqtt._answers._awaited
        and not mqtt._streams._tree
        and not mqtt.client.subscriptions
        and mqtt.statistics.in_flight == mqtt.statistics.queued == 0
    )


def no_task_but(known):
    return asyncio.all_tasks() <= {*known, asyncio.current_task()}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("call", ["publish", "subscribe", "stream", "request"])
def test_a_call(aio, backend, topic, loop, call):
    async def main():
        before = asyncio.all_tasks()
        async with aio(protocol=5) as mqtt:

            async def publish():
                await mqtt.publish(topic, b"x", 1)

            async def subscribe():
                await mqtt.subscribe([(f"{topic}/a", 1), (f"{topic}/#", 0)])
                await mqtt.unsubscribe([f"{topic}/a", f"{topic}/#"])

            async def stream():
                async with mqtt.messages(f"{topic}/a", 1) as messages:
                    await mqtt.publish(f"{topic}/a", b"x", 1)
                    await anext(messages)

            async def request():
                with pytest.raises(juham.ReceiptTimeoutError):
                    await mqtt.request(topic, b"?", timeout=0.02)

            during = asyncio.all_tasks()  # with those of a backend that lives in this loop
            calls = {"publish": publish, "subscribe": subscribe, "stream": stream, "request": request}
            await cancelled(calls[call])
            if call == "request":
                await mqtt.unsubscribe(list(mqtt.client.subscriptions) or topic)
            await until(lambda: nothing_is_left(mqtt))
            await until(lambda: no_task_but(during))
            await mqtt.publish(topic, b"and it still works", 1)
        await until(lambda: no_task_but(before))

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_connecting(aio, topic, loop):
    async def main():
        before, threads = asyncio.all_tasks(), threading.active_count()

        async def connect():
            async with aio() as mqtt:
                await mqtt.publish(topic, b"x", 1)

        await cancelled(connect)
        await until(lambda: no_task_but(before))
        await until(lambda: threading.active_count() <= threads)

    run(main(), loop)
