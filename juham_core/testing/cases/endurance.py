"""Cases that go on for a while: connections, messages and subscriptions by the thousand, and nothing left."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Quick

_CYCLES = 200
_QOS_0 = 100_000
_QOS_1 = 10_000
_QOS_2 = 5_000
"""Messages out, and as many in."""
_WINDOW = 1_000
_PAYLOAD = 100
_SUBSCRIPTIONS = 1_000
_MIB = 1 << 20


class EnduranceCases:
    """The subject ``endurance``."""

    @case("endurance.one_client", on=FAULTS)
    def one_client(self, kit: Kit) -> None:
        """A client that is connected and closed 200 times leaves nothing behind."""
        kit.broker.wire.enabled = False
        client = kit.create()

        def cycle() -> None:
            kit.connect(client)
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
            client.disconnect_from_server()

        done = _repeat(cycle, _CYCLES)
        assert kit.broker.accepted == done

    @case("endurance.new_clients", on=FAULTS)
    def new_clients(self, kit: Kit) -> None:
        """200 clients, each made, used, closed and forgotten, leave nothing behind."""
        kit.broker.wire.enabled = False
        template = kit.create()

        def cycle() -> None:
            with template.copy() as client:
                client.connect_to_server()
                client.wait_until_connected(kit.patience)
                client.loop_start()
                inbox = kit.inbox(client, kit.topic)
                client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
                inbox.next()

        _repeat(cycle, _CYCLES)

    @case("endurance.refused", on=FAULTS)
    def refused(self, kit: Kit) -> None:
        """200 attempts that fail leave nothing behind, whether the port or the broker refuses."""
        kit.broker.wire.enabled = False
        client = kit.create(reconnect=False)
        kit.broker.before("connack").change(reason_code=0x87)

        def cycle() -> None:
            with contextlib.suppress(ConnectionError):
                client.connect_to_server()
                client.wait_until_connected(kit.patience)
            client.disconnect_from_server()

        _repeat(cycle, _CYCLES // 2)
        kit.broker.refuse()
        _repeat(cycle, _CYCLES // 2)

    @case("endurance.reconnects", on=FAULTS)
    def reconnects(self, kit: Kit) -> None:
        """A connection that is lost 50 times comes back, with its subscription, and leaves nothing behind."""
        kit.broker.wire.enabled = False
        client = kit.connect(reconnect_min=0.001, reconnect_max=0.002)
        inbox = kit.inbox(client)
        client.subscribe(kit.topic, 1).wait(kit.patience)

        def cycle() -> None:
            before = client.statistics.connects
            kit.broker.reset()
            kit.eventually(lambda: client.statistics.connects > before, "the connection comes back")
            kit.eventually(lambda: client.subscriptions == {kit.topic: 1}, "the subscription comes back")
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
            inbox.next()

        _repeat(cycle, 50)
        inbox.nothing()

    @case("endurance.qos_0")
    def qos_0(self, kit: Kit) -> None:
        """100,000 messages of QoS 0 out and 100,000 in are neither lost nor leave anything."""
        _stream(kit, _QOS_0, qos=0)

    @case("endurance.qos_1")
    def qos_1(self, kit: Kit) -> None:
        """20,000 messages of QoS 1, out and in, are neither lost nor doubled nor mixed, and leave nothing."""
        _stream(kit, _QOS_1, qos=1)

    @case("endurance.qos_2", needs="qos_2")
    def qos_2(self, kit: Kit) -> None:
        """10,000 messages of QoS 2, out and in, are neither lost nor doubled nor mixed, and leave nothing."""
        _stream(kit, _QOS_2, qos=2)

    @case("endurance.subscriptions")
    def subscriptions(self, kit: Kit) -> None:
        """1,000 subscriptions with a handler each get their messages, are given up, and leave nothing."""
        if kit.records_wire:
            kit.broker.wire.enabled = False
        client = kit.connect()
        total = _Total()

        def cycle() -> None:
            topics = [f"{kit.topic}/{number}" for number in range(_SUBSCRIPTIONS)]
            for topic in topics:
                client.message_callback_add(topic, total)
            client.subscribe([(topic, 1) for topic in topics]).wait(kit.patience)
            assert len(client.subscriptions) == _SUBSCRIPTIONS
            kit.publish_many(client, zip(topics, topics, strict=True), 1)
            total.wait_for(_SUBSCRIPTIONS, 3 * kit.patience)
            for topic in topics:
                client.message_callback_remove(topic, total)
            client.unsubscribe(topics).wait(kit.patience)
            assert client.subscriptions == {}

        _repeat(cycle, 4)


class _Total(Quick):
    """A handler that counts, and keeps no message; ``wrong`` are payloads that were not what was expected."""

    def __init__(self, expected: Iterator[int] | None = None) -> None:
        self.count = 0
        self.wrong: list[bytes] = []
        self._expected = expected
        self._due = 0
        self._reached = threading.Event()

    def __call__(self, _client: JMqtt, _userdata: Any, message: Any) -> None:
        if self._expected is not None and int(message.payload[:10]) != next(self._expected):
            self.wrong.append(message.payload[:10])
        self.count += 1
        if self.count == self._due:
            self._reached.set()

    def wait_for(self, more: int, timeout: float) -> None:
        """Block until so many more messages have come than when this was last called."""
        self._due += more
        while self.count < self._due:  # the event may still be set by the message we counted before
            assert self._reached.wait(timeout), f"{self.count:,} of {self._due:,} messages have come"
            self._reached.clear()
        assert self.wrong == [], f"not in order, lost or doubled: {self.wrong[:5]}"


def _stream(kit: Kit, count: int, qos: int) -> None:
    """Send so many messages to the broker and back, a window at a time."""
    if kit.records_wire:
        kit.broker.wire.enabled = False
    client = kit.connect()
    total = _Total(itertools.count())
    kit.handle(client, "on_message", total.__call__)
    client.subscribe(kit.topic, qos).wait(kit.patience)
    numbers = itertools.count()
    window = min(_WINDOW, count // 10)

    def cycle() -> None:
        these = itertools.islice(numbers, window)
        kit.publish_many(client, ((kit.topic, f"{number:010}".ljust(_PAYLOAD)) for number in these), qos)
        total.wait_for(window, 3 * kit.patience)

    sent = window * _repeat(cycle, count // window)
    assert total.count == sent
    if qos:
        statistics = client.statistics
        kit.eventually(lambda: client.statistics.in_flight == 0, "all are acknowledged")
        assert statistics.acknowledged == sent


def _repeat(cycle: Any, times: int) -> int:
    """Do something so many times, and fail if what Python or the process holds grows with each time.

    Returns how often it was done: a cache may have been emptied before and be filled again by what is done,
    so what looks like a leak is one if doing the same again leaves as much again.
    """
    warm = max(2, times // 10)
    done = 0

    def held_after(count: int) -> _Held:
        nonlocal done
        for _ in range(count):
            cycle()
        done += count
        return _Held()

    logging.disable(logging.CRITICAL)  # pytest keeps every record until the end of the test
    gc.freeze()  # what is there before takes long to go through, and makes no difference
    try:
        before = held_after(warm)
        after = held_after(times - warm)
        try:
            after.compare(before, times - warm)
        except AssertionError:
            held_after(times - warm).compare(after, times - warm)
        return done
    finally:
        gc.unfreeze()
        logging.disable(logging.NOTSET)


class _Held:
    """What the process holds at this moment."""

    def __init__(self) -> None:
        gc.collect()
        self.threads = threading.active_count()
        self.files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
        self.objects = sys.getallocatedblocks()
        self.memory = _resident()

    def compare(self, before: _Held, times: int) -> None:
        """Fail if this is more than before by what repeating something so often could have left."""
        # What is on its way out may still be there, and caches fill up.
        assert self.threads <= before.threads + 5, f"{self.threads - before.threads} threads are left"
        assert self.files <= before.files + 8, f"{self.files - before.files} files or sockets are left"
        objects = self.objects - before.objects
        assert objects < 500 + 10 * times, f"{objects:,} objects are left of {times:,} cycles"
        memory = self.memory - before.memory
        assert memory < 64 * _MIB, f"the process has grown by {memory // _MIB} MiB in {times:,} cycles"


def _resident() -> int:
    """Bytes of memory that the process occupies; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
