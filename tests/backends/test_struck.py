"""A program that a signal's handler ends, by an exception at any step: closing works, and all goes on."""

import gc
import os
import signal
import threading
import time

import pytest
from leaks import kept
from striking import Striker, Struck
from waiting import PATIENCE, eventually

from juham_core import factory

STRIKES = 24
"""So many steps of some thousands are struck, evenly."""
FEWER = 10
"""And of the programs with an outbox, which take longer."""


PROCESS_WIDE = "a strike in what awscrt's clients share in a process, a hook and a loop, meets other tests"


class Program:
    """What a program does with a client, once."""

    def __init__(self, backend, broker, topic):
        self.client = factory.create(backend, **{**broker.options, "close_timeout": 2.0})
        self.receipts = []
        self._topic = topic
        self._came = threading.Event()

    def run(self):
        client, topic = self.client, self._topic
        client.message_callback_add(f"{topic}/#", lambda *_: self._came.set())
        client.connect_to_server()
        client.loop_start()
        client.wait_until_connected(PATIENCE)
        self.receipts.append(client.subscribe(f"{topic}/x", qos=1))
        self.receipts[-1].wait(PATIENCE)
        for number in range(3):
            self.receipts.append(client.publish(f"{topic}/x", str(number), qos=1))
        self.receipts[-1].wait(PATIENCE)
        assert self._came.wait(PATIENCE)
        self.receipts.append(client.unsubscribe(f"{topic}/x"))
        self.receipts[-1].wait(PATIENCE)
        client.disconnect_from_server()


def strike(backend, broker, topic, number):
    """Run the program, strike it, close it, and see that everybody else goes on."""
    program, striker = Program(backend, broker, topic), Striker(number)
    try:
        with striker:
            program.run()
    except Struck:
        pass
    program.client.disconnect_from_server()
    assert not program.client.is_connected(), striker.place
    assert all(receipt.done() for receipt in program.receipts), striker.place
    return striker


@pytest.fixture
def steps(backend, broker, topic):
    """How many steps the program has, the second time: the first has things to make that last."""
    Program(backend, broker, topic).run()
    with Striker() as striker:
        Program(backend, broker, topic).run()
    return striker.steps


def threads():
    return {each for each in threading.enumerate() if each.name.startswith("juham")}


# A socket that was being made when it struck is closed when it is collected, which Python warns of.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_wherever_it_is_struck_it_can_be_closed(backend, broker, topic, steps):
    if broker.kind == "mosquitto":
        pytest.skip("which broker it is makes no difference")
    if backend == "awscrt":
        pytest.skip(PROCESS_WIDE)
    before = threads()
    for number in range(steps // STRIKES // 2, steps, steps // STRIKES):
        with kept():
            place = strike(backend, broker, topic, number).place
            gc.collect()
        Program(backend, broker, topic).run()
        assert eventually(lambda: threads() <= before), (place, threads() - before)


class Sender:
    """A program that publishes through an outbox, once."""

    def __init__(self, backend, broker, topic, outbox):
        self.accepted = []
        self._topic = topic
        self._options = {**broker.options, "client_id": topic.replace("/", "-"), "clean_start": False}
        self._options.update(outbox=str(outbox), close_timeout=2.0)
        self._backend = backend
        self.client = self.again()

    def again(self):
        """A client as that of the next process."""
        return factory.create(self._backend, **self._options)

    def run(self):
        self.client.connect_to_server()
        self.client.wait_until_connected(PATIENCE)
        for number in range(4):
            payload = f"{id(self)}-{number}"
            receipt = self.client.publish(self._topic, payload, qos=1)
            self.accepted.append(payload)
        receipt.wait(PATIENCE)
        self.client.disconnect_from_server()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.needs("tcp")
def test_wherever_it_is_struck_nothing_accepted_is_lost(backend, broker, topic, observer, tmp_path):
    if broker.kind == "mosquitto":
        pytest.skip("as above")
    if backend == "awscrt":
        pytest.skip(PROCESS_WIDE)
    observer.subscribe(topic)
    arrived = set()
    outbox = tmp_path / "outbox"
    Sender(backend, broker, topic, outbox).run()
    with Striker() as striker:
        Sender(backend, broker, topic, outbox).run()
    steps = striker.steps
    for number in range(steps // FEWER // 2, steps, steps // FEWER):
        with kept():
            sender, striker = Sender(backend, broker, topic, outbox), Striker(number)
            try:
                with striker:
                    sender.run()
            except Struck:
                pass
            sender.client.disconnect_from_server()
            gc.collect()
        with sender.again() as client:
            client.connect_to_server()
            assert eventually(lambda c=client: c.statistics.outbox_messages == 0), striker.place
        while not arrived.issuperset(sender.accepted):
            arrived.add(observer.next().payload.decode())


@pytest.fixture
def strike_soon():
    """Sends this process a signal, whose handler raises, as soon as it waits."""

    def raises(*_):
        raise Struck

    before = signal.signal(signal.SIGUSR1, raises)
    timers = []

    def soon(seconds):
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)))
        timers[-1].start()

    yield soon
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows sends no such signals")
@pytest.mark.needs("tcp")
def test_a_signal_ends_the_wait_for_the_broker_and_nothing_else(talking, topic, strike_soon):
    client, _conversation = talking(close_timeout=60)
    receipt = client.publish(f"{topic}/x", "never acknowledged", qos=1)
    began = time.monotonic()
    strike_soon(0.2)
    with pytest.raises(Struck):
        client.disconnect_from_server()
    assert time.monotonic() - began < PATIENCE
    assert not client.is_connected()
    assert receipt.done()
