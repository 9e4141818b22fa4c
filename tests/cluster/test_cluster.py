"""Past one machine: each node of a cluster is killed in turn, and no message of QoS 1 is lost."""

import os
import threading
import time
from contextlib import ExitStack

import pytest
import tables
from account import Account
from rabbit import Cluster, require_rabbitmq
from waiting import eventually
from witness import Record, payload_of

import juham_core as juham
from juham_core.errors import ConnectError
from juham_core.testing.observer import SocketObserver

BACKENDS = ["paho2", "gmqtt"]
PAIRS = 4
"""Publishers, each with a topic and a consumer of its own."""
OPTIONS = {"reconnect_min": 0.05, "reconnect_max": 1.0, "connect_timeout": 5.0, "ack_timeout": 10.0}
STEP = 200
"""Messages that each publisher gets acknowledged, and each consumer receives, between any two events."""
DEADLINE = 90.0
PACE = 0.004
"""Seconds between the messages of a publisher."""


class Pair:
    """A publisher and a consumer on the nodes of a cluster, each beginning with another."""

    def __init__(self, cluster, number, stack):
        self.backend = BACKENDS[number % len(BACKENDS)]
        self.topic = f"cluster/{number}"
        self.record = Record()
        self.receipts = []
        self._stop = threading.Event()
        self.consumer = self._client(cluster, number, f"consumer-{number}", stack)
        self.consumer.on_message = lambda client, userdata, message: self.record.add(message)
        self.consumer.subscribe(self.topic, qos=1).wait(30)
        self.publisher = self._client(cluster, number + 1, f"publisher-{number}", stack)
        self._thread = threading.Thread(target=self._publish, name=f"publisher {number}")
        self._thread.start()
        stack.callback(self.stop)

    @property
    def progress(self):
        """Messages acknowledged, messages received."""
        return self.publisher.statistics.acknowledged, self.consumer.statistics.received

    def servers(self):
        return [client.server for client in (self.publisher, self.consumer)]

    def stop(self):
        self._stop.set()
        self._thread.join()

    def settle(self, started):
        for receipt in self.receipts:
            receipt._wait(DEADLINE)
        self.record.wait_for(self.topic, range(len(self.receipts)), DEADLINE / 3)
        reconnects = sum(client.statistics.reconnects for client in (self.publisher, self.consumer))
        account = Account("node killed", self.backend, 1, faults=Cluster.size, reconnects=reconnects)
        account.seconds = round(time.monotonic() - started, 1)
        return account.settle(self.receipts, self.record.arrivals(self.topic))

    def _client(self, cluster, first, name, stack):
        url = cluster.url(self.backend, first)
        client = juham.connect(url, client_id=name, clean_start=False, **OPTIONS)
        stack.callback(client.disconnect_from_server)
        return client

    def _publish(self):
        number = 0
        while not self._stop.wait(PACE):
            if self.publisher.statistics.queued < 1000:  # else it is slower than we are
                self.receipts.append(self.publisher.publish(self.topic, payload_of(number), qos=1))
                number += 1


def advance(pairs):
    """Wait until each pair has come further."""
    goals = [(acknowledged + STEP, received + STEP) for acknowledged, received in (p.progress for p in pairs)]

    def all_further():
        return all(
            reached >= goal
            for pair, goals_of_pair in zip(pairs, goals, strict=True)
            for reached, goal in zip(pair.progress, goals_of_pair, strict=True)
        )

    assert eventually(all_further, DEADLINE), [(pair.progress, pair.servers()) for pair in pairs]


def busiest(cluster, pairs, alive):
    """Of these nodes, the one that serves the most clients."""
    served = [server for pair in pairs for server in pair.servers()]
    counts = {number: served.count(f"mqtt://127.0.0.1:{cluster.ports[number]}") for number in alive}
    number = max(counts, key=counts.__getitem__)
    assert counts[number], (served, counts)
    return number


@pytest.fixture(scope="module")
def cluster():
    require_rabbitmq(pytest.skip, pytest.fail)
    with Cluster() as nodes:
        yield nodes


def test_it_has_no_mqtt_5_no_qos_2_and_no_shared_subscriptions(cluster):
    """As docs/reliability.md says of RabbitMQ 3.10."""
    where = ("127.0.0.1", cluster.ports[0])
    with pytest.raises(ConnectError):
        juham.connect(cluster.url("paho2", 0), protocol=5, reconnect=False)
    with SocketObserver(*where) as observer:
        assert observer.subscribe("lacks/qos-2", qos=2) == [1]
        observer.subscribe("$share/group/lacks/shared", qos=1)
        with juham.connect(cluster.url("paho2", 0)) as client:
            client.publish("lacks/qos-2", b"as QoS 1", qos=2).wait(30)
            client.publish("lacks/shared", b"to nobody", qos=1).wait(30)
        assert [(message.topic, message.qos) for message in observer.drain()] == [("lacks/qos-2", 1)]


def test_each_node_is_killed_and_comes_back(cluster):
    with ExitStack() as stack:
        pairs = [Pair(cluster, number, stack) for number in range(PAIRS)]
        started = time.monotonic()
        advance(pairs)
        alive = list(range(Cluster.size))
        while alive:
            number = busiest(cluster, pairs, alive)
            alive.remove(number)
            cluster.kill(number)
            advance(pairs)
            cluster.revive(number)
            advance(pairs)
        for pair in pairs:
            pair.stop()
        accounts = [pair.settle(started) for pair in pairs]
    if not os.environ.get("CI"):  # there nobody keeps what is measured
        tables.enter_cluster(accounts)
    for each in accounts:
        assert (each.unresolved, each.failed, each.lost) == (0, 0, 0), each
        assert each.reconnects, each
