"""What the window lets go together, where the library takes several publishes at once."""

import sys
import threading
from collections import deque

import pytest
from outgoing_support import Sender, subscribing
from waiting import PATIENCE

from juham_core.errors import NotConnectedError, PublishError
from juham_core.limits import BrokerLimits
from juham_core.wire.properties import Properties

SUCCESS = (0, None)


@pytest.fixture
def sender():
    return Sender(window=3, together=True)


def test_what_waits_for_the_connection_goes_together_as_far_as_the_window_reaches(sender):
    for text in "abcdef":
        sender.publish(text)
    sender.up(requests=[subscribing("first")])
    assert sender.library.taken == [["first"], "a", "b", "c"]
    assert sender.library.together == [list("abc")]
    assert (sender.outgoing.queued, sender.outgoing.in_flight, sender.outgoing.bytes_sent) == (3, 3, 3)


def test_what_follows_acknowledgements_that_came_together_does_so_too(sender):
    sender.up()
    for text in "abcdef":
        sender.publish(text)
    assert sender.library.together == []  # each found room for itself
    sender.outgoing.acknowledged_many([1, 2], SUCCESS)
    assert sender.library.together == [["d", "e"]]
    sender.outgoing.acknowledged(3, SUCCESS)
    assert sender.library.taken == list("abcdef")
    assert sender.finished == [(mid, SUCCESS) for mid in (1, 2, 3)]


def test_what_is_subscribed_to_meanwhile_goes_before_the_publishes_that_still_wait(sender):
    for text in "abcdef":
        sender.publish(text)
    sender.up()
    sender.outgoing.enter(subscribing("x"))
    sender.outgoing.acknowledged_many([1, 2, 3], SUCCESS)
    assert sender.library.taken == [*"abc", ["x"], *"def"]


def test_answers_that_overtake_their_sender(sender):
    sender.library.before = lambda what, key: sender.outgoing.acknowledged(key, (key, None))
    receipts = [sender.publish(text) for text in "abcd"]
    sender.up()
    assert all(receipt.done() for receipt in receipts)
    assert sender.finished == [(mid, (mid, None)) for mid in (1, 2, 3, 4)]
    assert (sender.outgoing.queued, sender.outgoing.in_flight) == (0, 0)


def test_a_connection_that_goes_leaves_all_of_them_in_their_places(sender):
    def gone(what, key):
        if what == "b":
            raise NotConnectedError("gone")

    sender.library.before = gone
    receipts = [sender.publish(text) for text in "abcd"]
    sender.up()
    assert (sender.library.taken, sender.outgoing.queued, sender.outgoing.in_flight) == ([], 4, 0)
    sender.library.before = lambda what, key: None
    sender.outgoing.window = 9
    sender.up()
    assert sender.library.together == [list("abcd")]
    assert sender.outgoing.resent == 0
    assert not any(receipt.done() for receipt in receipts)


def test_the_one_that_the_library_refuses_fails_by_itself(sender):
    def refuse(what, key):
        if what == "bad":
            raise ValueError("the library says no")

    sender.library.before = refuse
    one, bad, two = (sender.publish(text) for text in ("one", "bad", "two"))
    sender.up()
    assert sender.library.taken == ["one", "two"]
    with pytest.raises(PublishError, match="'a': ValueError: the library says no"):
        bad.wait(0)
    assert not one.done()
    assert not two.done()
    assert (sender.outgoing.queued, sender.outgoing.in_flight, sender.outgoing.resent) == (0, 2, 0)


def test_a_connection_that_goes_while_they_are_tried_one_by_one(sender):
    def fail(what, key):
        if what == "b":
            raise ValueError if not sender.library.taken else NotConnectedError("gone")

    sender.library.before = fail
    for text in "abc":
        sender.publish(text)
    sender.up()
    assert (sender.library.taken, sender.outgoing.queued, sender.outgoing.in_flight) == (["a"], 2, 1)
    sender.library.before = lambda what, key: None
    sender.up(resent=True)
    assert sender.library.taken == ["a", "b", "c"]


def test_what_ends_the_program_leaves_no_receipt_open(sender):
    def end(what, key):
        if what == "b":
            raise KeyboardInterrupt

    sender.library.before = end
    receipts = [sender.publish(text) for text in "abc"]
    with pytest.raises(KeyboardInterrupt):
        sender.up()
    for receipt in receipts:
        with pytest.raises(PublishError, match="KeyboardInterrupt"):
            receipt.wait(0)


def test_what_the_broker_has_said_it_refuses_is_kept_back_and_takes_nobodys_place(sender):
    sender.outgoing.limits = BrokerLimits.announced(Properties(maximum_packet_size=60))
    for text in ("a", "b" * 80, "c", "d", "e"):
        sender.publish(text)
    sender.up()
    assert sender.library.taken == ["a", "c", "d"]
    assert [(mid, answer[0]) for mid, answer in sender.finished] == [(2, 0x95)]


def test_what_was_withdrawn_or_is_done_is_not_sent(sender):
    receipts = [sender.publish(text) for text in "abcd"]
    assert sender.outgoing.withdraw(receipts[0])
    receipts[1]._resolve()
    sender.up()
    assert sender.library.taken == ["c", "d"]


def test_what_was_in_flight_goes_together_on_the_next_connection_and_is_counted(sender):
    for text in "abcd":
        sender.publish(text)
    sender.up()
    sender.outgoing.acknowledged(1, SUCCESS)
    sender.outgoing.stop()
    sender.up()
    assert sender.library.together == [list("abc"), list("bcd")]
    assert sender.outgoing.resent == 3


def test_who_waits_for_the_answer_is_told_when_each_was_sent(sender):
    assert sender.outgoing.waiting_since() is None
    for text in "abc":
        sender.publish(text)
    sender.up()
    first = sender.outgoing.waiting_since()
    assert first is not None
    sender.outgoing.acknowledged_many([1, 2, 3], SUCCESS)
    assert sender.outgoing.waiting_since() is None


class Answering(threading.Thread):
    """A library's thread, which acknowledges together what has been taken since it last looked."""

    def __init__(self, sender):
        super().__init__()
        self._sender = sender
        self._keys = deque()
        self._over = threading.Event()
        sender.library.before = lambda what, key: self._keys.append(key)

    def run(self):
        outgoing = self._sender.outgoing
        while not (self._over.is_set() and not self._keys and not outgoing.queued and not outgoing.in_flight):
            keys = [self._keys.popleft() for _ in range(len(self._keys))]
            outgoing.acknowledged_many(keys, SUCCESS)

    def finish(self):
        self._over.set()
        self.join(PATIENCE)
        assert not self.is_alive()


def test_nothing_is_lost_or_out_of_order_among_many_threads():
    """Answers come together from a thread of the library's, while others publish and take some back."""
    sender = Sender(max_queued=100_000, window=7, together=True)
    withdrawn = []

    def publish(name):
        for number in range(300):
            receipt = sender.publish(f"{name}{number}")
            if number % 5 == 0 and sender.outgoing.withdraw(receipt):
                withdrawn.append(receipt)

    answering = Answering(sender)
    publishing = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
    sender.up()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (answering, *publishing):
            thread.start()
        for thread in publishing:
            thread.join()
    finally:
        answering.finish()
        sys.setswitchinterval(interval)
    assert len(sender.finished) == 900 - len(withdrawn)
    for name in "abc":
        numbers = [int(text[1:]) for text in sender.library.taken if text[0] == name]
        assert numbers == sorted(set(numbers))
