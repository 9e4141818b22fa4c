"""Handlers without a thread of their own."""

import threading

import pytest
from waiting import PATIENCE, Recorder, eventually

from juham_core.errors import DeadlockError
from juham_core.inline import AT_ONCE, InlineDispatcher
from juham_core.message import Receipt
from juham_core.turn import Turn


@pytest.fixture
def errors():
    return Recorder()


@pytest.fixture
def dispatcher(errors):
    dispatcher = InlineDispatcher("juham-test-handlers", errors, Turn())
    yield dispatcher
    assert dispatcher.stop(PATIENCE)


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


class Blocking:
    """A call that blocks until it is told to go on."""

    def __init__(self):
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        self.go_on.wait(PATIENCE)


def test_a_call_is_made_where_it_is_put_and_before_put_returns(dispatcher):
    calls = Recorder()
    dispatcher.start()
    dispatcher.put(lambda: calls(threading.get_ident(), dispatcher.current))
    assert calls.next(0) == (threading.get_ident(), True)
    assert not dispatcher.current


def test_what_was_put_before_start_is_made_first_and_in_order(dispatcher):
    calls = Recorder()
    for number in range(3):
        dispatcher.put(calls, number)
    assert dispatcher.waiting == 3
    assert calls.count == 0
    assert dispatcher.start()
    assert not dispatcher.start()
    dispatcher.put_message(calls, 3)
    assert [calls.next(0) for _ in range(4)] == [(0,), (1,), (2,), (3,)]


def test_a_call_put_inside_another_is_made_after_it(dispatcher):
    calls = Recorder()
    dispatcher.start()

    def outer():
        dispatcher.put(calls, "inner")
        calls("outer")

    dispatcher.put(outer)
    assert [calls.next(0), calls.next(0)] == [("outer",), ("inner",)]


def test_messages_that_come_together_are_delivered_together_and_what_raises_is_reported(dispatcher, errors):
    calls = Recorder()

    def deliver(message):
        calls(message, dispatcher.current)
        if message == "b":
            raise ValueError(message)

    assert dispatcher.deliver_many(deliver, ["early"]) == 0
    dispatcher.start()
    assert dispatcher.deliver_many(deliver, ["a", "b", "c"]) == 3
    assert [calls.next(0) for _ in range(3)] == [("a", True), ("b", True), ("c", True)]
    assert str(errors.next(0)[0]) == "b"
    assert not dispatcher.current


def test_what_is_put_while_messages_are_delivered_goes_before_the_next_of_them(dispatcher):
    calls = Recorder()

    def deliver(message):
        calls(message)
        if message == "a":
            dispatcher.put(calls, "put by a")
        if message == "c":
            dispatcher.stop()

    messages = ["a", "b", "c", "d"]
    dispatcher.start()
    assert dispatcher.deliver_many(deliver, messages) == 1
    assert dispatcher.deliver_many(deliver, messages[1:]) == 2
    assert [calls.next(0) for _ in range(4)] == [("a",), ("put by a",), ("b",), ("c",)]
    assert calls.count == 0
    assert not dispatcher.running


def test_a_thread_that_finds_another_one_at_it_leaves_its_call_there(dispatcher):
    blocking, calls = Blocking(), Recorder()
    dispatcher.start()
    thread = in_thread(lambda: dispatcher.put(blocking))
    assert blocking.entered.wait(PATIENCE)
    dispatcher.put(lambda: calls(threading.current_thread()))
    assert calls.count == 0
    blocking.go_on.set()
    assert calls.next() == (thread,)
    thread.join()


def test_one_thread_does_not_make_the_calls_of_others_for_ever(dispatcher):
    calls = Recorder()
    dispatcher.start()

    def again(left):
        calls(threading.get_ident())
        if left:
            dispatcher.put(again, left - 1)

    dispatcher.put(again, 3 * AT_ONCE)
    here = [calls.next()[0] for _ in range(3 * AT_ONCE + 1)]
    assert here.count(threading.get_ident()) == AT_ONCE + 1
    assert dispatcher.stop(PATIENCE)
    assert not any(thread.name == "juham-test-handlers" for thread in threading.enumerate())


