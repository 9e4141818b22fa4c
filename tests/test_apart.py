"""Work on a thread of its own, which a signal ends without striking anybody who holds a lock."""

import os
import signal
import threading

import pytest
from waiting import PATIENCE

from juham_core.apart import apart

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
