"""Callbacks: functions and coroutine functions, in the loop, one at a time."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from running import run, soon, take, until

import juham_core as juham


def test_coroutine_callbacks_run_one_at_a_time_in_order(aio, topic):
    log = []

    async def main():
        done = asyncio.Event()

        async def on_message(mqtt, userdata, message):
            log.append(("begins", message.payload))
            await asyncio.sleep(0.01)
            await mqtt.publish(f"{topic}/answer", message.payload, 1)
            log.append(("ends", message.payload))

        def on_answer(mqtt, userdata, message):
            log.append(("answer", message.payload))
            if message.payload == b"2":
                done.set()

        async with aio() as mqtt:
            mqtt.on_message = on_message
            assert mqtt.on_message is on_message
            mqtt.message_callback_add(f"{topic}/answer", on_answer)
            await mqtt.subscribe(f"{topic}/#", 1)
            for n in range(3):
                await mqtt.publish(f"{topic}/ask", str(n), 1)
            await soon(done.wait())
            assert mqtt.statistics.handled == 6

    run(main())
    assert [entry for entry in log if entry[0] != "answer"] == [
        (what, b"%d" % n) for n in range(3) for what in ("begins", "ends")
    ]
    assert [entry for entry in log if entry[0] == "answer"] == [("answer", b"%d" % n) for n in range(3)]


def test_several_callbacks_of_one_message(aio, topic):
    async def main():
        calls = []

        async def slow(mqtt, userdata, message):
            calls.append("slow begins")
            await asyncio.sleep(0.01)
            calls.append("slow ends")

        def quick(mqtt, userdata, message):
            calls.append("quick")

        async def last(mqtt, userdata, message):
            calls.append("last")

        async with aio() as mqtt:
            for callback in (slow, quick, last, slow):
                mqtt.message_callback_add(topic, callback)
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            await until(lambda: len(calls) == 4)
            assert calls == ["slow begins", "slow ends", "quick", "last"]
            for callback in (slow, last):
                mqtt.message_callback_remove(topic, callback)
            await mqtt.publish(topic, "x", 1)
            await until(lambda: len(calls) == 5)
            assert calls[-1] == "quick"

    run(main())


def test_handlers_run_in_the_loop_and_get_the_asyncio_face(aio):
    async def main():
        seen = []
        async with aio() as mqtt:

            async def on_disconnect(client, userdata, rc):
                await asyncio.sleep(0)
                seen.append((client, threading.current_thread(), rc))

            mqtt.on_disconnect = on_disconnect
        assert seen == [(mqtt, threading.current_thread(), 0)]

    run(main())


def test_on_connect_may_be_a_coroutine_and_subscribe(aio, backend, topic):
    async def main():
        connected = asyncio.Event()

        async def on_connect(mqtt, userdata, flags, rc):
            await mqtt.subscribe(topic, 1)
            connected.set()

        mqtt = juham.aio.AsyncMqtt(await asyncio.to_thread(aio()._create))
        mqtt.on_connect = on_connect
        async with mqtt:
            await soon(connected.wait())
            assert mqtt.client.subscriptions == {topic: 1}

    run(main())


def test_a_failing_callback_is_reported_and_the_next_one_runs(aio, topic, caplog):
    async def main():
        handled = asyncio.Event()

        async def on_message(mqtt, userdata, message):
            await asyncio.sleep(0)
            if message.payload == b"bad":
                raise ValueError("as planned")
            if message.payload == b"cancelled":
                asyncio.current_task().cancel()
                await asyncio.sleep(0)
            handled.set()

        async with aio() as mqtt:
            mqtt.on_message = on_message
            await mqtt.subscribe(topic, 1)
            for payload in ("bad", "cancelled", "good"):
                await mqtt.publish(topic, payload, 1)
            await soon(handled.wait())
            assert mqtt.statistics.handler_errors == 2
            assert mqtt.statistics.handled == 1

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "as planned" in caplog.text


def test_a_stream_may_be_read_and_a_request_waited_for_inside_a_callback(aio, topic):
    async def main():
        result = asyncio.get_running_loop().create_future()

        async def on_message(mqtt, userdata, message):
            async with mqtt.messages(f"{topic}/more", 1) as stream:
                await mqtt.publish(f"{topic}/more", "inside", 1)
                result.set_result(await take(stream, 1))

        async with aio() as mqtt:
            mqtt.message_callback_add(f"{topic}/begin", on_message)
            await mqtt.subscribe(f"{topic}/begin", 1)
            await mqtt.publish(f"{topic}/begin", "", 1)
            assert await soon(result) == ["inside"]

    run(main())


def test_closing_cancels_a_callback_that_does_not_end(aio, topic):
    async def main():
        state = []

        async def on_message(mqtt, userdata, message):
            state.append("begun")
            try:
                await asyncio.sleep(60)
            finally:
                state.append("ended")

        async with aio(close_timeout=0.1) as mqtt:
            mqtt.on_message = on_message
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            await until(lambda: state)
        assert state == ["begun", "ended"]

    run(main())


def test_closing_lets_a_callback_end(aio, topic):
    async def main():
        state = []

        async def on_message(mqtt, userdata, message):
            state.append("begun")
            await asyncio.sleep(0.05)
            state.append("ended")

        async with aio() as mqtt:
            mqtt.on_message = on_message
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            await until(lambda: state)
        assert state == ["begun", "ended"]

    run(main())


def test_a_callback_may_close_the_client(aio, topic):
    async def main():
        closed = asyncio.Event()

        async def on_message(mqtt, userdata, message):
            await mqtt.close()
            closed.set()

        async with aio() as mqtt:
            mqtt.on_message = on_message
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 0)
            await soon(closed.wait())

    run(main())


def test_no_handler_is_counted_and_a_stream_counts_as_one(aio, topic):
    async def main():
        async with aio() as mqtt:
            await mqtt.subscribe(f"{topic}/#", 1)
            await mqtt.publish(f"{topic}/nobody", "x", 1)
            await until(lambda: mqtt.statistics.dropped["no handler"] == 1)
            mqtt.on_message = print
            async with mqtt.messages(f"{topic}/a", 1) as stream:
                await mqtt.publish(f"{topic}/a", "x", 1)
                assert await take(stream, 1) == ["x"]
            assert mqtt.statistics.handler_errors == 0

    run(main())


def test_a_handler_is_callable(aio):
    async def main():
        async with aio() as mqtt:
            with pytest.raises(TypeError):
                mqtt.on_message = "no"
            mqtt.on_message = None
            assert mqtt.on_message is None

    run(main())
