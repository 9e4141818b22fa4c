"""The ledger of subscriptions: what a new connection has to be told, and who learns of the answer."""

import time

import pytest

from juham_core.awaiting import SubscribeRequest, UnsubscribeRequest
from juham_core.errors import NotConnectedError, PublishError, SubscribeError
from juham_core.ledger import CHUNK, Ledger
from juham_core.message import SubscribeReceipt, UnsubscribeReceipt
from juham_core.wire import Subscription


def want(ledger, *names, qos=1):
    """Subscribe; the receipt and whether it is to be sent now."""
    receipt = SubscribeReceipt(1, names)
    return receipt, ledger.want([Subscription(name, qos) for name in names], receipt)


def give_up(ledger, *names):
    receipt = UnsubscribeReceipt(1, names)
    return receipt, ledger.give_up(list(names), receipt)


def sent(requests):
    """What the requests say: lists of filters to subscribe to, and tuples of those to give up."""
    return [
        [each.topic_filter for each in request.subscriptions]
        if isinstance(request, SubscribeRequest)
        else tuple(request.topic_filters)
        for request in requests
    ]


def grant(ledger, requests, qos=1):
    for request in requests:
        if isinstance(request, SubscribeRequest):
            ledger.answered(request, [qos] * len(request.subscriptions))


@pytest.fixture
def ledger():
    return Ledger()


def test_before_the_first_connection_subscriptions_wait(ledger):
    receipt, now = want(ledger, "a", "b")
    assert not now
    assert ledger.subscriptions() == {"a": None, "b": None}
    requests = ledger.restore(session_present=False)
    assert sent(requests) == [["a", "b"]]
    grant(ledger, requests)
    assert receipt.wait(0).granted == {"a": 1, "b": 1}
    assert ledger.subscriptions() == {"a": 1, "b": 1}


def test_what_cannot_be_sent_fails_those_who_wait_for_it_too(ledger):
    receipt = SubscribeReceipt(1, ["a", "b"])
    ledger.want([Subscription("a", 1), Subscription("b", 1)], receipt)
    (request,) = ledger.restore(session_present=False)
    assert request.receipts == []
    ledger.failed(request, PublishError("the library says no"))
    with pytest.raises(PublishError, match="says no"):
        receipt.wait(0)


def test_on_a_live_connection_they_are_sent_at_once(ledger):
    ledger.restore(session_present=False)
    receipt, now = want(ledger, "a")
    assert now
    ledger.answered(SubscribeRequest([Subscription("a", 1)], [receipt]), [0])
    assert receipt.wait(0).granted == {"a": 0}


def test_a_new_connection_gets_everything_once_and_in_few_packets(ledger):
    names = [f"f/{number}" for number in range(2 * CHUNK + 1)]
    want(ledger, *names)
    want(ledger, names[0])
    requests = ledger.restore(session_present=False)
    assert [len(each) for each in sent(requests)] == [CHUNK, CHUNK, 1]
    assert [name for each in sent(requests) for name in each] == names


def test_a_session_that_is_present_gets_only_what_it_lacks(ledger):
    want(ledger, "granted")
    grant(ledger, ledger.restore(session_present=False))
    want(ledger, "unanswered")
    ledger.orphan([])
    want(ledger, "later")
    assert sent(ledger.restore(session_present=True)) == [["unanswered", "later"]]
    assert ledger.subscriptions()["granted"] == 1
    ledger.orphan([])
    assert sent(ledger.restore(session_present=False)) == [["granted", "unanswered", "later"]]


def test_what_was_given_up_without_a_connection_is_told_to_a_session_that_is_present(ledger):
    want(ledger, "a")
    grant(ledger, ledger.restore(session_present=False))
    ledger.orphan([])
    receipt, now = give_up(ledger, "a")
    assert not now
    assert not receipt.done()
    (request,) = ledger.restore(session_present=True)
    assert isinstance(request, UnsubscribeRequest)
    assert (request.topic_filters, request.receipts) == (["a"], [receipt])


def test_and_the_receipt_of_several_waits_for_all_of_them(ledger):
    want(ledger, "a", "b")
    grant(ledger, ledger.restore(session_present=False))
    ledger.orphan([])
    receipt, _ = give_up(ledger, "a", "b")
    want(ledger, "b")
    assert not receipt.done()
    (goodbye, _) = ledger.restore(session_present=True)
    assert (goodbye.topic_filters, goodbye.receipts) == (["a"], [receipt])
    assert receipt._answer({"a": 0x87})
    with pytest.raises(SubscribeError, match="'a'") as caught:
        receipt.wait(0)
    assert caught.value.refused == {"a": 0x87}


