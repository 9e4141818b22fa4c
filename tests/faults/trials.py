"""The trials: numbered messages through a fault, and the account of every single one."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from account import Account
from cutting import CuttingProxy
from waiting import eventually
from witness import Record, Source, Witness, payload_of

import juham_core as juham
from juham_core import factory

QUICK = {"reconnect_min": 0.01, "reconnect_max": 0.05, "connect_timeout": 5.0, "close_timeout": 10.0}
"""A fault is over soon, so the client may come back soon."""
DEADLINE = 60.0
"""Seconds without any progress after which what is missing is called lost."""
_LATE = 0.5
"""Seconds that messages may be behind one that was published after them, with another QoS."""


@dataclass
class Size:
    """How large a trial is: messages of each QoS, and how many times the fault strikes at least."""

    messages: int
    strikes: int

    def bursts(self):
        """Numbers in as many parts as there are strikes."""
        step = -(-self.messages // self.strikes)
        return [range(start, min(start + step, self.messages)) for start in range(0, self.messages, step)]


def levels(backend):
    """The qualities of service that a backend has, above 0."""
    return [1, 2] if factory.load(backend).capabilities.qos_2 else [1]


def topics(topic, backend):
    return {qos: f"{topic}/{qos}" for qos in levels(backend)}


def _client(stack, backend, topic, host, port, **options):
    client = juham.create(
        backend,
        host=host,
        port=port,
        client_id=f"trial-{topic.replace('/', '-')}",
        clean_start=False,
        **{**QUICK, **options},
    )
    stack.callback(client.disconnect_from_server)
    client.loop_start()
    client.connect_to_server()
    client.wait_until_connected(10)
    return client


def _publish(client, names, numbers, receipts):
    for number in numbers:
        for qos, name in names.items():
            receipts[qos].append(client.publish(name, payload_of(number), qos=qos))


def _wait(receipts):
    """Wait for receipts as long as they make progress."""
    for each in receipts:
        for receipt in each:
            if not receipt._wait(DEADLINE):
                return


def _settle(where, topic, witness, names, receipts):
    """Return once the witness has all that the broker had for it: what is published last comes last."""
    source = Source(*where)
    source.publish(f"{topic}/last", 0, 2)
    source.close()
    assert witness.record.wait_for(f"{topic}/last", [0], DEADLINE)
    for qos, name in names.items():
        witness.record.wait_for(name, range(len(receipts[qos])), _LATE)


def _reconnects(client, topic):
    """How often the client has come back by now: no sooner than its connection answers."""
    client.subscribe(f"{topic}-over").wait(DEADLINE)
    return client.statistics.reconnects


def _accounts(fault, backend, names, record, started, receipts=None, promised=frozenset(), **counts):
    seconds = round(time.monotonic() - started, 1)
    numbers = {name: set() for name in names.values()}
    for name, payload in promised:
        numbers[name].add(int(payload.split()[0]))
    return [
        Account(fault, backend, qos, seconds=seconds, **counts).settle(
            receipts[qos] if receipts else None, record.arrivals(name), numbers[name]
        )
        for qos, name in names.items()
    ]


def publish_through_cuts(backend, broker, topic, size, **options):
    """The publisher's connection is cut again and again while it publishes."""
    names = topics(topic, backend)
    receipts = {qos: [] for qos in names}
    with ExitStack() as stack:
        witness = Witness(*broker, topic)
        stack.callback(witness.close)
        proxy = CuttingProxy(broker)
        stack.callback(proxy.close)
        client = _client(stack, backend, topic, "127.0.0.1", proxy.port, **options)
        started = time.monotonic()
        proxy.storm()
        seen = 0
        for numbers in size.bursts():
            seen = proxy.wait_armed(seen)
            _publish(client, names, numbers, receipts)
        _wait(receipts.values())
        assert eventually(lambda: proxy.cuts >= size.strikes, DEADLINE)
        proxy.calm()
        _settle(broker, topic, witness, names, receipts)
        return _accounts(
            "publisher cut",
            backend,
            names,
            witness.record,
            started,
            receipts,
            proxy.promised,
            faults=proxy.cuts,
            inside=proxy.inside_packets,
            reconnects=_reconnects(client, topic),
        )


