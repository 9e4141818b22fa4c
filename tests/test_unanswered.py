"""How many subscribes and unsubscribes may wait for the broker's answer."""

import pytest

from juham_core.errors import QueueFullError
from juham_core.message import SubscribeReceipt
from juham_core.unanswered import Unanswered


@pytest.fixture
def requests():
    made = Unanswered()
    made.most = 3
    return made


def ask(requests, untold=0):
    receipt = SubscribeReceipt(1, ["a"])
    requests.admit(receipt, untold)
    return receipt


def test_past_the_bound_the_call_says_so(requests):
    for _ in range(3):
        ask(requests)
    with pytest.raises(QueueFullError, match=r"3 subscribes.*max_requests=3"):
        ask(requests)
    assert len(requests) == 3


@pytest.mark.parametrize("which", range(3))
def test_an_answer_makes_room_whichever_it_is(requests, which):
    receipts = [ask(requests) for _ in range(3)]
    receipts[which]._resolve()
    assert len(requests) == 2
    ask(requests)
    with pytest.raises(QueueFullError):
        ask(requests)


def test_answers_that_were_not_told_take_room(requests):
    ask(requests, untold=2)
    with pytest.raises(QueueFullError, match="2 answers for their handler"):
        ask(requests, untold=2)
    ask(requests, untold=1)


def test_those_that_are_done_are_not_kept(requests):
    for _ in range(1_000):
        ask(requests)._resolve()
    assert len(requests) == 0
    assert len(requests._receipts) <= 1