def test_and_is_done_where_there_is_no_session(ledger):
    want(ledger, "a")
    receipt, _ = give_up(ledger, "a")
    assert ledger.restore(session_present=False) == []
    receipt.wait(0)


def test_given_up_and_wanted_again_it_is_no_farewell(ledger):
    want(ledger, "a")
    gone, _ = give_up(ledger, "a")
    want(ledger, "a")
    assert sent(ledger.restore(session_present=True)) == [["a"]]
    assert gone.wait(0) is gone


def test_an_unsubscribed_receipt_that_still_waited_says_so(ledger):
    receipt, _ = want(ledger, "a", "b")
    give_up(ledger, "a")
    with pytest.raises(SubscribeError, match="unsubscribed"):
        receipt.wait(0)


def test_unanswered_requests_wait_for_the_next_connection(ledger):
    ledger.restore(session_present=False)
    receipt, _ = want(ledger, "a")
    goodbye, _ = give_up(ledger, "b")
    ledger.orphan(
        [SubscribeRequest([Subscription("a", 1)], [receipt]), UnsubscribeRequest(["b"], [goodbye])]
    )
    requests = ledger.restore(session_present=True)
    assert sent(requests) == [("b",), ["a"]]
    grant(ledger, requests)
    assert receipt.wait(0).granted == {"a": 1}


def test_of_two_requests_for_a_filter_the_unanswered_one_is_asked_again_in_the_session(ledger):
    ledger.restore(session_present=False)
    asked = []
    ledger._enter_request = asked.append
    first, _ = want(ledger, "a", "b")
    second, _ = want(ledger, "b", qos=2)
    grant(ledger, asked[:1])
    ledger.orphan(asked[1:])
    assert first.wait(0).granted == {"a": 1, "b": 1}
    requests = ledger.restore(session_present=True)
    assert sent(requests) == [["b"]]
    grant(ledger, requests, qos=2)
    assert second.wait(0).granted == {"b": 2}
    assert ledger.subscriptions() == {"a": 1, "b": 2}


def test_one_of_several_filters_is_refused_before_the_connection_is_lost(ledger):
    ledger.restore(session_present=False)
    receipt, _ = want(ledger, "a", "b")
    refused, unanswered = (SubscribeRequest([Subscription(name, 1)], [receipt]) for name in "ab")
    ledger.answered(refused, [0x80])
    ledger.orphan([unanswered])
    grant(ledger, ledger.restore(session_present=False))
    with pytest.raises(SubscribeError, match="refused to subscribe to 'a'"):
        receipt.wait(0)
    assert receipt.granted == {"b": 1}


def test_a_filter_refused_at_first_is_struck_out(ledger):
    receipt, _ = want(ledger, "a", "b")
    (request,) = ledger.restore(session_present=False)
    assert ledger.answered(request, [0x80, 1]) == []
    with pytest.raises(SubscribeError, match="'a'"):
        receipt.wait(0)
    assert ledger.subscriptions() == {"b": 1}


def test_a_filter_that_had_been_granted_is_tried_again(ledger):
    want(ledger, "a")
    grant(ledger, ledger.restore(session_present=False))
    ledger.orphan([])
    (request,) = ledger.restore(session_present=False)
    (lost,) = ledger.answered(request, [0x87])
    assert "'a'" in lost
    assert ledger.subscriptions() == {"a": None}
    ledger.orphan([])
    assert sent(ledger.restore(session_present=True)) == [["a"]]


def test_what_the_connection_was_given_from_the_ledger(ledger):
    want(ledger, "a", qos=1)
    requests = ledger.restore(session_present=False)
    assert ledger.was_restored([Subscription("a", 1)])
    assert not ledger.was_restored([Subscription("a", 0)])
    assert not ledger.was_restored([Subscription("a", 1), Subscription("b", 1)])
    joined = SubscribeReceipt(2, ["a"])
    ledger.join(joined)
    assert not joined.done()
    grant(ledger, requests)
    assert joined.wait(0).granted == {"a": 1}
    late = SubscribeReceipt(3, ["a"])
    ledger.join(late)
    assert late.wait(0).granted == {"a": 1}
    ledger.orphan([])
    assert not ledger.was_restored([Subscription("a", 1)])


