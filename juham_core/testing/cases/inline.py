"""Cases about handlers that run inline: on the thread that brings the message, with no queue between."""

from __future__ import annotations

import threading
import time
from typing import Any

from juham_core.errors import DeadlockError
from juham_core.hooks import hooks
from juham_core.hookspecs import hookimpl
from juham_core.message import MqttMsg
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Inbox, Recorder, awaits

AT_ONCE = 1.0
"""Seconds that what must not wait may take on a busy machine."""


class InlineCases:
    """The subject ``inline``."""

    @case("inline.where_it_came")
    def where_it_came(self, kit: Kit) -> None:
        """With ``handlers="inline"`` a message is handled where it was reported, before the next one."""
        client = _connect(kit)
        plugin = _Reported(client)
        hooks.register(plugin)
        kit.keep(lambda: hooks.unregister(plugin))
        handled = Recorder()
        kit.handle(client, "on_message", lambda *_args: handled(threading.get_ident(), plugin.count))
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        for _ in range(10):
            observer.publish(kit.topic, b"x")
        for number in range(10):
            thread, reported = handled.next()
            assert reported == number + 1, "the next message was reported before this one was handled"
            assert (thread,) == plugin.next(), "the handler ran on a thread of its own"

    @case("inline.order")
    def order(self, kit: Kit) -> None:
        """Handlers that run inline run in the order in which the messages arrived (MQTT 5 section 4.6)."""
        inbox = kit.inbox(_connect(kit), kit.topic)
        observer = kit.observer()
        for number in range(1000):
            observer.publish(kit.topic, str(number))
        assert inbox.payloads(1000) == [b"%d" % number for number in range(1000)]
        inbox.nothing()

    @case("inline.event_order")
    def event_order(self, kit: Kit) -> None:
        """on_connect comes before the messages of its connection, and on_disconnect after them."""
        kit.observer().publish(kit.topic, b"kept", retain=True)
        client = kit.create(handlers="inline")
        client.subscribe(kit.topic, 1)
        calls = Recorder()
        kit.handle(client, "on_connect", lambda _client, _userdata, _flags, code: calls("connect", code))
        kit.handle(client, "on_disconnect", lambda _client, _userdata, code: calls("disconnect", code))
        kit.handle(client, "on_message", lambda *args: calls("message", args[2].payload))
        client.loop_start()
        client.connect_to_server()
        assert calls.next() == ("connect", 0)
        assert calls.next() == ("message", b"kept")
        client.publish(kit.topic, b"", qos=1, retain=True).wait(kit.patience)  # forget it
        assert calls.next() == ("message", b"")
        client.disconnect_from_server()
        assert calls.next(0) == ("disconnect", 0)

    @case("inline.one_at_a_time")
    def one_at_a_time(self, kit: Kit) -> None:
        """Inline handlers run one at a time, though what they handle comes on several threads."""
        client = _connect(kit)
        running, seen = threading.Lock(), Recorder()

        def handler(*_args: Any) -> None:
            alone = running.acquire(blocking=False)
            seen(alone)
            if alone:
                threading.Event().wait(0.001)  # give another one the chance to run into it
                running.release()

        for event in ("on_message", "on_publish"):
            kit.handle(client, event, handler)
        kit.subscribe(client, kit.topic)

        def publish() -> None:
            for _ in range(50):
                client.publish(kit.topic, b"x", qos=0)

        _in_threads(publish, publish)
        assert all(seen.next() == (True,) for _ in range(200)), "two handlers ran at once"

    @case("inline.exception")
    def exception(self, kit: Kit) -> None:
        """What an inline handler raises, SystemExit included, is counted and harms nobody."""
        client = _connect(kit)
        inbox = Inbox()
        errors: dict[bytes, BaseException] = {b"1": ZeroDivisionError("a bug"), b"2": SystemExit("sys.exit")}

        def handler(*args: Any) -> None:
            if args[2].payload in errors:
                raise errors[args[2].payload]
            inbox(*args)

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        for payload in (b"1", b"2", b"3"):
            observer.publish(kit.topic, payload)
        assert inbox.payloads(1) == [b"3"]
        assert client.statistics.handler_errors == 2
        assert client.statistics.connects == 1, "the connection was lost"

    # --- the loop -----------------------------------------------------------------------------------

    @case("inline.loop_stop")
    def loop_stop(self, kit: Kit) -> None:
        """What arrives while the loop is stopped waits, and is handled first and in order once it starts."""
        client = _connect(kit)
        inbox = kit.inbox(client, kit.topic)
        client.loop_stop()
        observer = kit.observer()
        for number in range(5):
            observer.publish(kit.topic, str(number))
        kit.eventually(lambda: client.statistics.received == 5, "the messages have arrived")
        inbox.nothing()
        assert client.statistics.waiting >= 5
        client.loop_start()
        observer.publish(kit.topic, b"5")
        assert inbox.payloads(6) == [b"%d" % number for number in range(6)]

    @case("inline.loop_forever")
    def loop_forever(self, kit: Kit) -> None:
        """loop_forever lets inline handlers run until the client is disconnected, and then returns."""
        client = kit.create(handlers="inline")
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        inbox = kit.inbox(client, kit.topic)
        loop = threading.Thread(target=client.loop_forever, name="a program's main loop")
        loop.start()
        kit.observer().publish(kit.topic, b"x")
        try:
            assert inbox.payloads(1) == [b"x"]
        finally:
            client.disconnect_from_server()
            loop.join(kit.patience)
        assert not loop.is_alive(), "loop_forever did not return when the client was disconnected"

    # --- what a handler may do, and what not --------------------------------------------------------

    @case("inline.wait_in_handler")
    def wait_in_handler(self, kit: Kit) -> None:
        """To wait for a receipt of the client inside an inline handler raises DeadlockError, at once."""
        client = _connect(kit)
        inline = kit.seen_by_hooks(client) is client
        if not (inline or kit.capabilities.tcp):
            kit.not_applicable("a broker in the same process has answered before anybody could wait")
        results = Recorder()
        receipts: list[Any] = []

        def handler(client: Any, _userdata: Any, _message: MqttMsg) -> None:
            made = (
                client.publish(f"{kit.topic}/other", b"x", qos=1),
                client.subscribe(f"{kit.topic}/other"),
                client.unsubscribe(f"{kit.topic}/never"),
            )
            receipts.extend(made)
            started = time.monotonic()
            for receipt in made:
                with kit.raises(DeadlockError) as caught:
                    receipt.wait(kit.patience)
                results(caught[0])
            results(time.monotonic() - started)

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic)
        kit.observer().publish(kit.topic, b"x")
        for _ in range(3):
            (error,) = results.next()
            assert ("handlers='thread'" if inline else "await") in str(error)
        (seconds,) = results.next()
        assert seconds < AT_ONCE, f"the handler waited for {seconds:.1f} s"
        for receipt in receipts:
            receipt.wait(kit.patience)  # they are kept, once the handler has returned

    @case("inline.requests_in_handler")
    def requests_in_handler(self, kit: Kit) -> None:
        """Inline handlers publish and subscribe while other threads do, and nobody waits for anybody."""
        client = _connect(kit)
        observer = kit.observer(f"{kit.topic}/answers", qos=0)
        finished = Recorder()

        def on_publish(client: Any, _userdata: Any, mid: int) -> None:
            if mid not in answered:
                answered.add(client.publish(f"{kit.topic}/answers", b"x", qos=0).mid)
            finished(mid)

        answered: set[int] = set()
        kit.handle(client, "on_publish", on_publish)
        kit.handle(client, "on_message", lambda *_: client.subscribe(f"{kit.topic}/more", 1))
        kit.subscribe(client, f"{kit.topic}/questions")

        def ask() -> None:
            for _ in range(100):
                client.publish(f"{kit.topic}/questions", b"x", qos=1)

        _in_threads(ask, ask)
        for _ in range(200):
            finished.next()
        assert observer.message().payload == b"x"

    @case("inline.qos_2", needs="qos_2")
    def qos_2(self, kit: Kit) -> None:
        """Inline handlers get a message of QoS 2 once, and its sender the receipt (MQTT 5 section 4.3.3)."""
        client = _connect(kit)
        inbox = kit.inbox(client, kit.topic, 2)
        receipts = [client.publish(kit.topic, str(number), qos=2) for number in range(20)]
        for receipt in receipts:
            receipt.wait(kit.patience)
        messages = inbox.take(20)
        assert [(message.payload, message.qos) for message in messages] == [(b"%d" % n, 2) for n in range(20)]
        inbox.nothing()

    @case("inline.manual_ack", needs="manual_ack", on=FAULTS)
    def manual_ack(self, kit: Kit) -> None:
        """With manual_ack an inline handler acknowledges, and nothing else does (MQTT 5 section 4.4)."""
        client = _connect(kit, manual_ack=True)

        def handler(client: Any, _userdata: Any, message: MqttMsg) -> None:
            if message.payload == b"second":
                client.ack(message.mid, message.qos)

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"first")
        observer.publish(kit.topic, b"second")
        second = kit.broker.wait_for("puback", connection=1)
        sent = kit.broker.packets("publish", connection=1, sent=True)
        assert [packet.payload for packet in sent if packet.packet_id == second.packet_id] == [b"second"]
        client.publish(kit.topic, b"last", qos=1).wait(kit.patience)
        assert len(kit.broker.packets("puback", connection=1)) == 1

    # --- the end ------------------------------------------------------------------------------------

    @case("inline.none_after_close")
    def none_after_close(self, kit: Kit) -> None:
        """Once disconnect_from_server has returned no inline handler runs, however much was on its way."""
        client = _connect(kit, close_timeout=0.5)
        closed, seen, late = threading.Event(), Recorder(), Recorder()
        kit.handle(client, "on_message", lambda *_args: (late if closed.is_set() else seen)())
        kit.subscribe(client, kit.topic, 0)
        observer = kit.observer(kit.topic, qos=0)
        for number in range(200):
            observer.publish(kit.topic, str(number), qos=0)
        seen.next()
        client.disconnect_from_server()
        closed.set()
        observer.publish(kit.topic, b"late", qos=0)
        observer.drain()
        threading.Event().wait(0.1)  # nothing announces that nothing happens
        late.nothing()

    @case("inline.close_in_handler")
    def close_in_handler(self, kit: Kit) -> None:
        """An inline handler that disconnects is the last one; what it has published is acknowledged yet."""
        client = _connect(kit)
        calls, receipts = Recorder(), Recorder()

        def handler(client: Any, _userdata: Any, message: MqttMsg) -> None:
            receipts(client.publish(f"{kit.topic}/farewell", b"x", qos=1))
            started = time.monotonic()
            client.disconnect_from_server()
            calls(message.payload, client.is_connected(), time.monotonic() - started < AT_ONCE)

        kit.handle(client, "on_message", awaits(handler))
        kit.handle(client, "on_disconnect", lambda _client, _userdata, code: calls("disconnect", code))
        kit.subscribe(client, kit.topic)
        observer = kit.observer(f"{kit.topic}/farewell")
        for number in range(5):
            observer.publish(kit.topic, str(number))
        assert calls.next() == ("disconnect", 0)
        assert calls.next() == (b"0", False, True)
        (receipt,) = receipts.next()
        receipt.wait(kit.patience)
        assert observer.message().payload == b"x"
        client.disconnect_from_server()  # from outside it waits until all is closed
        kit.connect(client)
        client.unsubscribe(kit.topic).wait(kit.patience)
        calls.nothing()


class _Reported(Recorder):
    """A plugin that keeps on which thread each message of a client was reported."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client
        self._reported = 0

    @property
    def count(self) -> int:
        return self._reported

    @hookimpl
    def jmqtt_received(self, client: Any) -> None:
        if client is self._client:
            self._reported += 1
            self(threading.get_ident())


def _connect(kit: Kit, **options: Any) -> Any:
    return kit.connect(handlers="inline", **options)


def _in_threads(*functions: Any) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
