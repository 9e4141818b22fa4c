"""paho in the caller's event loop, which reads and writes its socket: no thread, and nobody is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from contextlib import asynccontextmanager

import pytest
import trustme
from forwarders import Websocket
from scripted import Conversation, ScriptedPeer
from waiting import PATIENCE, eventually

import juham_core as juham
from juham_core.errors import ConnectError, NotConnectedError
from juham_core.wire import Disconnect, Pingreq, Pingresp, Puback, Publish, Suback, Subscribe, encode

pytestmark = pytest.mark.parametrize("kind", ["paho", "paho2"])
LARGE = b"x" * 300_000
SLOW = 5 * PATIENCE


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    listening = ScriptedPeer()
    yield listening
    listening.close()


async def connect(kind, peer, **options):
    client = juham.create(kind)
    client.configure(**{**peer.options, "max_inflight": 100, "close_timeout": 1.0, **options})
    mqtt = juham.aio.AsyncMqtt(client)
    connecting = asyncio.create_task(mqtt.connect())
    conversation = await asyncio.to_thread(peer.take_up)
    await asyncio.to_thread(conversation.accept)
    await connecting
    return mqtt, conversation


@asynccontextmanager
async def connected(kind, peer, **options):
    mqtt, conversation = await connect(kind, peer, **options)
    try:
        yield mqtt, conversation
    finally:
        await mqtt.close()


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SLOW)


def threads_of_juham():
    return {thread for thread in threading.enumerate() if thread.name.startswith(("juham", "paho"))}


def run(main):
    return asyncio.run(main(), debug=True)


def test_what_the_socket_does_not_take_goes_when_it_does(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            publishing = [asyncio.create_task(mqtt.publish("a", b"%d" % n + LARGE, 1)) for n in range(30)]
            for _ in range(10):  # nobody reads it yet
                await asyncio.sleep(0)
            for n in range(30):
                packet = await asyncio.to_thread(conversation.expect, Publish)
                assert packet.payload == b"%d" % n + LARGE
                conversation.send(Puback(packet.packet_id))
            await soon(asyncio.gather(*publishing))

    run(main)


def test_all_is_sent_before_disconnect(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            for n in range(20):
                await mqtt.publish("a", b"%d" % n + LARGE[: n * 5_000])
            closing = asyncio.create_task(mqtt.close())
            for n in range(20):
                packet = await asyncio.to_thread(conversation.expect, Publish)
                assert packet.payload == b"%d" % n + LARGE[: n * 5_000]
            await asyncio.to_thread(conversation.expect, Disconnect)
            conversation.close()
            await soon(closing)

    run(main)


def test_a_call_while_the_loop_does_not_run_goes_out_once_it_does(kind, peer):
    loop = asyncio.new_event_loop()
    scope = connected(kind, peer)
    mqtt, conversation = loop.run_until_complete(scope.__aenter__())
    try:
        receipt = mqtt.client.publish("a", "outside", 1)
        assert loop.run_until_complete(asyncio.to_thread(conversation.take)) == "outside"
        loop.run_until_complete(asyncio.to_thread(receipt.wait, PATIENCE))
    finally:
        loop.run_until_complete(scope.__aexit__(None, None, None))
        loop.close()


def test_calls_of_many_threads_go_out_each_in_its_order(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):

            def publish(thread):
                for n in range(100):
                    mqtt.client.publish(f"t/{thread}", str(n))

            threads = [asyncio.create_task(asyncio.to_thread(publish, thread)) for thread in range(8)]
            seen = {f"t/{thread}": 0 for thread in range(8)}
            for _ in range(800):
                packet = await asyncio.to_thread(conversation.expect, Publish)
                assert packet.payload == b"%d" % seen[packet.topic]
                seen[packet.topic] += 1
            await soon(asyncio.gather(*threads))

    run(main)


def test_it_has_no_thread_by_tls_either_and_strands_nothing_that_tls_has_read(kind, peer):
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)

    def take_up():
        conversation = Conversation(ours.wrap_socket(peer.take_up()._sock, server_side=True))
        conversation.accept()
        return conversation

    async def main():
        before = set(threading.enumerate())
        client = juham.create(kind)
        client.configure(**peer.options, tls=True, ssl_context=theirs, close_timeout=1.0)
        mqtt = juham.aio.AsyncMqtt(client)
        connecting = asyncio.create_task(mqtt.connect())
        conversation = await asyncio.to_thread(take_up)
        await soon(connecting)
        payloads = []
        over = asyncio.Event()

        def on_message(_mqtt, _userdata, message):
            payloads.append(message.payload)
            if len(payloads) == 1600:
                over.set()

        mqtt.on_message = on_message
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert not [name for name in names if name.startswith("paho")]
        # One record, and more of it than is read at once.
        conversation._sock.sendall(b"".join(encode(Publish("t", b"%04d" % i), 4) for i in range(1600)))
        await soon(over.wait())
        assert payloads == [b"%04d" % i for i in range(1600)]
        await mqtt.close()
        conversation.close()

    run(main)


def test_websockets_are_left_to_pahos_thread(kind, embedded, topic):
    async def main():
        url = f"ws://127.0.0.1:{bridge.port}/there"
        async with juham.aio.connect(url, backend=kind) as mqtt, mqtt.messages(topic, 1) as stream:
            assert [thread for thread in threading.enumerate() if thread.name.startswith("paho")]
            await mqtt.publish(topic, b"x" * 100_000, 1)
            assert len((await soon(anext(stream))).payload) == 100_000

    with Websocket(embedded.port) as bridge:
        run(main)


class Talker(threading.Thread):
    """A broker that grants, pours out what it has, and counts the PINGREQs that come meanwhile."""

    def __init__(self, conversation, pour):
        super().__init__(daemon=True)
        self._sock, self._decoder, self._pour = conversation._sock, conversation._decoder, pour
        self.pings = 0
        self.acknowledged = []

    def run(self):
        self._sock.settimeout(None)
        while data := self._read():
            self._decoder.feed(data)
            for packet in self._decoder.packets():
                if isinstance(packet, Pingreq):
                    self.pings += 1
                    self._sock.sendall(encode(Pingresp(), 4))
                elif isinstance(packet, Puback):
                    self.acknowledged.append(packet.packet_id)
                elif isinstance(packet, Subscribe):
                    self._sock.sendall(encode(Suback(packet.packet_id, [1]), 4) + self._pour)

    def _read(self):
        with contextlib.suppress(OSError):
            return self._sock.recv(65_536)
        return b""


def test_while_the_handlers_are_slow_no_more_waits_than_may_and_keepalive_goes_on(kind, peer):
    async def main():
        pour = b"".join(encode(Publish("a", b"%d" % n, qos=1, packet_id=n + 1), 4) for n in range(500))
        go_on, payloads = asyncio.Event(), []

        async def on_message(_mqtt, _userdata, message):
            await go_on.wait()
            payloads.append(int(message.payload))

        async with connected(kind, peer, max_received=20, keepalive=1) as (mqtt, conversation):
            talker = Talker(conversation, pour)
            talker.start()
            mqtt.on_message = on_message
            await mqtt.subscribe("a", 1)

            def two_pings():  # one who has read no PINGRESP would have given up after the first
                assert mqtt.client.statistics.received <= 21  # one has gone to the handler
                return talker.pings >= 2

            assert await asyncio.to_thread(eventually, two_pings, SLOW)
            assert len(talker.acknowledged) <= 21
            go_on.set()
            assert await asyncio.to_thread(
                eventually, lambda: len(talker.acknowledged) == len(payloads) == 500, SLOW
            )
            assert payloads == list(range(500))
            assert mqtt.client.statistics.connects == 1
            assert not mqtt.client.statistics.dropped

    run(main)


def test_a_stream_that_gathers_is_not_read_on_while_the_handlers_are_slow(kind, peer, monkeypatch):
    """What is left for later because there is no room for it would be handled twice."""
    monkeypatch.setattr("juham_paho.resident.NAP", 0.2)

    async def main():
        stream = [Publish("a", b"%d" % n) for n in range(60)]
        wait = [Publish("a", b"%d" % n, qos=1, packet_id=n) for n in range(60, 300)]
        handled, permits = [], asyncio.Semaphore(0)

        async def on_message(_mqtt, _userdata, message):
            await permits.acquire()
            handled.append(int(message.payload))

        async with connected(kind, peer, max_received=100) as (mqtt, conversation):
            client, resident = mqtt.client, mqtt.client._driver._resident
            mqtt.on_message = on_message
            conversation.send_bytes(b"".join(encode(packet, 4) for packet in stream + wait))
            assert await asyncio.to_thread(eventually, lambda: resident._client._held)
            assert resident._gathering is not None
            for _ in range(50):
                permits.release()  # now there is room
            assert await asyncio.to_thread(eventually, lambda: resident._gathering is None)
            assert client.statistics.received <= 101
            for _ in range(300):
                permits.release()
            assert await asyncio.to_thread(eventually, lambda: len(handled) >= 300, SLOW)
            last = asyncio.create_task(mqtt.publish("a", "x", 1))
            packet = await asyncio.to_thread(conversation.next)
            while isinstance(packet, Puback):
                packet = await asyncio.to_thread(conversation.next)
            conversation.send(Puback(packet.packet_id))
            await soon(last)
            assert handled == list(range(300))

    run(main)


def test_a_broker_that_takes_nothing_cannot_hold_up_the_close(kind, peer):
    async def main():
        before = threads_of_juham()  # a broker that the tests share
        async with connected(kind, peer, close_timeout=0.3) as (mqtt, _conversation):
            for n in range(100):
                await mqtt.publish("a", b"%d" % n + LARGE)
            began = time.monotonic()
            await mqtt.close()
            assert time.monotonic() - began < 10
            # The closing thread ends once it has told the loop so.
            assert await asyncio.to_thread(eventually, lambda: threads_of_juham() <= before)

    run(main)


def test_closing_while_the_loop_is_kept_from_running_harms_no_later_connection(kind, peer, monkeypatch):
    """What the loop finds when it goes on, it does to the old socket alone."""
    monkeypatch.setattr("juham_paho.resident.GRACE", 0.1)

    async def main():
        async with connected(kind, peer, close_timeout=0.2) as (mqtt, conversation):
            client = mqtt.client
            sock = client._driver._socket
            closing = threading.Thread(target=client.disconnect_from_server)
            closing.start()
            closing.join(SLOW)  # in the loop's thread, which therefore stands still
            assert not closing.is_alive()
            assert await asyncio.to_thread(conversation.ended)
            assert await asyncio.to_thread(eventually, lambda: sock.fileno() == -1)
        async with connected(kind, peer) as (mqtt, conversation):
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            assert await asyncio.to_thread(conversation.take) == "x"
            await soon(publishing)

    run(main)


def test_closing_from_another_thread_while_the_loop_sleeps(kind, peer):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            await mqtt.publish("a", "last")
            closing = asyncio.create_task(asyncio.to_thread(mqtt.client.disconnect_from_server))
            assert (await asyncio.to_thread(conversation.expect, Publish)).payload == b"last"
            assert await asyncio.to_thread(conversation.ended)
            conversation.close()
            await soon(closing)

    run(main)


@pytest.mark.parametrize("awaited", [False, True], ids=["called", "awaited"])
def test_closing_inside_a_handler(kind, peer, awaited):
    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            closed = asyncio.Event()

            def call(*_):
                mqtt.client.disconnect_from_server()
                closed.set()

            async def wait(*_):
                await mqtt.close()
                closed.set()

            mqtt.on_message = wait if awaited else call
            conversation.send(Publish("a", b"x", qos=1, packet_id=1), Publish("a", b"y"))
            ending = asyncio.create_task(asyncio.to_thread(said_until_the_end, conversation))
            await soon(closed.wait())
            assert [type(packet) for packet in await soon(ending)] == [Puback, Disconnect]
            assert mqtt.client._driver._socket is None

    run(main)


def said_until_the_end(conversation):
    packets = list(iter(conversation.next, None))
    conversation.close()
    return packets


def test_a_loop_that_is_closed_while_the_client_is_connected(kind, peer):
    loop = asyncio.new_event_loop()
    mqtt, conversation = loop.run_until_complete(connect(kind, peer))
    client = mqtt.client
    sock = client._driver._socket
    loop.close()
    for _ in range(2):  # a first call that fails must not hide the second
        with pytest.raises(NotConnectedError):
            client.publish("a", "x").wait(PATIENCE)
    waiting = client.publish("a", "x", 1)
    closing = threading.Thread(target=client.disconnect_from_server)
    closing.start()
    closing.join(SLOW)
    assert not closing.is_alive()
    assert sock.fileno() == -1
    assert conversation.next() is None
    with pytest.raises(NotConnectedError):
        waiting.wait(PATIENCE)


def test_a_loop_that_is_closed_while_the_client_is_connected_still_says_goodbye_in_its_thread(kind, peer):
    loop = asyncio.new_event_loop()
    mqtt, conversation = loop.run_until_complete(connect(kind, peer))
    loop.close()
    ending = threading.Thread(target=said_until_the_end, args=[conversation])
    ending.start()
    mqtt.client.disconnect_from_server()
    ending.join(SLOW)
    assert not ending.is_alive()
    assert mqtt.client._driver._socket is None


def test_a_loop_kept_from_running_for_longer_than_keepalive_reads_before_it_judges(kind, peer):
    """PINGRESP has come meanwhile: the clock alone would say that it has not."""

    async def main():
        async with connected(kind, peer, keepalive=1) as (mqtt, conversation):
            loop, resident = asyncio.get_running_loop(), mqtt.client._driver._resident
            over = asyncio.Event()

            def keep_from_running():
                conversation.send(Pingresp())
                threading.Event().wait(1.5)
                over.set()

            ping = await asyncio.to_thread(conversation._sock.recv, 100)
            assert ping == encode(Pingreq(), 4)
            # In the same turn as the look at the clock, and before it.
            loop.call_at(resident._timer.when() - 1e-10, keep_from_running)
            await soon(over.wait())
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            assert await asyncio.to_thread(conversation.take) == "x"
            await soon(publishing)
            assert mqtt.client.statistics.connects == 1

    run(main)


def test_what_comes_after_a_broken_connection_has_no_thread_either(kind, peer):
    async def main():
        before = threads_of_juham()
        async with connected(kind, peer, reconnect_min=0.01) as (mqtt, first):
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            await asyncio.to_thread(first.expect, Publish)
            first.reset()
            second = await asyncio.to_thread(peer.take_up)
            await asyncio.to_thread(second.accept)
            assert await asyncio.to_thread(second.take) == "x"
            await soon(publishing)
            assert await asyncio.to_thread(eventually, lambda: threads_of_juham() <= before)

    run(main)


def test_connecting_in_the_loop_itself_would_block_it(kind, peer):
    async def main():
        client = juham.create(kind)
        client.configure(**peer.options)
        mqtt = juham.aio.AsyncMqtt(client)
        mqtt._move_in()
        with pytest.raises(ConnectError, match=r"await AsyncMqtt\.connect"):
            client.connect_to_server()
        await mqtt.close()

    run(main)


def test_a_loop_that_knows_no_sockets_leaves_them_to_pahos_thread(kind, peer, monkeypatch):
    monkeypatch.setattr("juham_paho.resident.can_host", lambda _loop: False)  # such as Windows' proactor

    async def main():
        async with connected(kind, peer) as (mqtt, conversation):
            assert [thread for thread in threading.enumerate() if thread.name.startswith("paho")]
            publishing = asyncio.create_task(mqtt.publish("a", "x", 1))
            assert await asyncio.to_thread(conversation.take) == "x"
            await soon(publishing)

    run(main)
