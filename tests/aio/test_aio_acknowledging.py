"""Manual acknowledgement: a scope that acknowledges if its body ends well."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from running import run, soon, take, until

import juham_core as juham

MORE = 50
"""More messages than fit into a broker's window."""


@pytest.mark.needs("manual_ack", "persistent_session")
def test_what_raises_comes_again(aio, topic):
    session = {"client_id": f"ack-{secrets.token_hex(6)}", "clean_start": False, "manual_ack": True}

    async def main():
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.subscribe(topic, 1)  # which the session keeps
            for name in ("good", "bad"):
                await mqtt.publish(topic, name, 1)
            async with (await soon(anext(stream))).acknowledging() as message:
                assert message.payload == b"good"
            with pytest.raises(ValueError, match="as planned"):
                async with (await soon(anext(stream))).acknowledging():
                    raise ValueError("as planned")
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as stream:
            assert await take(stream, 1) == ["bad"]

    run(main())


@pytest.mark.needs("manual_ack", "persistent_session")
def test_what_is_cancelled_comes_again(aio, topic):
    session = {"client_id": f"ack-{secrets.token_hex(6)}", "clean_start": False, "manual_ack": True}

    async def main():
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.subscribe(topic, 1)  # which the session keeps
            await mqtt.publish(topic, "x", 1)
            entered = asyncio.Event()

            async def work():
                async with (await soon(anext(stream))).acknowledging():
                    entered.set()
                    await asyncio.Event().wait()

            working = asyncio.create_task(work())
            await soon(entered.wait())
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as stream:
            assert await take(stream, 1) == ["x"]

    run(main())


@pytest.mark.needs("manual_ack", "persistent_session", "tcp")
def test_what_an_earlier_connection_has_brought_is_not_acknowledged(backend, embedded, proxy_to, topic):
    """The broker brings it again, perhaps under the identifier of another message."""
    proxy = proxy_to(embedded)
    session = {"client_id": f"ack-{secrets.token_hex(6)}", "clean_start": False, "manual_ack": True}

    async def main():
        connecting = juham.aio.connect(backend=backend, **proxy.options, **session, reconnect_min=0.01)
        async with connecting as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.publish(topic, "x", 1)
            async with (await soon(anext(stream))).acknowledging():
                proxy.cut()
                again = await soon(anext(stream))
            assert again.payload == b"x"
            proxy.cut()
            async with (await soon(anext(stream))).acknowledging() as third:
                assert third.payload == b"x"

    run(main())


@pytest.mark.needs("manual_ack", "tcp")
def test_what_ends_well_after_its_connection_has_ended_raises_nothing(backend, embedded, proxy_to, topic):
    async def main():
        proxy = proxy_to(embedded)
        options = {"manual_ack": True, "reconnect_min": 30.0, "reconnect_max": 30.0}
        connecting = juham.aio.connect(backend=backend, **proxy.options, **options)
        async with connecting as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.publish(topic, "x", 1)
            async with (await soon(anext(stream))).acknowledging() as message:
                proxy.cut()
                await until(lambda: not mqtt.is_connected())
            assert mqtt.client.ack(message.mid, 1) == 0

    run(main())


@pytest.mark.needs("manual_ack")
def test_a_callback_acknowledges_too(aio, topic):
    async def main():
        async with aio(manual_ack=True) as mqtt, mqtt.messages(f"{topic}/done", 1) as done:

            async def on_message(mqtt, userdata, message):
                async with message.acknowledging(), message.acknowledging():
                    await mqtt.publish(f"{topic}/done", message.payload, 1)

            mqtt.on_message = on_message
            await mqtt.subscribe(f"{topic}/in", 1)
            for n in range(30):  # more than fit into the broker's window
                await mqtt.publish(f"{topic}/in", n, 1)
                async with (await soon(anext(done))).acknowledging() as message:
                    assert message.payload == b"%d" % n

    run(main())


@pytest.mark.needs("manual_ack")
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "raise"])
def test_what_a_full_stream_drops_does_not_fill_the_window(aio, topic, overflow):
    async def main():
        async with (
            aio(manual_ack=True) as mqtt,
            mqtt.messages(topic, 1, max_queued=2, overflow=overflow) as stream,
            aio() as other,
        ):
            for n in range(MORE):
                await other.publish(topic, n, 1)
            await until(lambda: stream.dropped == MORE - 2)
            for n in [MORE - 2, MORE - 1] if overflow == "drop_oldest" else [0, 1]:
                async with (await soon(anext(stream))).acknowledging() as message:
                    assert message.payload == b"%d" % n

    run(main())


@pytest.mark.needs("manual_ack")
def test_what_a_stream_has_had_does_not_fill_the_window(aio, topic):
    """What is retained comes again with each subscription."""

    async def main():
        async with aio(manual_ack=True) as mqtt, aio() as other:
            await other.publish(topic, "kept", 1, retain=True)
            async with mqtt.messages(topic, 1) as stream:
                async with (await soon(anext(stream))).acknowledging() as message:
                    assert message.payload == b"kept"
                for _ in range(MORE):
                    await mqtt.subscribe(topic, 1)
                await other.publish(topic, "new", 1)
                assert await take(stream, 1) == ["new"]
            await other.publish(topic, "", 1, retain=True)

    run(main())


@pytest.mark.needs("manual_ack", "persistent_session")
def test_what_one_stream_drops_is_for_another_to_acknowledge(aio, topic):
    session = {"client_id": f"ack-{secrets.token_hex(6)}", "clean_start": False, "manual_ack": True}

    async def main():
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as whole:
            await mqtt.subscribe(topic, 1)  # which the session keeps
            async with (
                mqtt.messages(topic, 1, max_queued=1, overflow="drop_oldest") as oldest,
                mqtt.messages(topic, 1, max_queued=1, overflow="drop_newest") as newest,
            ):
                for name in ("good", "bad", "last"):
                    await mqtt.publish(topic, name, 1)
                await until(lambda: oldest.dropped == newest.dropped == 2)
                for name in ("good", "bad", "last"):
                    message = await soon(anext(whole))
                    assert message.payload == name.encode()
                    if name != "bad":
                        async with message.acknowledging():
                            pass
        async with aio(**session) as mqtt, mqtt.messages(topic, 1) as stream:
            assert await take(stream, 1) == ["bad"]
            assert stream.waiting == 0

    run(main())


@pytest.mark.needs("manual_ack")
def test_what_a_stream_drops_is_for_a_callback_to_acknowledge(aio, topic):
    async def main():
        acknowledged = []

        async def callback(mqtt, userdata, message):
            async with message.acknowledging():
                acknowledged.append(message.payload)

        full = {"max_queued": 1, "overflow": "drop_oldest"}
        async with aio(manual_ack=True) as mqtt, mqtt.messages(topic, 1, **full):
            mqtt.message_callback_add(topic, callback)
            for n in range(MORE):
                await mqtt.publish(topic, n, 1)
            await until(lambda: len(acknowledged) == MORE)

    run(main())


def test_without_manual_ack_the_scope_is_refused(aio, topic):
    async def main():
        async with aio() as mqtt, mqtt.messages(topic, 1) as stream:
            await mqtt.publish(topic, "x", 1)
            message = await soon(anext(stream))
            with pytest.raises(juham.NotSupportedError):
                async with message.acknowledging():
                    pytest.fail("the body ran")
            assert message == juham.MqttMsg(topic, b"x", 1, mid=message.mid)

    run(main())