def test_closing_fails_what_waits_and_keeps_the_subscriptions(ledger):
    receipt, _ = want(ledger, "a")
    goodbye, _ = give_up(ledger, "b")
    ledger.fail_all(NotConnectedError("closed"))
    for unanswered in (receipt, goodbye):
        with pytest.raises(NotConnectedError):
            unanswered.wait(0)
    assert sent(ledger.restore(session_present=False)) == [["a"]]


def test_what_was_given_up_before_closing_is_told_to_a_session_that_is_present(ledger):
    want(ledger, "a", "b", "c")
    grant(ledger, ledger.restore(session_present=False))
    ledger.orphan([])
    give_up(ledger, "a", "b")
    ledger.fail_all(NotConnectedError("closed"))
    want(ledger, "b")
    assert sent(ledger.restore(session_present=True)) == [("a",), ["c", "b"]]
    ledger.orphan([])
    give_up(ledger, "b")
    ledger.fail_all(NotConnectedError("closed"))
    assert sent(ledger.restore(session_present=False)) == [["c"]]
    assert sent(ledger.restore(session_present=True)) == [["c"]]


@pytest.mark.parametrize("shape", ["f/{}", "f/{}/+", "f/+/{}/#"])
def test_many_filters_take_little_time(ledger, shape):
    names = [shape.format(number) for number in range(5_000)]
    started = time.process_time()
    receipts = [want(ledger, name)[0] for name in names]
    grant(ledger, ledger.restore(session_present=False, identified=True))
    assert all(receipt.done() for receipt in receipts)
    for name in names:
        give_up(ledger, name)
    assert time.process_time() - started < 3  # it was 30 when each looked at all the others


# --- filters that overlap ---------------------------------------------------------------------------


def identifiers(requests):
    return [request.subscriptions[0].identifier for request in requests]


def test_of_overlapping_filters_the_later_ones_have_identifiers(ledger):
    ledger.restore(session_present=False, identified=True)
    want(ledger, "a/b", "c", "a/#", "d/+", "+/b")
    wanted = [Subscription(name) for name in ledger.subscriptions()]
    requests = ledger.requests(wanted)
    assert sent(requests) == [["a/b", "c", "d/+"], ["a/#"], ["+/b"]]
    assert identifiers(requests)[0] == 0
    assert len(set(identifiers(requests))) == 3
    assert ledger.overlapping
    assert ledger.expected("a/b") == set(identifiers(requests))
    assert ledger.expected("d/x") == ledger.expected("c") == {0}
    assert ledger.expected("d/b") == {0, identifiers(requests)[2]}


def test_identifiers_are_the_same_in_every_connection_and_process(ledger):
    want(ledger, "a/b", "a/#")
    first = identifiers(ledger.restore(session_present=False, identified=True))
    ledger.orphan([])
    assert identifiers(ledger.restore(session_present=False, identified=True)) == first
    other = Ledger()
    want(other, "a/b", "a/#")
    assert identifiers(other.restore(session_present=False, identified=True)) == first


def test_without_identifiers_nothing_is_told_apart(ledger):
    want(ledger, "a/b", "a/#")
    assert sent(ledger.restore(session_present=False)) == [["a/b", "a/#"]]
    assert not ledger.overlapping


def test_shared_filters_are_told_apart_and_expected_of_nobody(ledger):
    ledger.restore(session_present=False, identified=True)
    want(ledger, "$share/g/a", "a", "+")
    requests = ledger.requests([Subscription(name) for name in ledger.subscriptions()])
    assert sent(requests) == [["$share/g/a"], ["a"], ["+"]]
    assert ledger.expected("a") == set(identifiers(requests)[1:])


def test_what_no_longer_overlaps_is_no_longer_looked_at(ledger):
    ledger.restore(session_present=False, identified=True)
    want(ledger, "a/b", "a/#")
    ledger.answered(SubscribeRequest([Subscription("a/b"), Subscription("a/#")], []), [0, 0x80])
    assert not ledger.overlapping
    want(ledger, "a/+")
    assert ledger.overlapping
    give_up(ledger, "a/+")
    assert not ledger.overlapping
    assert ledger.expected("a/b") == {0}
