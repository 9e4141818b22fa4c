"""The thread that runs the handlers."""

import threading

import pytest
from waiting import PATIENCE, Recorder, eventually

from juham_core.dispatch import Dispatcher


@pytest.fixture
def errors():
    return Recorder()


@pytest.fixture
def dispatcher(errors):
    dispatcher = Dispatcher("juham-test-handlers", errors)
    yield dispatcher
    assert dispatcher.stop(PATIENCE)


class Blocking:
    """A call that blocks until it is told to go on."""

    def __init__(self):
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        self.go_on.wait(PATIENCE)


def test_calls_wait_for_the_thread_and_are_made_in_order(dispatcher):
    calls = Recorder()
    for number in range(100):
        dispatcher.put(calls, number)
    assert dispatcher.waiting == 100
    assert calls.count == 0
    assert dispatcher.start()
    assert [calls.next() for _ in range(100)] == [(number,) for number in range(100)]


def test_there_is_one_thread(dispatcher):
    assert dispatcher.start()
    assert not dispatcher.start()
    assert sum(thread.name == "juham-test-handlers" for thread in threading.enumerate()) == 1


def test_current_is_true_inside_a_call_only(dispatcher):
    seen = Recorder()
    dispatcher.start()
    dispatcher.put(lambda: seen(dispatcher.current))
    assert seen.next() == (True,)
    assert not dispatcher.current


def test_what_a_call_raises_is_reported(dispatcher, errors):
    calls = Recorder()
    for error in (ValueError("a"), SystemExit(1), KeyboardInterrupt()):

        def bad(error=error):
            raise error

        dispatcher.put(bad)
    dispatcher.put(calls)
    dispatcher.start()
    calls.next()
    assert [type(errors.next()[0]) for _ in range(3)] == [ValueError, SystemExit, KeyboardInterrupt]


def test_stop_waits_for_the_call_that_is_made(dispatcher):
    blocking, calls, stopped = Blocking(), Recorder(), threading.Event()
    dispatcher.start()
    dispatcher.put(blocking)
    dispatcher.put(calls)
    assert blocking.entered.wait(PATIENCE)
    assert dispatcher.stop(0.05) is False
    thread = threading.Thread(target=lambda: (dispatcher.stop(), stopped.set()))
    thread.start()
    assert not stopped.wait(0.05)
    blocking.go_on.set()
    assert stopped.wait(PATIENCE)
    thread.join()
    assert calls.count == 0
    dispatcher.start()
    calls.next()


def test_started_again_while_the_last_call_of_a_stop_goes_on(dispatcher):
    """A handler that outlived the closing of its client does not keep the next connection's from running."""
    blocking, calls = Blocking(), Recorder()
    dispatcher.start()
    dispatcher.put(blocking)
    assert blocking.entered.wait(PATIENCE)
    assert dispatcher.stop(0.01) is False
    dispatcher.start()
    dispatcher.put(calls)
    assert calls.count == 0
    blocking.go_on.set()
    calls.next()


def test_a_stop_that_waits_ends_when_another_thread_starts_again(dispatcher):
    blocking, stopping = Blocking(), threading.Event()
    dispatcher.start()
    dispatcher.put(blocking)
    assert blocking.entered.wait(PATIENCE)

    class Told(threading.Condition):
        def wait_for(self, predicate, timeout=None):
            stopping.set()
            return super().wait_for(predicate, timeout)

    dispatcher._changed = Told(threading.RLock())
    thread = threading.Thread(target=dispatcher.stop)
    thread.start()
    assert stopping.wait(PATIENCE)
    dispatcher.start()
    thread.join(PATIENCE)
    ended = not thread.is_alive()
    blocking.go_on.set()
    assert ended


def test_stopped_and_started_inside_a_call(dispatcher):
    calls = Recorder()

    def again():
        assert dispatcher.stop()
        assert not dispatcher.start()

    dispatcher.start()
    dispatcher.put(again)
    dispatcher.put(calls)
    calls.next()


def test_stopped_inside_a_call(dispatcher):
    calls = Recorder()
    dispatcher.put(dispatcher.stop)
    dispatcher.put(calls)
    dispatcher.start()
    assert eventually(lambda: not dispatcher.running)
    assert calls.count == 0
    dispatcher.start()
    calls.next()


def run_in_thread(dispatcher):
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (dispatcher.run(), ended.set()), name="main loop")
    thread.start()
    return ended


