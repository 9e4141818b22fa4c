"""What goes out, in order, whatever the library answers and when."""

import sys
import threading

import pytest
from outgoing_support import Sender, request, subscribing
from waiting import PATIENCE, eventually

from juham_core.awaiting import Awaiting, SubscribeRequest, UnsubscribeRequest
from juham_core.errors import NotConnectedError, PublishError, QueueFullError
from juham_core.message import UnsubscribeReceipt


@pytest.fixture
def sender():
    return Sender()


def test_what_waits_goes_out_in_order_subscriptions_first(sender):
    sender.publish("1")
    sender.publish("2")
    assert (sender.outgoing.queued, sender.outgoing.in_flight) == (2, 0)
    sender.up(requests=[subscribing("a"), subscribing("b")])
    sender.publish("3")
    assert sender.library.taken == [["a"], ["b"], "1", "2", "3"]
    assert (sender.outgoing.queued, sender.outgoing.in_flight) == (0, 3)


def test_the_window_opens_with_each_answer():
    sender = Sender(window=2)
    sender.up()
    for text in "1234":
        sender.publish(text)
    assert sender.library.taken == ["1", "2"]
    sender.outgoing.acknowledged(1, "done")
    assert sender.library.taken == ["1", "2", "3"]
    sender.outgoing.acknowledged(99, "unknown")
    assert sender.library.taken == ["1", "2", "3"]
    assert sender.finished == [(1, "done")]


def test_what_may_follow_is_sent_before_anybody_is_woken():
    sender = Sender(window=2)
    receipts = [sender.publish(text) for text in "abcdef"]
    sender.up()
    seen = []
    for receipt in receipts[:2]:
        receipt.add_done_callback(lambda _: seen.append((list(sender.library.taken), sender.library.pushed)))
    sender.outgoing.acknowledged_many([1, 2], (0, None))
    assert seen == [(list("abcd"), 4)] * 2
    assert [receipt.done() for receipt in receipts] == [True, True, False, False, False, False]


def test_an_answer_that_overtakes_its_sender(sender):
    """The library's network thread brings it before the call that sent has returned."""
    sender.library.before = lambda what, key: sender.outgoing.acknowledged(key, "early")
    sender.up()
    receipt = sender.publish("1")
    assert receipt.done()
    assert sender.finished == [(1, "early")]
    assert sender.outgoing.in_flight == 0


def test_early_answers_to_requests_too(sender):
    sender.library.before = lambda what, key: sender.outgoing.subscribed(key, [0])
    sender.up(requests=[subscribing("a")])
    sender.library.before = lambda what, key: sender.outgoing.unsubscribed(key, [0])
    request(sender, UnsubscribeRequest(["a"], [UnsubscribeReceipt(2, ["a"])]))
    assert sender.finished == [(SubscribeRequest, [0]), (UnsubscribeRequest, [0])]


def test_the_queue_is_bounded_exactly():
    sender = Sender(max_queued=2)
    sender.publish("1")
    sender.publish("2")
    with pytest.raises(QueueFullError, match="max_queued=2"):
        sender.publish("3")
    assert sender.outgoing.queued == 2


@pytest.fixture
def restless():
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_the_queue_is_bounded_exactly_for_many_threads_at_once(restless):
    sender = Sender(max_queued=500)
    barrier, refused = threading.Barrier(8), []

    def publish():
        barrier.wait(PATIENCE)
        refused.extend(filter(None, (outcome(sender) for _ in range(100))))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sender.outgoing.queued, len(refused)) == (500, 300)


def outcome(sender):
    try:
        sender.publish("x")
    except QueueFullError as exc:
        return exc


def test_without_a_queue_what_need_not_wait_is_accepted():
    sender = Sender(max_queued=0, window=1)
    with pytest.raises(QueueFullError):
        sender.publish("no connection")
    sender.up()
    sender.publish("1")
    with pytest.raises(QueueFullError):
        sender.publish("no room")
    sender.outgoing.acknowledged(1, "done")
    sender.publish("2")
    assert sender.library.taken == ["1", "2"]


def test_a_connection_that_goes_while_handing_over(sender):
    """The message keeps its place, and nothing more is handed over until the next connection."""

    def gone(what, key):
        raise NotConnectedError("gone")

    sender.library.before = gone
    sender.up()
    first, second = sender.publish("1"), sender.publish("2")
    assert (sender.outgoing.queued, sender.library.taken) == (2, [])
    sender.library.before = lambda what, key: None
    sender.publish("3")
    assert sender.library.taken == []
    sender.up()
    assert sender.library.taken == ["1", "2", "3"]
    assert not first.done()
    assert not second.done()


def test_a_request_keeps_its_place_too(sender):
    def gone(what, key):
        raise NotConnectedError("gone")

    sender.library.before = gone
    sender.up()
    request(sender, subscribing("a"))
    assert [request.subscriptions[0].topic_filter for request in sender.outgoing.leftover()] == ["a"]
    assert sender.outgoing.leftover() == []


