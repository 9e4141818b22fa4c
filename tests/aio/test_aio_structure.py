"""Connecting, cancelling, closing and loops: what is begun is ended, within a bound."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from running import run, soon, take, talking, until
from scripted import black_hole

import juham_core as juham

try:
    import uvloop
except ImportError:
    uvloop = None


def test_await_instead_of_a_scope(aio, topic):
    async def main():
        mqtt = await aio()
        assert mqtt.is_connected()
        await mqtt.publish(topic, "x", 1)
        await mqtt.close()
        await mqtt.close()
        assert not mqtt.is_connected()

    run(main())


def test_a_client_made_elsewhere_is_wrapped_and_given_back(aio, topic):
    client = aio()._create()

    async def main():
        async with juham.aio.AsyncMqtt(client) as mqtt:
            assert mqtt.client is client
            with pytest.raises(juham.ConnectError):
                await mqtt.connect()
            await mqtt.publish(topic, "x", 1)

    for _ in range(2):
        run(main())
    client.connect_to_server()
    client.wait_until_connected(5)
    client.loop_start()
    handled = threading.Event()
    client.on_message = lambda client, userdata, message: handled.set()
    client.subscribe(topic, 1).wait(5)
    client.publish(topic, "x", 1).wait(5)
    assert handled.wait(5)
    client.disconnect_from_server()


def test_a_handler_set_before_that_is_no_coroutine_runs_in_the_loop(aio, topic):
    client = aio()._create()

    async def main():
        seen = asyncio.get_running_loop().create_future()
        client.on_message = lambda client, userdata, message: seen.set_result((client, message.payload))
        async with juham.aio.AsyncMqtt(client) as mqtt:
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            assert await soon(seen) == (client, b"x")

    run(main())


def test_the_same_errors_as_without_asyncio(backend):
    async def main():
        with pytest.raises(juham.OptionError):
            await juham.aio.connect("mqtt://localhost?no=option", backend=backend)
        with pytest.raises(juham.BackendNotFoundError):
            await juham.aio.connect("mqtt://localhost", backend="no-such-backend")
        with pytest.raises(juham.NotSupportedError):
            await juham.aio.connect("mqtt://localhost", backend="memory")

    run(main())


@pytest.mark.needs("tcp")
def test_nobody_listens(backend):
    async def main():
        with pytest.raises(juham.ConnectError):
            await juham.aio.connect("mqtt://127.0.0.1:1", backend=backend)

    run(main())


@pytest.mark.needs("tcp")
def test_refused_credentials(backend, peer):
    async def main():
        connecting = asyncio.create_task(entered(juham.aio.connect(backend=backend, **peer.options)))
        conversation = await asyncio.to_thread(peer.take_up)
        await asyncio.to_thread(conversation.refuse, 0x87)
        with pytest.raises(juham.AuthError):
            await soon(connecting)

    run(main())


async def entered(connecting):
    async with connecting as mqtt:
        return mqtt


@pytest.mark.needs("tcp")
def test_no_verdict_in_time(backend, peer):
    async def main():
        with pytest.raises(juham.ConnectTimeoutError):
            await juham.aio.connect(backend=backend, timeout=0.1, **peer.options)

    run(main())


@pytest.mark.needs("tcp")
def test_a_cancelled_connect_leaves_nothing(backend, peer):
    async def main():
        for delay in (None, 0.0, 0.001, 0.01, 0.2):
            connecting = asyncio.create_task(entered(juham.aio.connect(backend=backend, **peer.options)))
            if delay is not None:
                await asyncio.sleep(delay)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(connecting)

    run(main())


@pytest.mark.needs("tcp")
def test_a_connect_that_gets_no_answer_can_be_cancelled(backend):
    async def main(where):
        before = asyncio.get_running_loop().time()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(
                entered(juham.aio.connect(backend=backend, connect_timeout=2.0, **where)), 0.1
            )
        assert asyncio.get_running_loop().time() - before < 1.9

    with black_hole() as where:
        run(main(where))


def test_an_exception_in_the_scope_passes_and_closes(aio):
    async def main():
        with pytest.raises(ValueError, match="mine"):
            async with aio() as mqtt:
                raise ValueError("mine")
        assert not mqtt.is_connected()

    run(main())


def test_cancelling_the_scope_closes(aio, topic):
    async def main():
        inside = asyncio.get_running_loop().create_future()

        async def use():
            async with aio() as mqtt, mqtt.messages(topic, 1) as stream:
                inside.set_result(mqtt)
                async for _ in stream:
                    pass

        using = asyncio.create_task(use())
        mqtt = await soon(inside)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(using)
        assert not mqtt.is_connected()
        assert mqtt.client.subscriptions == {}

    run(main())


@pytest.mark.needs("tcp")
def test_a_cancelled_subscribe_leaves_no_subscription(backend, peer):
    async def main():
        async with talking(backend, peer) as (mqtt, _conversation):
            for call in (mqtt.subscribe("a", 1), mqtt.messages("b", 1).__aenter__()):
                asking = asyncio.create_task(call)
                await asyncio.sleep(0.02)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            with pytest.raises(juham.ReceiptTimeoutError):
                await mqtt.subscribe("c", timeout=0.02)
            assert mqtt.client.subscriptions == {}
            assert not mqtt._streams._tree
            assert not mqtt._answers._awaited

    run(main())


@pytest.mark.needs("tcp")
def test_closing_is_bounded(backend, peer):
    async def main():
        loop = asyncio.get_running_loop()
        async with talking(backend, peer, close_timeout=0.2) as (mqtt, _conversation):
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            subscribing = asyncio.create_task(mqtt.subscribe("a", 1))
            await asyncio.sleep(0.02)
            before = loop.time()
            await mqtt.close()
            assert loop.time() - before < 2
            for task in (publishing, subscribing):
                with pytest.raises(juham.NotConnectedError):
                    await task

    run(main())


def test_the_loop_is_not_blocked_while_connecting_and_closing(aio):
    async def main():
        loop = asyncio.get_running_loop()
        worst = 0.0

        async def watch():
            nonlocal worst
            last = loop.time()
            while True:
                await asyncio.sleep(0.005)
                now = loop.time()
                worst, last = max(worst, now - last), now

        watching = asyncio.create_task(watch())
        async with aio():
            pass
        watching.cancel()
        assert worst < 1.0

    run(main())


def test_many_clients_in_one_loop(aio, topic):
    async def main():
        async def echo(n):
            async with aio() as mqtt, mqtt.messages(f"{topic}/{n}", 1) as stream:
                await mqtt.publish(f"{topic}/{n}", n, 1)
                assert await take(stream, 1) == [str(n)]

        await asyncio.gather(*(echo(n) for n in range(10)))

    run(main())


def test_several_loops_in_several_threads(aio, topic):
    results = []

    async def main(n):
        async with aio() as mqtt, mqtt.messages(f"{topic}/#", 1) as stream:
            await mqtt.publish(f"{topic}/{n}", n, 1)
            while (await soon(anext(stream))).payload != b"%d" % n:
                pass
            results.append(n)

    threads = [threading.Thread(target=lambda n=n: run(main(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]


def test_hooks_see_the_same(aio, topic):
    seen = []

    class Plugin:
        @juham.hookimpl
        def jmqtt_received(self, client, message):
            seen.append(("received", message.payload))

        @juham.hookimpl
        def jmqtt_handled(self, client, message, handler, seconds, exception):
            seen.append(("handled", message.payload, handler.__wrapped__, seconds > 0.01, exception))

    async def on_message(mqtt, userdata, message):
        await asyncio.sleep(0.02)

    async def main():
        async with aio() as mqtt:
            mqtt.on_message = on_message
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            await until(lambda: len(seen) == 2)

    plugin = Plugin()
    juham.hooks.register(plugin)
    try:
        run(main())
    finally:
        juham.hooks.unregister(plugin)
    assert seen == [("received", b"x"), ("handled", b"x", on_message, True, None)]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup and timeout came with Python 3.11")
def test_task_groups_and_timeouts(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, 1) as stream:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(take(stream, 5))
                for n in range(5):
                    group.create_task(mqtt.publish(topic, n, 1))
            assert sorted(reading.result()) == list("01234")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(stream)
            with pytest.raises(Exception, match="unhandled errors") as caught:
                await in_a_group(take(stream, 1), mqtt.publish("a/#", "x"))
            assert [type(error) for error in caught.value.exceptions] == [juham.TopicError]

    run(main())


async def in_a_group(*coroutines):
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


@pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")
def test_on_uvloop(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, 1) as stream:
            for n in range(20):
                await mqtt.publish(topic, n, 1)
            assert await take(stream, 20) == [str(n) for n in range(20)]

    run(main(), uvloop.new_event_loop)


@pytest.mark.needs("callers_loop")
def test_a_backend_that_lives_in_the_callers_loop_has_no_thread(aio, topic):
    async def main():
        before = set(threading.enumerate())
        async with aio() as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.publish(topic, "x", 1)
            assert await take(stream, 1) == ["x"]
            await until(lambda: set(threading.enumerate()) == before)

    run(main())


@pytest.mark.needs("tcp")
def test_an_answer_that_is_owed_for_too_long_ends_the_connection(backend, peer):
    async def main():
        async with talking(backend, peer, ack_timeout=0.2, reconnect_min=0.01) as (mqtt, _first):
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            again = await asyncio.to_thread(peer.take_up)
            await asyncio.to_thread(again.accept)
            assert await asyncio.to_thread(again.take) == "x"
            await soon(publishing)

    run(main())