def test_what_a_call_raises_is_reported(dispatcher, errors):
    dispatcher.start()

    def in_a_library():
        for error in (ValueError("a"), SystemExit(1), KeyboardInterrupt()):
            dispatcher.put(fail, error)
            assert isinstance(errors.next(0)[0], type(error))

    thread = in_thread(in_a_library)
    thread.join()
    assert errors.count == 0
    assert dispatcher.waiting == 0


def fail(error):
    raise error


def test_what_ends_a_program_passes_through_its_main_thread_and_the_rest_is_made(dispatcher, errors):
    calls = Recorder()
    dispatcher.put(fail, KeyboardInterrupt())
    dispatcher.put(calls, "after it")
    with pytest.raises(KeyboardInterrupt):
        dispatcher.start()
    assert calls.next() == ("after it",)
    assert errors.count == 0


def test_the_line_stops_at_a_gate_until_it_is_opened(dispatcher):
    calls = Recorder()
    dispatcher.start()
    open_gate = dispatcher.put_gated(calls, "gated")
    dispatcher.put(calls, "next")
    assert calls.count == 0
    open_gate()
    assert [calls.next(0), calls.next(0)] == [("gated",), ("next",)]


def test_stop_waits_for_the_call_that_runs_and_keeps_the_others(dispatcher):
    blocking, calls = Blocking(), Recorder()
    dispatcher.start()
    thread = in_thread(lambda: dispatcher.put(blocking))
    assert blocking.entered.wait(PATIENCE)
    dispatcher.put(calls, "later")
    assert not dispatcher.stop(0.01)
    blocking.go_on.set()
    assert dispatcher.stop(PATIENCE)
    thread.join()
    assert calls.count == 0
    dispatcher.start()
    assert calls.next(0) == ("later",)


def test_stop_inside_a_call_returns_at_once(dispatcher):
    calls = Recorder()
    dispatcher.start()
    dispatcher.put(lambda: calls(dispatcher.stop()))
    assert calls.next(0) == (True,)
    assert not dispatcher.running


def test_run_returns_when_stopped(dispatcher):
    thread = in_thread(dispatcher.run)
    assert eventually(lambda: dispatcher.running)
    dispatcher.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_drain_waits_for_the_call_that_runs(dispatcher):
    blocking = Blocking()
    assert dispatcher.drain(0)
    dispatcher.start()
    thread = in_thread(lambda: dispatcher.put(blocking))
    assert blocking.entered.wait(PATIENCE)
    assert not dispatcher.drain(0.01)
    blocking.go_on.set()
    assert dispatcher.drain(PATIENCE)
    thread.join()


def test_calls_that_wait_can_be_cleared_or_taken_elsewhere(dispatcher):
    calls = Recorder()
    dispatcher.put(calls, 1)
    dispatcher.put_gated(calls, 2)
    assert dispatcher.take_all() == [(calls, (1,)), (calls, (2,))]
    dispatcher.put(calls, 3)
    assert dispatcher.clear() == 1
    assert dispatcher.waiting == 0


def test_many_threads_put_and_each_call_is_made_once_alone_and_in_its_threads_order(dispatcher):
    made, running = [], threading.Lock()
    dispatcher.start()

    def call(*what):
        assert running.acquire(blocking=False)
        made.append(what)
        running.release()

    def put_many(name):
        for number in range(2000):
            dispatcher.put(call, name, number)

    threads = [in_thread(lambda name=name: put_many(name)) for name in range(4)]
    for thread in threads:
        thread.join()
    assert dispatcher.drain(PATIENCE)
    for name in range(4):
        assert [number for other, number in made if other == name] == list(range(2000))


def test_a_receipt_is_not_waited_for_where_its_answer_would_have_to_come():
    turn = Turn()
    receipt = Receipt(7, turn)
    turn.thread = threading.get_ident()
    with pytest.raises(DeadlockError, match="request 7"):
        receipt.wait()
    assert not receipt._wait(0)  # to look is no wait
    receipt._resolve()
    assert receipt.wait() is receipt
