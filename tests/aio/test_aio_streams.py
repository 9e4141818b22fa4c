"""Streams: each has its messages, its queue, and a policy for when that is full."""

from __future__ import annotations

import asyncio

import pytest
from running import refuse_to_subscribe, run, soon, take, talking, until

import juham_core as juham
from juham_core.aio.streams import OVERFLOW
from juham_core.aio.subscribing import covers

SHORT = 0.05


async def ends(stream):
    with pytest.raises(StopAsyncIteration):
        await soon(anext(stream))


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_come_in_order(aio, observer, topic, qos):
    run(in_order(aio, observer, topic, qos))


@pytest.mark.needs("qos_2")
def test_messages_of_qos_2_come_in_order(aio, observer, topic):
    run(in_order(aio, observer, topic, 2))


async def in_order(aio, observer, topic, qos):
    async with aio() as mqtt, mqtt.messages(f"{topic}/#", qos) as stream:
        for n in range(20):
            observer.publish(f"{topic}/{n}", b"%d" % n, qos)
        assert await take(stream, 20) == [str(n) for n in range(20)]


def test_leaving_unsubscribes_and_ends_the_stream(aio, topic):
    async def main():
        async with aio() as mqtt:
            async with mqtt.messages(f"{topic}/a", qos=1) as stream:
                assert mqtt.client.subscriptions == {f"{topic}/a": 1}
                await mqtt.publish(f"{topic}/a", "kept", 1)
                await until(lambda: stream.waiting == 1)
            assert mqtt.client.subscriptions == {}
            assert await take(stream, 1) == ["kept"]
            await ends(stream)

    run(main())


@pytest.mark.needs("tcp")
def test_a_refused_filter_raises_and_leaves_nothing(backend, peer):
    async def main():
        async with talking(backend, peer) as (mqtt, conversation):
            entering = asyncio.create_task(mqtt.messages("forbidden", qos=1).__aenter__())
            await asyncio.to_thread(refuse_to_subscribe, conversation)
            with pytest.raises(juham.SubscribeError, match="forbidden"):
                await entering
            subscribing = asyncio.create_task(mqtt.subscribe("forbidden"))
            await asyncio.to_thread(refuse_to_subscribe, conversation)
            with pytest.raises(juham.SubscribeError) as caught:
                await subscribing
            assert caught.value.refused == {"forbidden": 0x80}
            assert mqtt.client.subscriptions == {}
            assert not mqtt._streams._tree

    run(main())


def test_streams_of_one_filter_share_the_subscription(aio, observer, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic) as one:
            async with mqtt.messages(topic) as two:
                observer.publish(topic, b"both", qos=1)
                assert await take(one, 1) == await take(two, 1) == ["both"]
            assert topic in mqtt.client.subscriptions
            observer.publish(topic, b"one", qos=1)
            assert await take(one, 1) == ["one"]
            assert one.waiting == 0

    run(main())


def test_streams_that_overlap_have_each_message_once(aio, topic):
    async def main():
        async with (
            aio() as mqtt,
            mqtt.messages(f"{topic}/+", qos=1) as narrow,
            mqtt.messages(f"{topic}/#", qos=1) as wide,
            mqtt.messages([(f"{topic}/a", 1), (f"{topic}/b", 1)]) as both,
        ):
            assert set(mqtt.client.subscriptions) == {f"{topic}/#"}
            await mqtt.unsubscribe("unknown")  # what was to be unsubscribed from, is
            for name in "ab":
                await mqtt.publish(f"{topic}/{name}", name, 1)
            for stream in (wide, narrow, both):
                assert await take(stream, 2) == ["a", "b"]
            await mqtt.publish(f"{topic}/end", "end", 1)
            assert await take(wide, 1) == ["end"]
            assert (wide.waiting, narrow.waiting, both.waiting) == (0, 1, 0)

    run(main())


