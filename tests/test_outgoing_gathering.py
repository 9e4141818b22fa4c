"""What one thread gathers and will hand over later, where the library takes several publishes at once."""

import threading
from queue import SimpleQueue

import pytest
from outgoing_support import Sender, subscribing
from waiting import PATIENCE

from juham_core.errors import QueueFullError

SUCCESS = (0, None)


class Gatherer(Sender):
    """Gathers what it publishes itself; ``hand_over`` is to be called by the test."""

    def gather(self, text):
        outgoing = self.outgoing
        outgoing.gathering = threading.get_ident()
        try:
            return self.publish(text)
        finally:
            outgoing.gathering = None

    @property
    def counts(self):
        outgoing = self.outgoing
        return outgoing.queued, outgoing.in_flight, outgoing.bytes_sent


@pytest.fixture
def sender():
    gatherer = Gatherer(window=5, together=True)
    gatherer.up()
    return gatherer


def elsewhere(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_it_goes_together_when_it_is_handed_over_and_is_counted_as_queued_until_then(sender):
    for number, text in enumerate("abc"):
        sender.gather(text)
        assert sender.counts == (number + 1, 0, 0)
        assert sender.outgoing.gathered
    assert sender.library.taken == []
    sender.outgoing.hand_over()
    assert sender.library.together == [list("abc")]
    assert sender.counts == (0, 3, 3)
    assert not sender.outgoing.gathered


def test_it_goes_at_once_when_it_fills_the_window(sender):
    for text in "abcde":
        sender.gather(text)
    assert sender.library.together == [list("abcde")]
    assert not sender.outgoing.gathered
    sender.gather("f")
    assert (sender.counts, sender.outgoing.gathered) == ((1, 5, 5), False)  # it waits for an answer
    sender.outgoing.acknowledged(1, SUCCESS)
    assert sender.library.taken == list("abcdef")


def test_it_goes_before_what_another_thread_publishes(sender):
    sender.gather("a")
    sender.gather("b")
    elsewhere(sender.publish, "c")
    assert sender.library.taken == list("abc")
    assert sender.counts == (0, 3, 3)


def test_another_thread_that_publishes_meanwhile_does_not_gather(sender):
    sender.outgoing.gathering = threading.get_ident()
    elsewhere(sender.publish, "a")
    assert sender.library.taken == ["a"]


def test_it_goes_before_what_the_same_thread_publishes_at_once(sender):
    sender.gather("a")
    sender.publish("b")
    assert sender.library.taken == ["a", "b"]


def test_an_answer_does_not_tear_it_apart(sender):
    sender.publish("a")
    sender.gather("b")
    sender.outgoing.acknowledged_many([1], SUCCESS)
    sender.gather("c")
    sender.outgoing.acknowledged(1, SUCCESS)
    assert sender.library.taken == ["a"]
    sender.outgoing.hand_over()
    assert sender.library.together == [["b", "c"]]


@pytest.mark.parametrize("answer", ["one", "several"])
def test_an_answer_lets_go_what_waits_behind_a_full_window(sender, answer):
    sender.gather("a")
    for text in "bcdefg":
        elsewhere(sender.publish, text)
    assert sender.counts == (2, 5, 5)
    if answer == "one":
        sender.outgoing.acknowledged(1, SUCCESS)
        assert sender.library.taken == list("abcdef")
    else:
        sender.outgoing.acknowledged_many([1, 2], SUCCESS)
        assert sender.library.taken == list("abcdefg")


@pytest.mark.parametrize("most", [0, 1, 2])
def test_it_takes_nobodys_place_in_the_queue(most):
    sender = Gatherer(window=5, max_queued=most, together=True)
    sender.up()
    for text in "abcde"[:5] + "fg"[:most]:
        sender.gather(text)
    with pytest.raises(QueueFullError, match=f"max_queued={most}"):
        sender.gather("x")
    assert sender.library.taken == list("abcde")
    assert sender.counts == (most, 5, 5)


def test_without_a_connection_it_is_bounded_and_goes_with_the_next_one(sender):
    sender.outgoing.max_queued = 3
    sender.outgoing.stop()
    for text in "abc":
        sender.gather(text)
    with pytest.raises(QueueFullError):
        sender.gather("d")
    sender.outgoing.hand_over()
    assert (sender.library.taken, sender.counts) == ([], (3, 0, 0))
    sender.up()
    assert sender.library.together == [list("abc")]


def test_who_waits_until_all_is_sent_has_it_sent(sender):
    sender.gather("a")
    sender.library.before = lambda what, key: sender.outgoing.acknowledged(key, SUCCESS)
    assert sender.outgoing.wait_empty(0)
    assert sender.finished == [(1, SUCCESS)]


def test_it_can_be_withdrawn(sender):
    sender.gather("a")
    assert sender.outgoing.withdraw(sender.gather("b"))
    sender.outgoing.hand_over()
    assert sender.library.taken == ["a"]


def test_what_is_subscribed_to_goes_before_it_unless_it_is_handed_over_first(sender):
    sender.gather("a")
    sender.outgoing.hand_over()
    sender.outgoing.enter(subscribing("x"))
    sender.outgoing.hand_over()
    assert sender.library.taken == ["a", ["x"]]


def test_where_the_library_takes_one_at_a_time_nothing_is_gathered():
    sender = Gatherer(together=False)
    sender.up()
    sender.gather("a")
    assert sender.library.taken == ["a"]
    assert not sender.outgoing.gathered


class Answered(Gatherer):
    """Whose publishes another thread acknowledges, so many of them."""

    def __init__(self, count):
        super().__init__(window=7, max_queued=100_000, together=True)
        self._count = count
        self._keys = SimpleQueue()
        self.library.before = lambda _what, key: self._keys.put(key)

    def answer(self):
        for _ in range(self._count):
            self.outgoing.acknowledged(self._keys.get(timeout=PATIENCE), SUCCESS)

    def gather_all(self):
        for number in range(300):
            self.gather(f"g{number}")
            if number % 4 == 3:
                self.outgoing.hand_over()

    def publish_all(self, name):
        for number in range(300):
            self.publish(f"{name}{number}")


def test_threads_that_publish_beside_it_lose_nothing_and_keep_their_order():
    sender = Answered(1200)
    sender.up()
    threads = [threading.Thread(target=sender.publish_all, args=(name,)) for name in "abc"]
    threads += [threading.Thread(target=sender.answer), threading.Thread(target=sender.gather_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sender.finished) == 1200
    for name in "abcg":
        numbers = [int(text[1:]) for text in sender.library.taken if text[0] == name]
        assert numbers == list(range(300))
