"""The outbox through the asyncio face: what is accepted outlives the client, and the next one delivers it."""

import asyncio
import secrets

import pytest
from running import run, soon, until

import juham_core as juham

COUNT = 5


@pytest.fixture
def outbox(tmp_path):
    """Options of a client that keeps its publishes on disk."""
    return {"outbox": str(tmp_path / "outbox"), "client_id": secrets.token_hex(6)}


@pytest.fixture
def events():
    """What the hooks have been told, as (hook, client's name)."""
    told = []

    class Watch:
        @juham.hookimpl
        def jmqtt_connected(self, client):
            told.append(("connected", client.name))

        @juham.hookimpl
        def jmqtt_published(self, client):
            told.append(("published", client.name))

        @juham.hookimpl
        def jmqtt_disconnected(self, client):
            told.append(("disconnected", client.name))

    plugin = Watch()
    juham.hooks.hooks.register(plugin)
    yield told
    juham.hooks.hooks.unregister(plugin)


def test_what_an_earlier_client_has_left_is_delivered(backend, broker, aio, outbox, topic):
    first = juham.create(backend, **outbox)
    for number in range(COUNT):
        first.publish(topic, str(number), qos=1)
    assert first.statistics.outbox_messages == COUNT
    first.disconnect_from_server()

    async def main():
        async with aio() as other, other.messages(topic, 1) as stream, aio(**outbox) as mqtt:
            await until(lambda: mqtt.statistics.outbox_messages == 0)
            return [(await soon(anext(stream))).payload for _ in range(COUNT)]

    assert run(main()) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.needs("tcp")
def test_what_is_published_without_a_connection_outlives_the_client(
    backend, embedded, proxy_to, observer_of, outbox, events, topic
):
    proxy, observer = proxy_to(embedded), observer_of(embedded.url)
    observer.subscribe(topic)
    options = {**proxy.options, **outbox, "backend": backend, "close_timeout": 0.2}

    async def main():
        async with juham.aio.connect(name="first", **options) as mqtt:
            proxy.refuse()
            await until(lambda: not mqtt.is_connected())
            publishes = [asyncio.create_task(mqtt.publish(topic, str(number), 1)) for number in range(COUNT)]
            given_up = asyncio.create_task(mqtt.publish(topic, str(COUNT), 1))
            await until(lambda: mqtt.statistics.outbox_messages == COUNT + 1)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert mqtt.statistics.outbox_messages == COUNT + 1  # whoever waited is gone, and not the message
        ends = await asyncio.gather(*publishes, return_exceptions=True)
        assert [type(end) for end in ends] == [juham.NotConnectedError] * COUNT
        proxy.refuse(False)
        async with juham.aio.connect(name="second", **options) as mqtt:
            await until(lambda: mqtt.statistics.outbox_messages == 0)
            await mqtt.publish(topic, "last", 1)
            assert mqtt.statistics.acknowledged >= 1

    run(main())
    assert observer.texts(COUNT + 2) == [*map(str, range(COUNT + 1)), "last"]
    assert events[:2] == [("connected", "first"), ("disconnected", "first")]
    assert ("connected", "second") in events
    assert ("published", "second") in events
    assert events[-1] == ("disconnected", "second")
