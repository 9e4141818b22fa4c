"""Work on a thread of its own, which a signal ends without striking anybody who holds a lock."""

import os
import signal
import threading
import time

import pytest
from broker_sockets import PATIENCE

from juham_core.cli.apart import apart
from juham_core.cli.demo import _Tour
from juham_core.cli.house import House
from juham_core.cli.residents import LeftError
from juham_core.cli.results import Result
from juham_core.errors import JuhamError
from juham_core.memory import hub_of

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows sends no such signals")


class Struck(BaseException):
    """What the handler of a signal raises."""


@pytest.fixture
def strike():
    """Sends this process a signal whose handler raises."""

    def raises(*_):
        raise Struck

    before = signal.signal(signal.SIGUSR1, raises)
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_it_is_another_thread_and_its_outcome_is_returned():
    assert apart(threading.get_ident, lambda: None) != threading.get_ident()


def test_what_it_raises_is_raised():
    def work():
        raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        apart(work, lambda: pytest.fail("nobody has left"))


def test_a_signal_ends_it_once_it_has_cleaned_up(strike):
    left, order = threading.Event(), []

    def work():
        strike()
        order.append(left.wait(PATIENCE))

    with pytest.raises(Struck):
        apart(work, left.set)
    assert order == [True]


def test_a_second_signal_does_not_wait_for_it(strike):
    release, ended = threading.Event(), threading.Event()

    def work():
        strike()
        release.wait(PATIENCE)
        ended.set()

    with pytest.raises(Struck):
        apart(work, strike)  # which does not end it, and is struck itself
    assert not ended.is_set()
    release.set()
    assert ended.wait(PATIENCE)


def test_a_start_that_is_interrupted_does_not_wait_for_good(monkeypatch):
    def start(_thread):
        raise Struck

    monkeypatch.setattr(threading.Thread, "start", start)
    left = []
    with pytest.raises(Struck):
        apart(lambda: None, lambda: left.append(True))
    assert left == [True]


@pytest.fixture
def empty_hub(topic):
    name = topic.replace("/", "-")
    yield name
    assert hub_of(name).broker.statistics.retained == 0
    assert hub_of(name).broker.statistics.sessions == 0


@pytest.mark.parametrize("moment", [0, 0.001, 0.004, 0.016, 0.064, 0.2])
def test_a_house_that_is_left_leaves_nothing(empty_hub, moment):
    house = House("memory", f"memory://{empty_hub}", in_process=True, rounds=10**9, patience=60)
    threads = set(threading.enumerate())
    timer = threading.Timer(moment, house.leave)
    timer.start()
    began = time.monotonic()
    with pytest.raises(JuhamError):
        house.run()
    assert time.monotonic() - began < PATIENCE
    timer.join()
    assert set(threading.enumerate()) <= threads


def test_a_house_that_was_left_is_not_entered(empty_hub):
    house = House("memory", f"memory://{empty_hub}", in_process=True)
    house.leave()
    with pytest.raises(LeftError):
        house.run()


class Silent:
    """A view for nobody, who leaves as soon as there is something to look at."""

    def __init__(self):
        self.tour = None
        self.seen = []

    def begin(self, result):
        self.seen.append(result.name)

    def watch(self, _house):
        self.tour.leave()

    def done(self, result):
        self.seen.append(f"{result.name} is done")


def test_a_tour_that_is_left_goes_to_no_further_house(empty_hub):
    view = Silent()
    view.tour = _Tour([Result("memory"), Result("memory")], {"rounds": 10**9, "patience": 60}, required=True)
    view.tour.run(None, view, 0.0)
    assert view.seen == ["memory"]
