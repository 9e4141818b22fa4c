"""Four threads do with one client whatever comes to their minds; afterwards everything has to add up."""

import contextlib
import random
import secrets
import threading
from collections import Counter

import pytest
from proxy import Proxy
from waiting import Inbox, eventually

import juham_core as juham
from juham_core import factory
from juham_core.topics import matches
from juham_core.url import parse_url

THREADS, STEPS = 4, 1_000
PATIENCE = 30.0
"""Seconds that all this may take to come to rest on a slow machine."""


class Bystander:
    """What one thread does, drawn from a seed; it keeps the receipts it was given."""

    def __init__(self, seed, client, proxy, topic, filters):
        self.published = []
        self.requests = []
        self._random = random.Random(seed)
        self._client, self._proxy, self._topic, self._filters = client, proxy, topic, filters
        self._pause = threading.Event()
        self._qos = (0, 1, 1, 2, 2) if client.capabilities.qos_2 else (0, 1, 1)
        self.failure = None

    def run(self):
        try:
            for number in range(STEPS):
                self._pause.wait(self._random.choice((0.0, 0.0, 0.001, 0.003)))
                with contextlib.suppress(juham.ConnectError, juham.QueueFullError, juham.ReceiptTimeoutError):
                    self._step(number)
        except BaseException as exc:  # noqa: BLE001 - the test raises it
            self.failure = exc

    def _step(self, number):
        (step,) = self._random.choices(tuple(STEPS_BY_WEIGHT), STEPS_BY_WEIGHT.values())
        step(self, number)

    def _publish(self, number):
        qos, payload = self._random.choice(self._qos), f"{self._topic}:{number}"
        receipt = self._client.publish(self._topic, payload, qos=qos)
        self.published.append((qos, payload.encode(), receipt))

    def _subscribe(self, _number):
        qos = self._random.randint(0, 1)
        self.requests.append(self._client.subscribe(self._some_filters(), qos=qos))

    def _unsubscribe(self, _number):
        self.requests.append(self._client.unsubscribe(self._some_filters()))

    def _some_filters(self):
        return self._random.sample(self._filters, self._random.randint(1, 3))

    def _wait(self, _number):
        if self.published:
            receipt = self._random.choice(self.published)[2]
            with contextlib.suppress(juham.PublishError, juham.NotConnectedError):
                receipt.wait(self._random.choice((0, 0.001, 0.02)))

    def _connect(self, _number):
        self._client.loop_start()
        if not self._client.is_connected():
            self._client.connect_to_server()

    def _cut(self, _number):
        if self._proxy is not None:
            self._proxy.cut()

    def _close(self, _number):
        self._client.disconnect_from_server()

    def _stop(self, _number):
        self._client.loop_stop()

    def _look(self, _number):
        assert self._client.statistics.published >= 0
        assert repr(self._client)


STEPS_BY_WEIGHT = {
    Bystander._publish: 500,
    Bystander._subscribe: 150,
    Bystander._unsubscribe: 120,
    Bystander._connect: 80,
    Bystander._wait: 60,
    Bystander._look: 40,
    Bystander._cut: 15,
    Bystander._stop: 25,
    Bystander._close: 12,
}


@pytest.fixture
def place(backend, embedded):
    """Where the broker is for the client, through a proxy if there is a network, and for the observer."""
    if factory.load(backend).capabilities.in_process:
        url = f"memory://{secrets.token_hex(6)}"
        yield parse_url(url)[1], url, None
        return
    there = parse_url(embedded.url)[1]
    proxy = Proxy((there["host"], there["port"]))
    yield proxy.options, embedded.url, proxy
    proxy.close()


def settle(client):
    """Connect at last, whatever the threads have left behind."""
    client.loop_start()

    def is_back():
        with contextlib.suppress(juham.ConnectError):
            if not client.is_connected():
                client.connect_to_server()
            client.wait_until_connected(5)
        return client.is_connected()

    assert eventually(is_back, PATIENCE)


@pytest.mark.parametrize(("seed", "clean_start"), [(1, True), (2, False)])
def test_whatever_four_threads_do_everything_adds_up(
    backend, create, place, closing, caplog, topic, seed, clean_start
):
    where, url, proxy = place
    observer = closing(juham.connect(url))
    seen = Counter()
    observer.on_message = lambda client, userdata, message: seen.update([message.payload])
    observer.subscribe(f"{topic}/p/+", qos=1).wait(PATIENCE)
    options = {} if clean_start else {"clean_start": False, "client_id": topic.replace("/", "-")}
    client = create(
        **where, **options, reconnect_min=0.01, reconnect_max=0.05, reconnect_reset=0.0, close_timeout=1.0
    )
    client.on_message = inbox = Inbox()
    filters = [*(f"{topic}/s/{number}" for number in range(5)), f"{topic}/s/+", f"{topic}/s/#"]
    bystanders = [
        Bystander(f"{seed}-{number}", client, proxy, f"{topic}/p/{number}", filters)
        for number in range(THREADS)
    ]
    threads = [threading.Thread(target=each.run) for each in bystanders]
    settle(client)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for each in bystanders:
        if each.failure is not None:
            raise each.failure
    published = [one for each in bystanders for one in each.published]
    requests = [one for each in bystanders for one in each.requests]

    settle(client)
    receipts = [*(receipt for _, _, receipt in published), *requests]
    assert eventually(lambda: all(receipt.done() for receipt in receipts), PATIENCE)
    assert eventually(lambda: None not in client.subscriptions.values(), PATIENCE)

    # The broker has the subscriptions that the client believes in.
    client.subscribe(f"{topic}/end", qos=1).wait(PATIENCE)
    wanted = client.subscriptions
    probes = [f"{topic}/s/{number}" for number in range(7)]
    for probe in (*probes, f"{topic}/end"):
        observer.publish(probe, f"probe {probe}", qos=1).wait(PATIENCE)
    came = set()
    while (message := inbox.next(PATIENCE)).topic != f"{topic}/end":
        if message.payload == f"probe {message.topic}".encode():
            came.add(message.topic)
    assert came == {probe for probe in probes if any(matches(each, probe) for each in wanted)}

    client.disconnect_from_server()
    acknowledged = [payload for qos, payload, receipt in published if qos and receipt.exception() is None]
    assert eventually(lambda: all(seen[payload] for payload in acknowledged), PATIENCE)
    counts = client.statistics
    assert counts.connects > 1
    assert (counts.published, counts.acknowledged) == (len(published), len(acknowledged))
    left = (counts.queued, counts.in_flight, counts.requests, counts.untold, counts.waiting)
    assert (*left, counts.waiting_bytes) == (0,) * 6
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