def test_a_stream_goes_on_when_a_wider_one_is_left(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(f"{topic}/a", qos=1) as narrow:
            async with mqtt.messages(f"{topic}/#", qos=1):
                assert set(mqtt.client.subscriptions) == {f"{topic}/#"}
            assert set(mqtt.client.subscriptions) == {f"{topic}/a"}
            await mqtt.publish(f"{topic}/a", "x", 1)
            assert await take(narrow, 1) == ["x"]
            await mqtt.subscribe(f"{topic}/+", 1)
            async with mqtt.messages(f"{topic}/b", qos=1):
                assert set(mqtt.client.subscriptions) == {f"{topic}/+"}
            assert set(mqtt.client.subscriptions) == {f"{topic}/+"}
            await mqtt.unsubscribe(f"{topic}/+")
            assert set(mqtt.client.subscriptions) == {f"{topic}/a"}
            await mqtt.publish(f"{topic}/a", "y", 1)
            assert await take(narrow, 1) == ["y"]
        assert mqtt.client.subscriptions == {}

    run(main())


def test_a_wider_stream_of_a_lower_qos_takes_nothing_over(aio, topic):
    async def main():
        async with (
            aio() as mqtt,
            mqtt.messages(f"{topic}/#", qos=0),
            mqtt.messages(f"{topic}/a", qos=1) as narrow,
        ):
            assert mqtt.client.subscriptions == {f"{topic}/#": 0, f"{topic}/a": 1}
            await mqtt.publish(f"{topic}/a", "x", 1)
            assert await take(narrow, 1) == ["x"]

    run(main())


def test_every_stream_gets_what_is_retained_and_gets_it_once(aio, topic):
    async def main():
        async with aio() as mqtt:
            await mqtt.publish(f"{topic}/a", "kept", 1, retain=True)
            async with mqtt.messages(f"{topic}/#", qos=1) as first_one:
                assert await take(first_one, 1) == ["kept"]
                for name in ("a", "+", "#"):
                    async with mqtt.messages(f"{topic}/{name}", qos=1) as stream:
                        assert await take(stream, 1) == ["kept"]
                await mqtt.publish(f"{topic}/end", "end", 1)
                assert await take(first_one, 1) == ["end"]
            await mqtt.publish(f"{topic}/a", "", 1, retain=True)

    run(main())


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/+/c", True),
        ("a/+", "a/b", True),
        ("+/#", "a/#", True),
        ("#", "+/#", True),
        ("a/+", "a/#", False),
        ("a/b", "a/+", False),
        ("a/+/c", "a/b", False),
        ("a", "a/b", False),
        ("#", "$SYS/x", False),
        ("$share/g/#", "a", False),
    ],
)
def test_what_covers_what(wide, narrow, expected):
    assert covers(wide, narrow) is expected


def test_what_else_uses_a_filter_keeps_it(aio, topic):
    async def main():
        async with aio() as mqtt:
            assert await mqtt.subscribe(f"{topic}/a", qos=1) == {f"{topic}/a": 1}
            mqtt.message_callback_add(f"{topic}/b", print)
            async with mqtt.messages([f"{topic}/{name}" for name in "abc"], qos=1):
                await mqtt.unsubscribe(f"{topic}/c")
                assert set(mqtt.client.subscriptions) == {f"{topic}/{name}" for name in "abc"}
            assert set(mqtt.client.subscriptions) == {f"{topic}/a", f"{topic}/b"}
            await mqtt.unsubscribe([f"{topic}/a", f"{topic}/b"])
            assert mqtt.client.subscriptions == {}

    run(main())


def test_drop_oldest(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, max_queued=2, overflow="drop_oldest") as stream:
            for n in range(5):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: stream.dropped == 3)
            assert await take(stream, 2) == ["3", "4"]
            assert mqtt.statistics.dropped["stream full"] == 3

    run(main())