def test_what_the_library_refuses_has_failed_and_the_next_one_goes(sender):
    def refuse(what, key):
        if what in ("bad", ["bad"]):
            raise ValueError("the library says no")

    sender.library.before = refuse
    sender.up()
    bad = sender.publish("bad")
    refused = subscribing("bad")
    request(sender, refused)
    sender.publish("good")
    assert sender.library.taken == ["good"]
    for receipt in (bad, *refused.receipts):
        with pytest.raises(PublishError, match="ValueError: the library says no") as caught:
            receipt.wait(0)
        assert isinstance(caught.value.__cause__, ValueError)


def test_what_ends_the_program_amid_a_hand_over_leaves_no_receipt_open(sender):
    def end(what, key):
        if what in ("bad", ["bad"]):
            raise KeyboardInterrupt

    sender.library.before = end
    bad = sender.publish("bad")
    good = sender.publish("good")
    with pytest.raises(KeyboardInterrupt):
        sender.up()
    asked = subscribing("bad")
    with pytest.raises(KeyboardInterrupt):
        request(sender, asked)
    for receipt in (bad, *asked.receipts):
        with pytest.raises(PublishError, match="KeyboardInterrupt"):
            receipt.wait(0)
    sender.outgoing.hand_over()
    assert sender.library.taken == ["good"]
    assert not good.done()


def test_what_was_in_flight_goes_first_on_the_next_connection():
    sender = Sender(window=2)
    sender.up()
    for text in "123":
        sender.publish(text)
    sender.outgoing.stop()
    sender.publish("4")
    sender.outgoing.window = 9
    sender.up()
    assert sender.library.taken == ["1", "2", "1", "2", "3", "4"]


def test_what_the_library_sends_again_is_left_to_it():
    sender = Sender(window=2)
    sender.up()
    for text in "123":
        sender.publish(text)
    sender.outgoing.stop()
    sender.up(resent=True)
    assert sender.library.taken == ["1", "2"]
    sender.outgoing.acknowledged(1, "done")
    assert sender.library.taken == ["1", "2", "3"]


def test_after_stop_nothing_is_handed_over(sender):
    sender.up()
    sender.outgoing.stop()
    sender.publish("1")
    assert sender.library.taken == []


def test_what_will_never_be_answered_is_collected(sender):
    sender.up(requests=[subscribing("sent")])
    request(sender, UnsubscribeRequest(["gone"], []))
    sender.outgoing.stop()
    request(sender, subscribing("waiting"))
    kinds = [type(request) for request in sender.outgoing.collect()]
    assert kinds == [SubscribeRequest, UnsubscribeRequest, SubscribeRequest]
    assert sender.outgoing.collect() == []


def test_failing_all(sender):
    sender.outgoing.window = 1
    sender.up()
    receipts = [sender.publish(text) for text in "12"]
    assert sender.outgoing.fail_all(lambda receipt: NotConnectedError(str(receipt.mid))) == 2
    for receipt in receipts:
        with pytest.raises(NotConnectedError, match=str(receipt.mid)):
            receipt.wait(0)
    assert sender.outgoing.queued == sender.outgoing.in_flight == 0


def test_waiting_until_nothing_is_under_way(sender):
    sender.up()
    sender.publish("1")
    assert not sender.outgoing.wait_empty(0.01)
    emptied = threading.Event()
    thread = threading.Thread(
        target=lambda: emptied.set() if sender.outgoing.wait_empty(PATIENCE) else None
    )
    thread.start()
    assert eventually(lambda: sender.outgoing._watchers)
    sender.outgoing.acknowledged(1, "done")
    assert emptied.wait(PATIENCE)
    thread.join()


def test_answers_and_offers_from_many_threads_lose_nothing(restless):
    """A library whose network thread answers at once, and senders that compete for the hand-over."""
    sender = Sender(max_queued=100_000, window=5)
    pending = threading.Semaphore(0)
    keys = []

    def before(what, key):
        keys.append(key)
        pending.release()

    sender.library.before = before
    total = 4 * 500

    def answer():
        for number in range(total):
            assert pending.acquire(timeout=PATIENCE)
            sender.outgoing.acknowledged(keys[number], "done")

    threads = [threading.Thread(target=answer)]
    threads += [
        threading.Thread(target=lambda: [sender.publish("x") for _ in range(500)]) for _ in range(4)
    ]
    sender.up()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender.outgoing.wait_empty(PATIENCE)
    assert len(sender.finished) == total


def test_an_answer_is_kept_only_while_somebody_may_claim_it():
    awaiting = Awaiting()
    assert awaiting.answered(1, "nobody asked") is None
    awaiting.sending()
    assert awaiting.answered(2, "early") is None
    assert awaiting.sent(2, "request") == ("request", "early")
    awaiting.sending()
    assert awaiting.sent(1, "request") is None
    assert len(awaiting) == 1
    assert awaiting.answered(1, "now") == "request"
    assert list(awaiting) == []


@pytest.mark.parametrize("resent", [True, False])
def test_what_is_sent_again_is_counted(sender, resent):
    sender.up()
    sender.publish("1")
    sender.publish("22")
    sender.outgoing.acknowledged(1, "done")
    sender.outgoing.stop()
    sender.outgoing.up(resent, [])
    assert sender.outgoing.resent == 1
    assert sender.outgoing.bytes_sent == (3 if resent else 5)
