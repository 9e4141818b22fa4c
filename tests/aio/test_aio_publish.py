"""Publishing, awaited: done when the QoS says so, and the errors that are raised then."""

from __future__ import annotations

import asyncio

import pytest
from running import run, soon, take, talking, until

import juham_core as juham


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_published_arrives(aio, observer, topic, qos):
    arrives(aio, observer, topic, qos)


@pytest.mark.needs("qos_2")
def test_what_is_published_at_qos_2_arrives(aio, observer, topic):
    arrives(aio, observer, topic, 2)


def arrives(aio, observer, topic, qos):
    observer.subscribe(topic)

    async def main():
        async with aio() as mqtt:
            receipt = await mqtt.publish(topic, "hello", qos)
            assert receipt.done()

    run(main())
    message = observer.next()
    assert (message.payload, message.qos) == (b"hello", qos)


def test_many_at_once_are_all_acknowledged_in_order(aio, observer, topic):
    observer.subscribe(topic)

    async def main():
        async with aio() as mqtt:
            await asyncio.gather(*(mqtt.publish(topic, str(n), 1) for n in range(200)))
            assert mqtt.statistics.acknowledged == 200

    run(main())
    assert observer.texts(200) == [str(n) for n in range(200)]


@pytest.mark.needs("mqtt_311")
def test_bad_input_raises_before_anything_is_sent(aio):
    async def main():
        async with aio() as mqtt:
            with pytest.raises(juham.TopicError):
                await mqtt.publish("a/#", "x")
            with pytest.raises(juham.QosError):
                await mqtt.publish("a", "x", 3)
            with pytest.raises(juham.PayloadError):
                await mqtt.publish("a", object())
            with pytest.raises(juham.NotSupportedError):
                await mqtt.publish("a", "x", properties={"content_type": "text"})
            with pytest.raises(juham.TopicError):
                await mqtt.subscribe("a/#/b")
            assert mqtt.statistics.published == 0

    run(main())


def test_the_loop_gets_turns_while_somebody_publishes_without_end(aio, topic):
    async def main():
        async with aio() as mqtt:

            async def flood():
                while True:
                    await mqtt.publish(topic, b"x")

            flooding = asyncio.create_task(flood())
            for _ in range(5):
                await asyncio.sleep(0.001)
            flooding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flooding

    run(main())


@pytest.mark.needs("tcp")
def test_offline_a_message_waits_or_fails_as_its_qos_says(backend, embedded, observer_of, proxy_to, topic):
    proxy = proxy_to(embedded)
    observer = observer_of(embedded.url)
    observer.subscribe(topic)

    async def main():
        async with juham.aio.connect(
            backend=backend, **proxy.options, reconnect_min=0.01, reconnect_max=0.05
        ) as mqtt:
            proxy.refuse()
            await until(lambda: not mqtt.is_connected())
            with pytest.raises(juham.NotConnectedError):
                await mqtt.publish(topic, "lost", 0)
            waiting = asyncio.create_task(mqtt.publish(topic, "kept", 1))
            with pytest.raises(juham.ReceiptTimeoutError):
                await mqtt.publish(topic, "withdrawn", 1, timeout=0.05)
            assert mqtt.statistics.dropped["withdrawn"] == 1
            cancelled = asyncio.create_task(mqtt.publish(topic, "cancelled", 1))
            await asyncio.sleep(0)
            assert mqtt.statistics.queued == 2
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert mqtt.statistics.queued == 1
            proxy.refuse(False)
            await soon(waiting)
            await mqtt.publish(topic, "end", 1)

    run(main())
    assert observer.texts(2) == ["kept", "end"]


@pytest.mark.needs("tcp")
def test_an_acknowledgement_that_never_comes(backend, peer):
    async def main():
        async with talking(backend, peer) as (mqtt, _conversation):
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            with pytest.raises(juham.ReceiptTimeoutError):
                await mqtt.publish("a", "y", 1, timeout=0.05)
            await mqtt.close()
            with pytest.raises(juham.NotConnectedError):
                await publishing
            with pytest.raises(juham.NotConnectedError):
                await mqtt.publish("a", "z", 1)

    run(main())


def test_a_task_group_of_publishers_and_a_reader(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(f"{topic}/#", qos=1) as stream:
            reading = asyncio.create_task(take(stream, 50))
            await asyncio.gather(*(mqtt.publish(f"{topic}/{n}", str(n), 1) for n in range(50)))
            assert sorted(await reading, key=int) == [str(n) for n in range(50)]

    run(main())