@pytest.mark.parametrize("overflow", OVERFLOW)
def test_every_message_is_read_or_counted(aio, topic, overflow):
    lost = 0 if overflow == "wait" else 17

    async def main():
        async with aio() as mqtt, mqtt.messages(topic, 1, max_queued=3, overflow=overflow) as stream:
            for n in range(20):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: stream.waiting == 3 and stream.dropped == lost)
            await until(lambda: mqtt.statistics.received == 20)
            first = 17 if overflow == "drop_oldest" else 0
            assert await take(stream, 20 - lost) == [str(first + n) for n in range(20 - lost)]
            if overflow == "raise":
                with pytest.raises(juham.QueueFullError, match="17 messages"):
                    await anext(stream)
            await mqtt.publish(topic, "more", 1)
            assert await take(stream, 1) == ["more"]
            assert stream.dropped == lost
            assert mqtt.statistics.dropped == ({"stream full": lost} if lost else {})

    run(main())


def test_what_waits_for_a_full_stream_until_the_client_is_closed_is_counted(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, 1, max_queued=2) as stream:
            for n in range(5):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: mqtt.statistics.received == 5 and stream.waiting == 2)
            await mqtt.close()
            assert await take(stream, 2) == ["0", "1"]
            assert stream.dropped == 3
            assert mqtt.statistics.dropped == {"closed": 3}

    run(main())


def test_drop_newest(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, max_queued=2, overflow="drop_newest") as stream:
            for n in range(5):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: stream.dropped == 3)
            assert await take(stream, 2) == ["0", "1"]
            await mqtt.publish(topic, "5", 1)
            assert await take(stream, 1) == ["5"]

    run(main())


def test_raise_says_where_messages_are_missing_and_goes_on(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, max_queued=2, overflow="raise") as stream:
            for n in range(5):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: stream.dropped == 3)
            assert await take(stream, 2) == ["0", "1"]
            with pytest.raises(juham.QueueFullError, match="3 messages"):
                await anext(stream)
            await mqtt.publish(topic, "5", 1)
            assert await take(stream, 1) == ["5"]

    run(main())


def test_wait_loses_nothing_and_others_wait_too(aio, topic):
    async def main():
        async with (
            aio() as mqtt,
            mqtt.messages(f"{topic}/slow", qos=1, max_queued=2) as slow,
            mqtt.messages(f"{topic}/fast", qos=1) as fast,
        ):
            for n in range(50):
                await mqtt.publish(f"{topic}/slow", str(n), 1)
            await mqtt.publish(f"{topic}/fast", "after all", 1)
            assert await take(slow, 10) == [str(n) for n in range(10)]
            assert slow.waiting <= 2
            assert fast.waiting == 0
            assert await take(slow, 40) == [str(n) for n in range(10, 50)]
            assert await take(fast, 1) == ["after all"]
            assert slow.dropped == 0

    run(main())


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", "34"), ("drop_newest", "01")])
def test_bytes_fill_a_stream_as_well(aio, topic, overflow, kept):
    async def main():
        async with (
            aio(max_received_bytes=2_000) as mqtt,
            mqtt.messages(topic, qos=1, overflow=overflow) as stream,
        ):
            for n in range(5):
                await mqtt.publish(topic, str(n) * 1_000, 1)
            await until(lambda: stream.dropped == 3)
            assert await take(stream, 2) == [each * 1_000 for each in kept]

    run(main())


def test_a_stream_that_is_full_of_bytes_lets_the_others_wait(aio, topic):
    async def main():
        async with aio(max_received_bytes=2_000) as mqtt, mqtt.messages(topic, qos=1) as stream:
            for n in range(4):
                await mqtt.publish(topic, str(n) * 1_000, 1)
            await until(lambda: mqtt.statistics.waiting_bytes == 2_000)
            assert stream.waiting == 2
            assert await take(stream, 4) == [str(n) * 1_000 for n in range(4)]
            assert mqtt.statistics.waiting_bytes == 0

    run(main())


