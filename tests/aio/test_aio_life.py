"""What an AsyncMqtt shares with any client: who may connect it, what its handlers are told, who may wait."""

import asyncio
import threading

import pytest
from running import run, soon, until

import juham_core as juham


def test_of_several_tasks_that_connect_one_succeeds(aio, topic):
    async def main():
        mqtt = juham.aio.AsyncMqtt(aio()._create())
        ended = await asyncio.gather(*(mqtt.connect() for _ in range(6)), return_exceptions=True)
        try:
            refused = [error for error in ended if error is not None]
            assert len(refused) == 5
            assert all(isinstance(error, juham.ConnectError) for error in refused)
            assert mqtt.is_connected()
            await soon(mqtt.publish(topic, "x", 1))
            assert mqtt.statistics.connects == 1
        finally:
            await mqtt.close()

    run(main())


@pytest.mark.parametrize("begin", ["connect", "AsyncMqtt"])
def test_without_a_loop_it_is_said_what_is_missing(aio, begin):
    """As where trio runs the coroutine."""
    mqtt = aio() if begin == "connect" else juham.aio.AsyncMqtt(aio()._create()).connect()
    with pytest.raises(juham.NotSupportedError, match="event loop of asyncio"):
        mqtt.__await__().send(None)


@pytest.mark.needs("tcp")
def test_a_refusal_is_raised_and_told_to_handlers_set_before(backend, peer):
    async def main():
        mqtt = juham.aio.AsyncMqtt(juham.create(backend, **peer.options))
        told = []

        async def on_connect(mqtt, userdata, flags, reason_code, properties):
            told.append(int(reason_code.value))

        mqtt.on_connect = on_connect
        connecting = asyncio.create_task(mqtt.connect())
        conversation = await asyncio.to_thread(peer.take_up)
        await asyncio.to_thread(conversation.refuse, 0x87)
        with pytest.raises(juham.AuthError):
            await soon(connecting)
        assert told == [0x87]
        assert not mqtt.is_connected()

    run(main())


@pytest.mark.needs("tcp")
def test_a_close_by_another_task_leaves_no_thread_for_the_handlers(backend, peer):
    async def main():
        mqtt = juham.aio.AsyncMqtt(juham.create(backend, **{"close_timeout": 0.2, **peer.options}))
        for _ in range(5):
            connecting = asyncio.create_task(mqtt.connect())
            await asyncio.to_thread(peer.take_up)
            await mqtt.close()
            with pytest.raises(juham.ConnectError):
                await soon(connecting)
            assert [each.name for each in threading.enumerate() if "handlers" in each.name] == []

    run(main())


def test_a_close_in_a_callback_is_told_to_on_disconnect_before_it_returns(aio, topic):
    async def main():
        told, closed = [], asyncio.Event()

        async def on_disconnect(mqtt, userdata, reason_code):
            await asyncio.sleep(0)
            told.append(int(reason_code))

        async def on_message(mqtt, userdata, message):
            receipts.append(mqtt.client.publish(f"{topic}/farewell", "x", 1))
            await mqtt.close()
            told.append("closed")
            closed.set()

        receipts = []
        async with aio() as mqtt:
            mqtt.on_disconnect, mqtt.on_message = on_disconnect, on_message
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 0)
            await soon(closed.wait())
        assert told == [0, "closed"]
        assert receipts[0].done()
        assert receipts[0].exception() is None

    run(main())


def test_system_exit_in_a_callback_harms_no_loop_of_another_thread(aio, topic):
    """On the main thread it ends the program, as anywhere in asyncio."""
    left = []

    async def main():
        seen = []

        def plain(mqtt, userdata, message):
            seen.append(message.payload)
            if message.payload == b"plain":
                raise SystemExit("in a function")

        async def slow(mqtt, userdata, message):
            await asyncio.sleep(0)
            raise SystemExit("in a coroutine")

        async with aio() as mqtt:
            mqtt.on_message = plain
            mqtt.message_callback_add(f"{topic}/slow", slow)
            await mqtt.subscribe(f"{topic}/#", 1)
            for name in ("plain", "slow", "last"):
                await mqtt.publish(f"{topic}/{name}", name, 1)
            await until(lambda: b"last" in seen)
            assert mqtt.statistics.handler_errors == 2
            assert mqtt.statistics.connects == 1

    def in_thread():
        try:
            run(main())
        except BaseException as exc:  # noqa: BLE001 - raised again below
            left.append(exc)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert left == []


def test_system_exit_in_a_callback_ends_the_loop_of_a_main_program(aio, topic):
    async def main():
        async with aio() as mqtt:
            mqtt.on_message = lambda *_: exit_now()
            await mqtt.subscribe(topic, 1)
            await mqtt.publish(topic, "x", 1)
            await soon(asyncio.Event().wait())

    def exit_now():
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main(), debug=True)
    assert caught.value.code == 3


@pytest.mark.needs("tcp")
def test_waiting_in_the_loop_is_refused_at_once(aio, topic):
    async def main():
        async with aio() as mqtt:
            receipt = mqtt.client.publish(topic, "x", 1)
            with pytest.raises(juham.DeadlockError, match="await"):
                receipt.wait(5)
            await soon(asyncio.to_thread(receipt.wait, 5))
            assert receipt.wait(5) is receipt  # done: there is nothing to wait for
        client = mqtt.client
        client.connect_to_server()
        await asyncio.to_thread(client.wait_until_connected, 5)
        client.publish(topic, "x", 1).wait(5)  # nothing of it belongs to the loop any more
        client.disconnect_from_server()

    run(main())


def test_the_loop_of_the_handlers_can_be_stopped_and_not_be_run(aio, topic):
    async def main():
        mqtt = juham.aio.AsyncMqtt(aio()._create())
        seen = []
        mqtt.on_message = lambda mqtt, userdata, message: seen.append(message.payload)
        await mqtt.connect()
        mqtt.client.loop_stop()
        await mqtt.subscribe(topic, 1)
        for name in ("1", "2"):
            await mqtt.publish(topic, name, 1)
        await until(lambda: mqtt.statistics.received == 2)
        assert seen == []
        with pytest.raises(juham.NotSupportedError):
            mqtt.client.loop_forever()
        mqtt.client.loop_start()
        await until(lambda: seen == [b"1", b"2"])
        await mqtt.close()

    run(main())
