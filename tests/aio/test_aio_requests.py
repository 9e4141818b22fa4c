"""Request and response under MQTT 5."""

from __future__ import annotations

import asyncio

import pytest
from running import run, soon, until

import juham_core as juham

pytestmark = pytest.mark.needs("mqtt_5")


@pytest.fixture
def pair(aio):
    """An asking client and an answering one."""
    return aio(protocol=5), aio(protocol=5)


def doubling(topic):
    async def on_request(mqtt, userdata, message):
        await mqtt.respond(message, int(message.payload) * 2)

    async def answer(mqtt):
        mqtt.message_callback_add(topic, on_request)
        await mqtt.subscribe(topic, 1)

    return answer


def test_each_request_gets_its_own_answer(pair, topic):
    async def main():
        asking, answering = pair
        async with asking as mqtt, answering as other:
            await doubling(topic)(other)
            answers = await asyncio.gather(*(mqtt.request(topic, n, 5) for n in range(20)))
            assert [int(answer.payload) for answer in answers] == [n * 2 for n in range(20)]
            assert len(mqtt.client.subscriptions) == 1

    run(main())


def test_nobody_answers(pair, topic):
    async def main():
        async with pair[0] as mqtt:
            with pytest.raises(juham.ReceiptTimeoutError, match=topic):
                await mqtt.request(topic, "anyone?", 0.1)
            assert not mqtt._requests._waiting

    run(main())


def test_a_late_answer_is_counted(pair, topic):
    async def main():
        async with pair[0] as mqtt, pair[1] as other, other.messages(topic, 1) as requests:
            with pytest.raises(juham.ReceiptTimeoutError):
                await mqtt.request(topic, "quick!", 0.1)
            await other.respond(await soon(anext(requests)), "too late")
            await until(lambda: mqtt.statistics.dropped["late answer"] == 1)

    run(main())


def test_a_cancelled_request_leaves_nothing(pair, topic):
    async def main():
        async with pair[0] as mqtt:
            asking = asyncio.create_task(mqtt.request(topic, "x", 5))
            await asyncio.sleep(0.02)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert not mqtt._requests._waiting

    run(main())


def test_closing_ends_a_request(pair, topic):
    async def main():
        async with pair[0] as mqtt:
            asking = asyncio.create_task(mqtt.request(topic, "x", None))
            await until(lambda: mqtt.statistics.acknowledged == 1)
            await mqtt.close()
            with pytest.raises(juham.NotConnectedError):
                await asking

    run(main())


def test_the_response_topic_may_be_chosen(pair, topic):
    async def main():
        async with pair[0] as mqtt, pair[1] as other:
            mqtt.response_topic = f"{topic}/mine"
            await doubling(topic)(other)
            answer = await mqtt.request(topic, 4)
            assert (answer.topic, answer.payload) == (f"{topic}/mine", b"8")

    run(main())


def test_an_answer_passes_a_stream_that_is_full(pair, topic):
    async def main():
        async with pair[0] as mqtt, pair[1] as other, mqtt.messages(f"{topic}/flood", 1, max_queued=1):
            await doubling(topic)(other)
            for n in range(5):
                await mqtt.publish(f"{topic}/flood", n, 1)
            assert (await mqtt.request(topic, 4)).payload == b"8"

    run(main())


def test_other_properties_go_along(pair, topic):
    async def main():
        async with pair[0] as mqtt, pair[1] as other, other.messages(topic, 1) as requests:
            asking = asyncio.create_task(mqtt.request(topic, "x", 5, properties={"content_type": "text"}))
            request = await soon(anext(requests))
            assert request.properties.content_type == "text"
            await other.respond(request, "y")
            assert (await asking).payload == b"y"

    run(main())


def test_what_asks_for_no_answer_gets_none(pair):
    async def main():
        async with pair[0] as mqtt:
            with pytest.raises(juham.InvalidArgumentError, match="response_topic"):
                await mqtt.respond(juham.MqttMsg("a", b"x"), "y")

    run(main())


@pytest.mark.needs("mqtt_311")
def test_mqtt_3_has_no_requests(aio):
    async def main():
        async with aio() as mqtt:
            with pytest.raises(juham.NotSupportedError, match="MQTT 5"):
                await mqtt.request("a", "x")

    run(main())