def test_leaving_a_full_stream_lets_the_others_go_on(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(f"{topic}/fast", qos=1) as fast:
            async with mqtt.messages(f"{topic}/slow", qos=1, max_queued=1):
                for n in range(5):
                    await mqtt.publish(f"{topic}/slow", str(n), 1)
                await mqtt.publish(f"{topic}/fast", "free", 1)
            assert await take(fast, 1) == ["free"]

    run(main())


def test_closing_the_client_ends_its_streams(aio, topic):
    async def main():
        async with aio() as mqtt:
            async with mqtt.messages(topic, qos=1, max_queued=1) as stream:
                reading = asyncio.create_task(take(stream, 3))
                await mqtt.publish(topic, "only", 1)
                await asyncio.sleep(SHORT)
                await mqtt.close()
                with pytest.raises(StopAsyncIteration):
                    await unwrapped(reading)
            with pytest.raises(juham.NotConnectedError):
                mqtt.messages(topic)

    run(main())


async def unwrapped(reading):
    """StopAsyncIteration, out of the RuntimeError that a coroutine makes of it."""
    try:
        await soon(reading)
    except RuntimeError as exc:
        raise exc.__cause__ or exc from None


def test_a_full_stream_does_not_keep_the_client_from_closing(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, qos=1, max_queued=1) as stream:
            for n in range(5):
                await mqtt.publish(topic, str(n), 1)
            await until(lambda: stream.waiting == 1)
            before = asyncio.get_running_loop().time()
            await mqtt.close()
            assert asyncio.get_running_loop().time() - before < 1.5

    run(main())


def test_a_cancelled_reader_loses_no_message(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, qos=1) as stream:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(stream), SHORT)
            readers = [asyncio.create_task(take(stream, 1)) for _ in range(3)]
            await asyncio.sleep(SHORT)
            readers[0].cancel()
            await mqtt.publish(topic, "a", 1)
            await mqtt.publish(topic, "b", 1)
            assert [await soon(reader) for reader in readers[1:]] == [["a"], ["b"]]

    run(main())


@pytest.mark.parametrize("wrong", [{"overflow": "explode"}, {"max_queued": 0}])
def test_bad_arguments(aio, wrong):
    async def main():
        async with aio() as mqtt:
            with pytest.raises(juham.InvalidArgumentError):
                mqtt.messages("a", **wrong)

    run(main())


@pytest.mark.needs("tcp")
def test_streams_outlast_lost_connections(backend, embedded, proxy_to, topic):
    proxy = proxy_to(embedded)

    async def main():
        async with (
            juham.aio.connect(backend=backend, **proxy.options, reconnect_min=0.01) as mqtt,
            mqtt.messages(topic, qos=1) as stream,
        ):
            for n in range(3):
                await mqtt.publish(topic, str(n), 1)
                assert await take(stream, 1) == [str(n)]
                proxy.cut()
                await until(lambda: mqtt.statistics.reconnects > n)  # noqa: B023  # awaited here
                await until(mqtt.is_connected)

    run(main())


@pytest.mark.needs("tcp")
def test_streams_and_calls_raise_when_the_client_gives_up(backend, peer):
    async def main():
        async with talking(backend, peer, reconnect=False) as (mqtt, conversation):
            granting = asyncio.create_task(asyncio.to_thread(conversation.grant))
            async with mqtt.messages("a", qos=1) as stream:
                await granting
                reading = asyncio.create_task(take(stream, 1))
                publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
                await asyncio.to_thread(conversation.next)
                conversation.close()
                for task in (reading, publishing):
                    with pytest.raises(juham.ConnectError):
                        await soon(task)
                with pytest.raises(juham.ConnectError):
                    await mqtt.publish("a", "x", 1)
                with pytest.raises(juham.ConnectError):
                    await anext(stream)

    run(main())
