"""Cases about threads: every public method from any of them, at any time, and handlers one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit

_THREADS = 8


class ThreadsCases:
    """The subject ``threads``."""

    @case("threads.before_connecting")
    def before_connecting(self, kit: Kit) -> None:
        """Every method that needs no connection may be called before there is one, and then it works."""
        client = kit.create(client_id=kit.topic)
        for use in _uses(client, kit.topic):
            use()
        receipt = client.publish(kit.topic, b"early", qos=1)
        inbox = kit.inbox(client)
        kit.connect(client)
        receipt.wait(kit.patience)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x", qos=1)
        assert inbox.next().payload == b"x"

    @case("threads.in_handler")
    def in_handler(self, kit: Kit) -> None:
        """Every method may be called inside a handler, waiting for receipts included."""
        client = kit.connect()
        told = kit.recorder()

        def use_all(_client: JMqtt, _userdata: Any, _message: Any) -> None:
            try:
                for use in _uses(client, f"{kit.topic}/inner"):
                    result = use()
                    if hasattr(result, "wait"):
                        result.wait(kit.patience)
            except BaseException as exc:  # noqa: BLE001 - it is raised again below
                told(exc)
            else:
                told(None)

        client.message_callback_add(kit.topic, use_all)
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x")
        failed = told.next()[0]
        if failed is not None:
            raise failed

    @case("threads.at_once")
    def at_once(self, kit: Kit) -> None:
        """Threads that publish, subscribe, unsubscribe and ask at the same time disturb nobody."""
        client = kit.connect()
        observer = kit.observer(f"{kit.topic}/+/out")

        def work(number: int) -> None:
            for _ in range(5):
                for use in _uses(client, f"{kit.topic}/{number}"):
                    result = use()
                    if hasattr(result, "wait"):
                        result.wait(kit.patience)
            client.publish(f"{kit.topic}/{number}/out", str(number), qos=1).wait(kit.patience)

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(work, range(_THREADS)))
        said = sorted(message.payload for message in observer.messages(_THREADS))
        assert said == sorted(str(number).encode() for number in range(_THREADS))
        assert client.subscriptions == {}

    @case("threads.one_handler_at_a_time")
    def one_handler_at_a_time(self, kit: Kit) -> None:
        """Handlers of one client never run two at once, of whatever kind they are."""
        client = kit.create()
        inside, overlaps, done = threading.Lock(), kit.recorder(), threading.Semaphore(0)

        def handler(*_: Any) -> None:
            if not inside.acquire(blocking=False):
                overlaps("two handlers at once")
                return
            threading.Event().wait(0.001)
            inside.release()
            done.release()

        def on_subscribe(_client: Any, _userdata: Any, _mid: Any, _codes: Any) -> None:
            handler()

        for event in ("on_message", "on_publish"):
            kit.handle(client, event, _three(handler))
        kit.handle(client, "on_subscribe", on_subscribe)
        kit.connect(client)
        kit.subscribe(client, f"{kit.topic}/+")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda n: client.publish(f"{kit.topic}/{n % 3}", b"x", qos=1), range(40)))
        for _ in range(81):  # each message, each acknowledgement, and the subscription
            assert done.acquire(timeout=kit.patience)
        overlaps.nothing()

    @case("threads.off_the_network")
    def off_the_network(self, kit: Kit) -> None:
        """A handler that waits does not keep another thread's receipts from being resolved."""
        client = kit.connect()
        entered, leave = threading.Event(), threading.Event()

        def wait(*_: Any) -> None:
            entered.set()
            leave.wait(3 * kit.patience)

        kit.handle(client, "on_message", _three(wait))
        kit.subscribe(client, kit.topic)
        client.publish(kit.topic, b"x")
        try:
            assert entered.wait(kit.patience)
            for _ in range(3):
                client.publish(f"{kit.topic}/other", b"x", qos=1).wait(kit.patience)
            kit.subscribe(client, f"{kit.topic}/more")
        finally:
            leave.set()

    @case("threads.many_wait_for_one", on=FAULTS)
    def many_wait_for_one(self, kit: Kit) -> None:
        """Any number of threads may wait for one receipt, and all are told."""
        acknowledgement = kit.broker.before("puback").hold()
        client = kit.connect()
        receipt = client.publish(kit.topic, b"x", qos=1)
        acknowledgement.wait()
        with ThreadPoolExecutor(_THREADS) as threads:
            waits = [threads.submit(receipt.wait, kit.patience) for _ in range(_THREADS)]
            acknowledgement.release()
            assert [wait.result() is receipt for wait in waits] == [True] * _THREADS

    @case("threads.close_under_load")
    def close_under_load(self, kit: Kit) -> None:
        """A client that is closed while threads publish has every receipt resolved, and nothing hangs."""
        client = kit.connect(close_timeout=0.5, max_queued=50)
        receipts: list[Any] = []
        stop, going = threading.Event(), threading.Semaphore(0)

        def publish(number: int) -> None:
            while not stop.is_set():
                try:
                    receipts.append(client.publish(kit.topic, str(number), qos=number % 2))
                except JuhamError:
                    stop.wait(0.001)  # the queue is full
                going.release()

        with ThreadPoolExecutor(4) as threads:
            publishing = [threads.submit(publish, number) for number in range(4)]
            for _ in range(100):
                assert going.acquire(timeout=kit.patience)
            client.disconnect_from_server()
            stop.set()
            for one in publishing:
                one.result()
        client.disconnect_from_server()  # what was accepted after the first call
        assert all(receipt.done() for receipt in receipts)

    @case("threads.reconfigured_by_handler")
    def reconfigured_by_handler(self, kit: Kit) -> None:
        """A handler may add and remove handlers, itself too; that holds from the next message on."""
        client = kit.connect()
        calls = kit.recorder()

        def second(_client: JMqtt, _userdata: Any, message: Any) -> None:
            calls("second", message.payload)

        def first(_client: JMqtt, _userdata: Any, message: Any) -> None:
            client.message_callback_remove(kit.topic, first)
            client.message_callback_add(kit.topic, second)
            calls("first", message.payload)

        client.message_callback_add(kit.topic, first)
        kit.subscribe(client, kit.topic)
        for payload in (b"1", b"2"):
            client.publish(kit.topic, payload, qos=1)
        assert calls.next() == ("first", b"1")
        assert calls.next() == ("second", b"2")


def _uses(client: JMqtt, topic: str) -> list[Callable[[], Any]]:
    """Ways to use a client that leave it as it was."""
    other = f"{topic}/in"

    def callback(*_: Any) -> None:
        """Called for messages that nobody sends."""

    return [
        lambda: client.subscribe(other, 1),
        lambda: client.message_callback_add(other, callback),
        lambda: client.publish(f"{topic}/0", b"x", qos=1),
        client.is_connected,
        lambda: client.subscriptions,
        lambda: client.statistics,
        lambda: client.options,
        lambda: client.native,
        lambda: client.client_id,
        lambda: repr(client),
        client.to_dict,
        lambda: client.user_data_set(client.user_data_get()),
        client.loop_start,
        lambda: client.message_callback_remove(other, callback),
        lambda: client.unsubscribe(other),
    ]


def _three(function: Any) -> Any:
    """A handler of three arguments: its shape is looked at."""

    def three(_client: Any, _userdata: Any, third: Any) -> None:
        function(third)

    return three
