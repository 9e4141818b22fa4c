"""Locks that no exception of a signal's handler leaves taken."""

import sys
import threading

import pytest
from striking import Striker, Struck
from waiting import PATIENCE

from juham_core.dispatch import Dispatcher
from juham_core.locks import Condition, Event, TryLock, join
from juham_core.watchdog import Watchdog


class Steps:
    """The functions written in Python that are entered meanwhile: where a signal's handler may be called."""

    def __init__(self):
        self.names = []

    def __enter__(self):
        sys.settrace(lambda frame, _event, _argument: self.names.append(frame.f_code.co_name))
        return self.names

    def __exit__(self, *_):
        sys.settrace(None)
        self.names.remove("__exit__")  # this one


@pytest.mark.parametrize("make", [Condition, TryLock])
def test_a_signal_cannot_come_between_the_lock_and_what_lets_it_go(make):
    lock = make()
    with Steps() as names, lock:
        pass
    assert names == []


def test_where_it_could_is_seen():
    with Steps() as names, threading.Condition():
        pass
    assert {"__enter__", "__exit__"} <= set(names)


def test_taking_what_is_free_is_one_step():
    lock = TryLock()
    with Steps() as names:
        first, second = lock.taken, lock.taken
    assert (first, second, names) == (True, False, [])
    assert lock.locked()
    lock.release()
    with lock:
        assert not lock.taken
    assert not lock.locked()


def elsewhere(function):
    """What the function returns on another thread, in time."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it waits for good"
    return found[0]


def strike_each_step(use, check):
    """Strike every step of ``use()`` in turn, until there are no more."""
    for number in range(1, 1000):
        striker = Striker(number)
        try:
            with striker:
                use()
        except Struck:
            check(striker.place)
        else:
            assert number > 10
            return


def test_a_wait_that_is_struck_has_the_lock_until_it_lets_it_go():
    condition = Condition()

    def use():
        with condition:
            condition.wait(0.001)
            condition.notify_all()

    def check(place):
        assert elsewhere(lambda: condition.acquire(blocking=False)), place
        condition.__init__()

    strike_each_step(use, check)


def test_an_event_that_is_struck_works_for_others():
    event = Event()

    def use():
        event.clear()
        event.wait(0.001)
        event.set()

    def check(place):
        assert elsewhere(lambda: event.set() or event.wait(PATIENCE)), place

    strike_each_step(use, check)


def test_an_event():
    event = Event()
    assert not event.wait(0.001)
    threading.Thread(target=event.set).start()
    assert event.wait(PATIENCE)
    event.clear()
    assert not event.is_set()


def test_joining():
    join(None)
    join(threading.current_thread())
    join(threading.Thread(target=print))  # whose start was interrupted before it came to be
    ended = []
    thread = threading.Thread(target=lambda: ended.append(True))
    thread.start()
    join(thread)
    assert ended


@pytest.fixture(params=["before", "after"])
def interrupted(request, monkeypatch):
    """Interrupts the next start of a thread, before it has begun or after."""
    real = threading.Thread.start

    def start(thread):
        monkeypatch.undo()
        if request.param == "after":
            real(thread)
        raise Struck

    monkeypatch.setattr(threading.Thread, "start", start)


def test_a_dispatcher_whose_start_was_interrupted_is_started_again(interrupted):
    dispatcher, called = Dispatcher("handlers", print), threading.Event()
    with pytest.raises(Struck):
        dispatcher.start()
    dispatcher.start()
    dispatcher.put(called.set)
    assert called.wait(PATIENCE)
    assert dispatcher.stop(PATIENCE)
    assert "handlers" not in [thread.name for thread in threading.enumerate()]


def test_a_watchdog_whose_start_was_interrupted_is_started_again(interrupted):
    watchdog, called = Watchdog(), threading.Event()
    with pytest.raises(Struck):
        watchdog.watch("a", 60, lambda now: None)
    watchdog.watch("b", 0.001, lambda now: called.set())
    assert called.wait(PATIENCE)
    watchdog.unwatch("a")
    watchdog.unwatch("b")
    assert "juham-watchdog" not in [thread.name for thread in threading.enumerate()]
