"""Cases about the loop that runs the handlers: when it runs them, where, and when no more."""

from __future__ import annotations

import threading
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Will


class LoopCases:
    """More of the subject ``lifecycle``."""

    @case("lifecycle.no_loop")
    def no_loop(self, kit: Kit) -> None:
        """Without a loop no handler runs, yet receipts are resolved; what arrives waits for loop_start()."""
        client = kit.create()
        inbox = kit.inbox(client)
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"1", qos=1).wait(kit.patience)
        client.publish(kit.topic, b"2", qos=1).wait(kit.patience)
        inbox.nothing()
        client.loop_start()
        assert inbox.payloads(2) == [b"1", b"2"]

    @case("lifecycle.loop_first")
    def loop_first(self, kit: Kit) -> None:
        """The loop may be started before connecting, and twice."""
        client = kit.create()
        verdicts = kit.verdicts(client)
        assert client.loop_start() == 0
        assert client.loop_start() == 0
        client.connect_to_server()
        assert verdicts.next()[3] == 0
        inbox = kit.inbox(client, kit.topic)
        client.publish(kit.topic, b"x", qos=1)
        assert inbox.next().payload == b"x"
        client.publish(kit.topic, b"y", qos=1)
        assert inbox.next().payload == b"y"
        inbox.nothing()

    @case("lifecycle.loop_stop")
    def loop_stop(self, kit: Kit) -> None:
        """After ``loop_stop`` no handler runs; what arrives waits, in order, for the next start."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        assert client.loop_stop() == 0
        for payload in (b"1", b"2", b"3"):
            client.publish(kit.topic, payload, qos=1).wait(kit.patience)
        assert client.is_connected()
        inbox.nothing()
        client.loop_start()
        assert inbox.payloads(3) == [b"1", b"2", b"3"]

    @case("lifecycle.loop_stop_in_handler")
    def loop_stop_in_handler(self, kit: Kit) -> None:
        """A handler may stop the loop: it is the last one to run until the loop is started again."""
        client = kit.connect()
        calls = kit.recorder()

        def stop(_client: JMqtt, _userdata: Any, message: Any) -> None:
            client.loop_stop()
            calls(message.payload)

        kit.handle(client, "on_message", stop)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"1", qos=1)
        assert calls.next() == (b"1",)
        client.publish(kit.topic, b"2", qos=1).wait(kit.patience)
        calls.nothing()
        client.loop_start()
        assert calls.next() == (b"2",)

    @case("lifecycle.loop_stop_waits")
    def loop_stop_waits(self, kit: Kit) -> None:
        """loop_stop() returns once the handler that runs has returned."""
        client = kit.connect()
        entered, leave, left = threading.Event(), threading.Event(), threading.Event()

        def slow(_client: JMqtt, _userdata: Any, _message: Any) -> None:
            entered.set()
            leave.wait(kit.patience)
            left.set()

        kit.handle(client, "on_message", slow)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x")
        assert entered.wait(kit.patience)
        releasing = threading.Timer(0.05, leave.set)
        releasing.start()
        client.loop_stop()
        assert left.is_set()
        releasing.join()

    @case("lifecycle.loop_forever")
    def loop_forever(self, kit: Kit) -> None:
        """``loop_forever`` runs the handlers on its caller's thread, and returns 0 once all is closed."""
        client = kit.create()
        threads = kit.recorder()

        def close(_client: JMqtt, _userdata: Any, _message: Any) -> None:
            threads(threading.current_thread())
            client.disconnect_from_server()

        kit.handle(client, "on_message", close)
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x")
        assert client.loop_forever() == 0
        assert threads.next() == (threading.current_thread(),)
        assert not client.is_connected()

    @case("lifecycle.loop_forever_ended")
    def loop_forever_ended(self, kit: Kit) -> None:
        """loop_forever() returns when another thread closes the client."""
        client = kit.create()
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        running, result = threading.Event(), kit.recorder()
        kit.handle(client, "on_message", lambda *_: running.set())

        def loop() -> None:
            result(client.loop_forever())

        thread = threading.Thread(target=loop)
        thread.start()
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x")
        assert running.wait(kit.patience)
        client.disconnect_from_server()
        assert result.next() == (0,)
        thread.join()

    # --- the will -----------------------------------------------------------------------------------

    @case("lifecycle.will_at_crash", on=FAULTS)
    def will_at_crash(self, kit: Kit) -> None:
        """The broker publishes the will of a client that vanishes, whole (MQTT 5 section 3.1.2.5)."""
        observer = kit.observer(kit.topic)
        client = kit.create(reconnect=False)
        client.will_set(kit.topic, b"gone \xff\x00", qos=1, retain=True)
        kit.connect(client)
        kit.broker.reset(connection=2)
        will = observer.message()
        assert (will.payload, will.qos) == (b"gone \xff\x00", 1)
        assert kit.observer(kit.topic).message().retain, "the will was to be retained"

    @case("lifecycle.will_not_at_close")
    def will_not_at_close(self, kit: Kit) -> None:
        """A deliberate close says DISCONNECT, and the broker publishes no will (MQTT 5 section 3.14)."""
        observer = kit.observer(kit.topic)
        client = kit.create()
        client.will_set(kit.topic, b"gone", qos=1)
        kit.connect(client)
        client.disconnect_from_server()
        kit.eventually(lambda: not client.is_connected(), "the client is closed")
        if kit.records_wire:
            kit.broker.wait_for("disconnect", connection=2)
            kit.broker.wait_for("lost", connection=2)
        assert observer.drain() == []

    @case("lifecycle.will_cleared", on=FAULTS)
    def will_cleared(self, kit: Kit) -> None:
        """A will that is taken back, or changed, is so with the next connection."""
        client = kit.create()
        client.will_set(kit.topic, b"first")
        kit.connect(client)
        client.disconnect_from_server()
        client.will_set(kit.topic, b"second", qos=1)
        kit.connect(client)
        client.disconnect_from_server()
        client.will_clear()
        kit.connect(client)
        wills = [packet.will for packet in kit.broker.packets("connect")]
        assert wills == [Will(kit.topic, b"first"), Will(kit.topic, b"second", 1), None]