def receive_through_cuts(backend, broker, topic, size, **options):
    """The subscriber's connection is cut again and again while messages come to its session."""
    names = topics(topic, backend)
    record = Record()
    with ExitStack() as stack:
        source = Source(*broker)
        stack.callback(source.close)
        proxy = CuttingProxy(broker)
        stack.callback(proxy.close)
        client = _client(stack, backend, topic, "127.0.0.1", proxy.port, **options)
        client.on_message = lambda client, userdata, message: record.add(message)
        client.subscribe(f"{topic}/#", qos=max(names)).wait(10)
        started = time.monotonic()
        proxy.storm()
        seen = 0
        for numbers in size.bursts():
            seen = proxy.wait_armed(seen)
            for number in numbers:
                for qos, name in names.items():
                    source.publish(name, number, qos)
        for name in names.values():
            record.wait_for(name, range(size.messages), DEADLINE / 3)
        assert eventually(lambda: proxy.cuts >= size.strikes, DEADLINE)
        proxy.calm()
        return _accounts(
            "subscriber cut",
            backend,
            names,
            record,
            started,
            sent=size.messages,
            acknowledged=size.messages,
            faults=proxy.cuts,
            inside=proxy.inside_packets,
            reconnects=_reconnects(client, topic),
        )


def publish_through_restarts(backend, broker, topic, size, way, **options):
    """The broker ends while it is published to, and comes back a little later at the same address.

    ``broker`` has ``where``, ``end(way)`` and ``restart()``.
    """
    names = topics(topic, backend)
    receipts = {qos: [] for qos in names}
    chance = random.Random()
    pause = threading.Event()
    with ExitStack() as stack:
        witness = Witness(*broker.where, topic)
        stack.callback(witness.close)
        proxy = CuttingProxy(broker.where)  # it only listens
        stack.callback(proxy.close)
        client = _client(stack, backend, topic, "127.0.0.1", proxy.port, **options)
        started = time.monotonic()
        for strike, numbers in enumerate(size.bursts(), 1):
            publisher = threading.Thread(target=_publish, args=(client, names, numbers, receipts))
            publisher.start()
            pause.wait(chance.uniform(0, 0.05))
            broker.end(way)
            pause.wait(chance.uniform(0, 0.1))
            broker.restart()
            publisher.join()
            back = eventually(lambda: client.statistics.reconnects >= strike, DEADLINE)  # noqa: B023
            assert back, "the client does not come back"
        _wait(receipts.values())
        _settle(broker.where, topic, witness, names, receipts)
        return _accounts(
            f"broker {way}",
            backend,
            names,
            witness.record,
            started,
            receipts,
            proxy.promised,
            faults=len(size.bursts()),
            reconnects=_reconnects(client, topic),
        )


def receive_slowly(backend, broker, topic, size, seconds, bound):
    """Handlers take ``seconds`` for each message and at most ``bound`` messages may wait for them."""
    names = topics(topic, backend)
    record = Record()
    most = 0
    pause = threading.Event()

    def handle(client, userdata, message):
        nonlocal most
        counts = client.statistics
        most = max(most, counts.received - counts.handled)
        pause.wait(seconds)
        record.add(message)

    with ExitStack() as stack:
        source = Source(*broker)
        stack.callback(source.close)
        client = _client(stack, backend, topic, *broker, keepalive=10, max_received=bound)
        client.on_message = handle
        client.subscribe(f"{topic}/#", qos=max(names)).wait(10)
        started = time.monotonic()
        for number in range(size.messages):
            for qos, name in names.items():
                source.publish(name, number, qos)
        for name in names.values():
            record.wait_for(name, range(size.messages), DEADLINE / 3)
        return _accounts(
            "slow consumer",
            backend,
            names,
            record,
            started,
            sent=size.messages,
            acknowledged=size.messages,
            reconnects=client.statistics.reconnects,
            waiting=most,
        )