def test_run_makes_the_calls_on_the_calling_thread(dispatcher):
    seen = Recorder()
    dispatcher.put(lambda: seen(threading.current_thread().name))
    ended = run_in_thread(dispatcher)
    assert seen.next() == ("main loop",)
    assert dispatcher.running
    assert not dispatcher.start()
    dispatcher.stop()
    assert ended.wait(PATIENCE)
    assert not dispatcher.running


def test_stop_waits_for_the_call_that_run_makes(dispatcher):
    blocking = Blocking()
    ended = run_in_thread(dispatcher)
    dispatcher.put(blocking)
    assert blocking.entered.wait(PATIENCE)
    assert dispatcher.stop(0.05) is False
    assert not ended.is_set()
    blocking.go_on.set()
    assert dispatcher.stop(PATIENCE)
    assert ended.wait(PATIENCE)


@pytest.mark.parametrize("first", ["thread", "run"])
def test_run_beside_another_runner_only_waits_for_its_end(dispatcher, first):
    seen = Recorder()
    others = [run_in_thread(dispatcher)] if first == "run" else []
    if first == "thread":
        dispatcher.start()
    dispatcher.put(lambda: seen(threading.get_ident()))
    runner = seen.next()
    others += [run_in_thread(dispatcher), run_in_thread(dispatcher)]
    for _ in range(20):
        dispatcher.put(lambda: seen(threading.get_ident()))
        assert seen.next() == runner
    assert not any(ended.is_set() for ended in others)
    dispatcher.stop()
    for ended in others:
        assert ended.wait(PATIENCE)


def test_run_inside_a_call_returns_at_once(dispatcher):
    calls = Recorder()
    dispatcher.start()
    dispatcher.put(lambda: calls(dispatcher.run()))
    assert calls.next() == (None,)


def test_what_ends_a_program_leaves_run(dispatcher, errors):
    def end():
        raise SystemExit(3)

    dispatcher.put(end)
    with pytest.raises(SystemExit):
        dispatcher.run()
    assert not dispatcher.running
    assert errors.count == 0


def test_draining_waits_for_what_was_put_before(dispatcher):
    blocking, calls = Blocking(), Recorder()
    assert dispatcher.drain(0)  # nothing runs: nothing to wait for
    dispatcher.start()
    dispatcher.put(blocking)
    dispatcher.put(calls)
    assert dispatcher.drain(0.05) is False
    blocking.go_on.set()
    assert dispatcher.drain(PATIENCE)
    assert calls.count == 1


def test_clearing_forgets_what_waits_and_counts_it(dispatcher):
    calls = Recorder()
    dispatcher.put(calls)
    dispatcher.put(calls)
    dispatcher.stop()  # its own wake-up is not counted
    assert dispatcher.clear() == 2
    dispatcher.start()
    assert dispatcher.drain(PATIENCE)
    assert calls.count == 0


def test_a_stop_that_was_not_needed_is_nothing_that_waits(dispatcher):
    dispatcher.stop()
    assert dispatcher.waiting == 0
    assert dispatcher.clear() == 0
    calls = Recorder()
    dispatcher.put(calls, 1)
    dispatcher.stop()
    assert dispatcher.waiting == 1
    dispatcher.start()
    calls.next()
    assert dispatcher.drain(PATIENCE)
    assert dispatcher.waiting == 0


def test_room_is_waited_for(dispatcher):
    blocking, got = Blocking(), Recorder()
    dispatcher.start()
    dispatcher.put(blocking)
    assert blocking.entered.wait(PATIENCE)
    for _ in range(3):
        dispatcher.put(lambda: None)

    def wait():
        got(dispatcher.wait_for_room(lambda: dispatcher.waiting < 3, lambda: False))

    thread = threading.Thread(target=wait)
    thread.start()
    with pytest.raises(AssertionError):
        got.next(0.05)
    blocking.go_on.set()
    assert got.next() == (True,)
    thread.join()


def test_waiting_for_room_may_be_given_up(dispatcher):
    dispatcher.put(lambda: None)
    assert not dispatcher.wait_for_room(lambda: False, lambda: True)
    assert dispatcher.wait_for_room(lambda: True, lambda: True)


def test_inside_a_call_there_is_always_room(dispatcher):
    got = Recorder()
    dispatcher.put(lambda: got(dispatcher.wait_for_room(lambda: False, lambda: False)))
    dispatcher.start()
    assert got.next() == (True,)
