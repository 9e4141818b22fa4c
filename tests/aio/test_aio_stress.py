"""What only shows under load: cancelled calls, cut connections, encryption, large messages, eager tasks."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import sys

import pytest
from running import LOOPS, run, soon, take, until

import juham_core as juham
from juham_core.broker import EmbeddedBroker

trustme = pytest.importorskip("trustme")

LARGE = 3_000_000


@pytest.mark.needs("tcp")
def test_nothing_is_left_of_many_cancelled_calls(backend, embedded, proxy_to, topic):
    proxy = proxy_to(embedded)
    chance = random.Random(7)

    async def once(mqtt, n):
        if n % 3 == 0:
            await mqtt.publish(f"{topic}/{n}", n, 1)
        elif n % 3 == 1:
            await mqtt.subscribe(f"{topic}/s{n}", 1)
            await mqtt.unsubscribe(f"{topic}/s{n}")
        else:
            async with mqtt.messages(f"{topic}/m{n % 5}", 1) as stream:
                await mqtt.publish(f"{topic}/m{n % 5}", n, 1)
                # After a cut it may have been published while nobody was subscribed.
                await asyncio.wait_for(anext(stream), 0.2)

    async def main():
        before = asyncio.all_tasks()
        options = {"reconnect_min": 0.01, "reconnect_max": 0.02, **proxy.options}
        async with juham.aio.connect(backend=backend, **options) as mqtt:
            for turn in range(6):
                tasks = [asyncio.create_task(once(mqtt, n)) for n in range(60)]
                await asyncio.sleep(chance.random() * 0.05)
                if turn % 2:
                    proxy.cut()
                for task in chance.sample(tasks, 50):
                    task.cancel()
                await soon(asyncio.gather(*tasks, return_exceptions=True))
            await until(mqtt.is_connected)
            await mqtt.publish(topic, "end", 1)
            await until(lambda: mqtt.statistics.in_flight == mqtt.statistics.queued == 0)
            left = {name for name in mqtt.client.subscriptions if "/s" not in name}
            assert left == set()
            assert not mqtt._answers._awaited
            assert not mqtt._streams._tree
        assert asyncio.all_tasks() == before

    run(main())


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.mark.needs("tls")
@pytest.mark.parametrize("loop", LOOPS)
def test_encrypted_and_large(backend, authority, tmp_path, topic, loop):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    payload = secrets.token_bytes(LARGE)

    async def main(url):
        async with (
            juham.aio.connect(url, backend=backend, ca_certs=str(trusted)) as mqtt,
            mqtt.messages(topic, 1) as stream,
        ):
            await asyncio.gather(*(mqtt.publish(topic, payload, 1) for _ in range(3)))
            for _ in range(3):
                assert (await soon(anext(stream))).payload == payload
        with pytest.raises(juham.ConnectError):
            await juham.aio.connect(url, backend=backend)  # which does not know the authority

    with EmbeddedBroker(ssl=server) as broker:
        run(main(broker.url), loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_tasks_that_begin_eagerly(aio, topic):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        seen = []

        async def at_once(mqtt, userdata, message):
            seen.append(message.payload)
            if message.payload == b"2":
                await mqtt.close()

        async with aio() as mqtt, mqtt.messages(f"{topic}/s", 1) as stream:
            mqtt.message_callback_add(f"{topic}/c", at_once)
            await mqtt.subscribe(f"{topic}/c", 1)
            for n in range(2):
                await mqtt.publish(f"{topic}/c", n, 1)
                await mqtt.publish(f"{topic}/s", n, 1)
            assert await take(stream, 2) == ["0", "1"]
            await mqtt.publish(f"{topic}/c", 2, 0)
            await until(lambda: len(seen) == 3 and not mqtt.is_connected())

    run(main())
