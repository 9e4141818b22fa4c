"""Cases about a client's life: connecting, the loop of its handlers, closing, and the same again."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from juham_core.errors import ConnectError, JuhamError, NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.testing.cases.losing import Attempts
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit

_SOON = 0.5
"""Seconds in which what waits for nothing is over, with much to spare."""


class LifecycleCases:
    """The subject ``lifecycle``."""

    # --- closing ------------------------------------------------------------------------------------

    @case("lifecycle.reused")
    def reused(self, kit: Kit) -> None:
        """A client can be connected and closed again and again, and sends and receives each time."""
        client = kit.create()
        inbox = kit.inbox(client)
        client.subscribe(kit.topic, 1)
        for payload in (b"1", b"2", b"3"):
            kit.connect(client)
            kit.eventually(lambda: client.subscriptions[kit.topic] is not None, "the subscription is granted")
            client.publish(kit.topic, payload, qos=1).wait(kit.patience)
            assert inbox.next().payload == payload
            client.disconnect_from_server()
            assert not client.is_connected()
        inbox.nothing()

    @case("lifecycle.other_options")
    def other_options(self, kit: Kit) -> None:
        """Options that are changed between two connections hold for the second."""
        client = kit.connect(client_id=f"{kit.topic}-1", keepalive=11)
        client.disconnect_from_server()
        client.configure(client_id=f"{kit.topic}-2", keepalive=12)
        kit.connect(client)
        assert client.client_id == f"{kit.topic}-2"
        if kit.records_wire:
            said = [(packet.client_id, packet.keepalive) for packet in kit.broker.packets("connect")]
            assert said == [(f"{kit.topic}-1", 11), (f"{kit.topic}-2", 12)]

    @case("lifecycle.close_in_handler")
    def close_in_handler(self, kit: Kit) -> None:
        """A handler may close the client: the call returns, and no further handler is called."""
        client = kit.connect()
        calls = kit.recorder()

        def close(_client: JMqtt, _userdata: Any, message: Any) -> None:
            client.disconnect_from_server()
            calls(message.payload, client.is_connected())

        kit.handle(client, "on_message", close)
        kit.subscribe(client, kit.topic)
        for payload in (b"1", b"2"):
            client.publish(kit.topic, payload)
        assert calls.next() == (b"1", False)
        client.disconnect_from_server()  # waits for the handler
        calls.nothing()

    @case("lifecycle.close_by_threads")
    def close_by_threads(self, kit: Kit) -> None:
        """Several threads may close at once: each call returns, with the client closed."""
        client = kit.connect()
        ended = kit.recorder()

        def close() -> None:
            client.disconnect_from_server()
            ended(client.is_connected())

        _at_once(8, close)
        assert [ended.next() for _ in range(8)] == [(False,)] * 8

    @case("lifecycle.close_without_verdict", on=FAULTS)
    def close_without_verdict(self, kit: Kit) -> None:
        """Closing while CONNACK is awaited is prompt, and whoever waits for the verdict is told."""
        kit.broker.on("connect").silence()
        client = kit.create(connect_timeout=3)
        client.connect_to_server()
        told = kit.recorder()

        def wait() -> None:
            try:
                client.wait_until_connected()
            except BaseException as exc:  # noqa: BLE001 - it is looked at below
                told(exc)

        waiting = threading.Thread(target=wait)
        waiting.start()
        began = time.monotonic()
        client.disconnect_from_server()
        assert time.monotonic() - began < 2, "closing has waited for the broker"
        assert isinstance(told.next()[0], ConnectError)
        waiting.join()

    @case("lifecycle.close_while_opening", on=FAULTS)
    def close_while_opening(self, kit: Kit) -> None:
        """Closing while another thread's connect hangs is prompt, and that thread is told."""
        host, port = kit.black_hole()
        client = kit.create(connect_timeout=20)
        attempts = Attempts.of(kit, client, lambda options: options.changed(host=host, port=port))
        told = kit.recorder()

        def connect() -> None:
            try:
                told(client.connect_to_server())
            except Exception as exc:  # noqa: BLE001 - it is looked at below
                told(exc)

        opening = threading.Thread(target=connect)
        opening.start()
        attempts.next()
        started = time.monotonic()
        client.disconnect_from_server()
        assert time.monotonic() - started < 4, "closing has waited for the attempt"
        assert isinstance(told.next()[0], ConnectError)
        opening.join()
        assert not client.is_connected()

    @case("lifecycle.connect_by_threads")
    def connect_by_threads(self, kit: Kit) -> None:
        """If several threads connect one client at once, one succeeds and the others get ConnectError."""
        client = kit.create()
        told = kit.recorder()

        def connect() -> None:
            try:
                told(client.connect_to_server())
            except ConnectError:
                told("refused")

        _at_once(6, connect)
        client.wait_until_connected(kit.patience)
        assert sorted(str(told.next()[0]) for _ in range(6)) == ["0"] + ["refused"] * 5
        if kit.records_wire:
            assert kit.broker.accepted == 1

    @case("lifecycle.left_by_exception")
    def left_by_exception(self, kit: Kit) -> None:
        """A with block that an exception leaves closes the client, and the exception gets out."""
        client = kit.connect()
        with kit.raises(ZeroDivisionError), client:
            client.publish(kit.topic, 1 // 0)
        assert not client.is_connected()

    @case("lifecycle.pending_at_close", on=FAULTS)
    def pending_at_close(self, kit: Kit) -> None:
        """Closing resolves every receipt that is under way, those of subscribe and unsubscribe too."""
        for kind in ("publish", "subscribe", "unsubscribe"):
            kit.broker.on(kind).withhold()
        client = kit.connect(close_timeout=0.2)
        receipts: list[Any] = [client.publish(kit.topic, b"1", qos=1), client.subscribe(kit.topic, 1)]
        receipts.append(client.unsubscribe(f"{kit.topic}/other"))
        kit.broker.wait_for("unsubscribe")
        client.disconnect_from_server()
        assert [receipt.done() for receipt in receipts] == [True, True, True]
        assert isinstance(receipts[0].exception(), NotConnectedError)
        assert isinstance(receipts[1].exception(), NotConnectedError)

    @case("lifecycle.quiet_after_close")
    def quiet_after_close(self, kit: Kit) -> None:
        """Once closing has returned no handler is called, whatever the broker still had to say."""
        client = kit.connect()
        observer = kit.observer()
        calls = {event: kit.recorder() for event in ("on_message", "on_disconnect", "on_publish")}
        for event, recorder in calls.items():
            kit.handle(client, event, _with_three(recorder))
        kit.subscribe(client, kit.topic)
        for _ in range(50):
            observer.publish(kit.topic, b"x", qos=0)
        observer.drain()
        client.disconnect_from_server()
        before = {event: recorder.count for event, recorder in calls.items()}
        for _ in range(50):
            observer.publish(kit.topic, b"x", qos=0)
        observer.drain()
        assert {event: recorder.count for event, recorder in calls.items()} == before
        assert before["on_disconnect"] == 1

    @case("lifecycle.told_of_close")
    def told_of_close(self, kit: Kit) -> None:
        """A deliberate close calls on_disconnect once, with 0, before it returns."""
        client = kit.connect()
        ended = kit.recorder()
        kit.handle(client, "on_disconnect", _with_three(ended))
        client.disconnect_from_server()
        assert ended.count == 1
        assert ended.next()[2] == 0

    @case("lifecycle.lost_for_good", on=FAULTS)
    def lost_for_good(self, kit: Kit) -> None:
        """Without reconnect, a lost connection is reported once, is_connected() is false, and stays so."""
        client = kit.connect(reconnect=False)
        ended = kit.recorder()
        kit.handle(client, "on_disconnect", _with_three(ended))
        kit.broker.reset()
        assert ended.next()[2] != 0
        assert not client.is_connected()
        with kit.raises(ConnectError):
            client.wait_until_connected(_SOON)
        assert kit.broker.accepted == 1
        kit.connect(client)
        assert kit.broker.accepted == 2
        client.disconnect_from_server()
        assert ended.next()[2] == 0

    @case("lifecycle.silent_at_close", on=FAULTS)
    def silent_at_close(self, kit: Kit) -> None:
        """Closing is bounded even if the broker neither reads nor answers any more."""
        client = kit.connect(close_timeout=0.3)
        kit.broker.on("publish").freeze()
        receipt = client.publish(kit.topic, bytes(1 << 20), qos=1)
        kit.broker.wait_for("publish")
        with contextlib.suppress(JuhamError):
            client.publish(kit.topic, bytes(8 << 20), qos=1)
        began = time.monotonic()
        client.disconnect_from_server()
        assert time.monotonic() - began < 5
        assert isinstance(receipt.exception(), NotConnectedError)


def _at_once(count: int, function: Any) -> None:
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        function()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _with_three(recorder: Any) -> Any:
    """A handler of three arguments: the shape of ``(client, userdata, rc)``."""

    def three(client: Any, userdata: Any, third: Any) -> None:
        recorder(client, userdata, third)

    return three
