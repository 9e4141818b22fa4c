"""Events of the connection behind a handler that lags: what is merged, and what is told."""

import threading

import pytest

from juham_core.dispatch import Dispatcher
from juham_core.statistics import Statistics
from juham_core.transitions import MOST, Transitions


class Line:
    """Transitions, and a dispatcher that runs once :meth:`told` is called."""

    def __init__(self):
        self.statistics = Statistics()
        self.transitions = Transitions(self.statistics)
        self.dispatcher = Dispatcher("line", pytest.fail)
        self._told = []

    def connecting(self, name, *, accepted=True):
        return self.transitions.connecting(
            self.dispatcher, accepted=accepted, call=(self._told.append, (name,))
        )

    def up(self, name):
        self.connecting(name)()

    def refused(self, name):
        self.connecting(name, accepted=False)()

    def down(self, name):
        self.transitions.ended(self.dispatcher, (self._told.append, (name,)))

    def told(self):
        """What has been told since the last call, once nothing waits."""
        self.dispatcher.start()
        assert self.dispatcher.drain(5)
        self.dispatcher.stop()
        told, self._told[:] = list(self._told), []
        return told


def events(count):
    return [name for number in range(count) for name in (f"up {number}", f"down {number}")]


def flap(line, numbers):
    for number in numbers:
        line.up(f"up {number}")
        line.down(f"down {number}")


def test_within_the_bound_each_is_told():
    line = Line()
    flap(line, range(MOST // 2))
    assert line.told() == events(MOST // 2)
    assert line.statistics.merged == 0


def test_past_the_bound_a_connection_is_merged_into_the_one_before_it():
    line = Line()
    flap(line, range(10_000))
    assert line.dispatcher.waiting <= MOST + 1
    told = line.told()
    assert told == [*events(MOST // 2)[:-1], "down 9999"], "the last end is the one that is told"
    assert line.statistics.merged == 20_000 - MOST


def test_the_one_that_stands_is_told():
    line = Line()
    flap(line, range(100))
    line.up("stands")
    assert line.told()[-2:] == ["down 99", "stands"]


def test_a_refusal_takes_the_place_of_the_one_before_it():
    line = Line()
    for number in range(1_000):
        line.refused(f"refused {number}")
    line.up("up")
    assert line.told() == [*(f"refused {number}" for number in range(MOST - 1)), "up"]
    assert line.statistics.merged == 1_000 - (MOST - 1)


def test_once_the_handler_has_caught_up_each_is_told_again():
    line = Line()
    flap(line, range(100))
    line.told()
    merged = line.statistics.merged
    flap(line, range(5))
    assert line.told() == events(5)
    assert line.statistics.merged == merged


def test_in_a_place_that_was_vacant_it_is_not_told_before_it_is_ready():
    line = Line()
    flap(line, range(100))
    ready = line.connecting("late")
    assert "late" not in line.told()
    ready()
    assert line.told() == ["late"]


def test_one_that_is_over_before_it_is_ready_is_not_told():
    line = Line()
    flap(line, range(100))
    ready = line.connecting("late")
    line.down("over")
    ready()
    assert line.told()[-1] == "over"


def test_what_is_forgotten_takes_no_place():
    line = Line()
    flap(line, range(100))
    line.dispatcher.clear()
    line.transitions.forget()
    flap(line, range(3))
    assert line.told() == events(3)


def test_none_is_lost_between_the_thread_that_tells_and_the_one_that_is_told():
    line = Line()
    line.dispatcher.start()
    flapping = threading.Thread(target=flap, args=(line, range(5_000)))
    flapping.start()
    flapping.join()
    told = line.told()
    assert len(told) + line.statistics.merged == 10_000
    assert [name.split()[0] for name in told] == ["up", "down"] * (len(told) // 2)
    assert told[-1] == "down 4999"
