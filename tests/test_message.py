"""Messages, payloads and receipts."""

import logging
import threading

import pytest
from waiting import PATIENCE, Recorder, eventually

from juham_core.errors import NotConnectedError, PayloadError, QosError, ReceiptTimeoutError, SubscribeError
from juham_core.message import (
    MqttMsg,
    PublishReceipt,
    Receipt,
    SubscribeReceipt,
    UnsubscribeReceipt,
    check_qos,
    encode_payload,
)
from juham_core.wire import Properties


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("ü", b"\xc3\xbc"),
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"abc")[::2], b"ac"),
        (7, b"7"),
        (-0.5, b"-0.5"),
        (True, b"True"),
        (None, b""),
    ],
)
def test_payloads(payload, expected):
    encoded = encode_payload(payload)
    assert type(encoded) is bytes
    assert encoded == expected


def test_a_payload_that_changes_later_was_copied():
    payload = bytearray(b"before")
    encoded = encode_payload(payload)
    payload[:] = b"after!"
    assert encoded == b"before"


@pytest.mark.parametrize("payload", [[1], {"a": 1}, {1}, object(), 1j, "\ud800"])
def test_payloads_of_other_types(payload):
    with pytest.raises(PayloadError):
        encode_payload(payload)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_quality_of_service(qos):
    assert check_qos(qos) == qos


@pytest.mark.parametrize("qos", [3, -1, "1", None, 1.0, 0x80])
def test_no_quality_of_service(qos):
    with pytest.raises(QosError, match="0, 1 or 2"):
        check_qos(qos)


def test_messages_are_equal_by_what_they_carry():
    assert MqttMsg("a", b"x", 1) == MqttMsg("a", b"x", 1, properties=Properties())
    assert MqttMsg("a", b"x", 1) != MqttMsg("a", b"x", 1, retain=True)
    assert MqttMsg("a") != "a"
    with pytest.raises(TypeError):
        hash(MqttMsg("a"))


def test_a_message_shows_the_beginning_of_its_payload():
    assert repr(MqttMsg("a", b"x", 1, True)) == "MqttMsg('a', b'x', qos=1, retain)"
    assert len(repr(MqttMsg("a", bytes(10_000)))) < 250


def test_the_properties_of_a_message_are_made_when_asked_for():
    message = MqttMsg("a")
    message.properties["content_type"] = "text/plain"
    assert message.properties == {"content_type": "text/plain"}
    message.properties = None
    assert message.properties == {}


def test_a_receipt_is_a_pair_and_always_true():
    receipt = Receipt(7)
    assert tuple(receipt) == (0, 7)
    assert (receipt[0], receipt[1], len(receipt)) == (0, 7, 2)
    assert receipt
    assert "under way" in repr(receipt)


def test_a_receipt_is_resolved_once():
    receipt = Receipt(1)
    assert receipt._resolve()
    assert not receipt._resolve(NotConnectedError("late"))
    assert receipt.exception() is None
    assert receipt.wait() is receipt


def test_many_threads_wait_for_one_receipt():
    receipt, started, outcomes = PublishReceipt(1), threading.Barrier(9), Recorder()

    def wait():
        started.wait(PATIENCE)
        outcomes(receipt.wait(PATIENCE))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(PATIENCE)
    receipt._resolve()
    for thread in threads:
        thread.join()
    assert [outcomes.next(0) for _ in threads] == [(receipt,)] * 8


def test_receipts_resolved_while_threads_begin_to_wait():
    """The race between entering oneself and being told: nobody may be forgotten."""
    receipts = [PublishReceipt(number) for number in range(2000)]
    thread = threading.Thread(target=lambda: [receipt._resolve() for receipt in receipts])
    thread.start()
    for receipt in receipts:
        receipt.wait(PATIENCE)
    thread.join()


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_waiting_in_vain(timeout):
    receipt = PublishReceipt(3)
    with pytest.raises(ReceiptTimeoutError, match="request 3"):
        receipt.wait(timeout)
    receipt.wait_for_publish(timeout)
    assert not receipt.is_published()


def test_a_failure_is_raised_each_time():
    receipt = PublishReceipt(1)
    error = NotConnectedError("gone")
    receipt._resolve(error)
    for ask in (receipt.wait, receipt.wait_for_publish, receipt.is_published):
        with pytest.raises(NotConnectedError):
            ask()
    assert receipt.exception() is error
    assert "gone" in repr(receipt)


def test_a_callback_that_raises_is_logged_and_harms_nobody(caplog):
    receipt, called = PublishReceipt(1), Recorder()

    def bad(receipt):
        raise ZeroDivisionError("on purpose")

    receipt.add_done_callback(bad)
    receipt.add_done_callback(called)
    with caplog.at_level(logging.ERROR, "juham"):
        assert receipt._resolve()
    assert called.next(0) == (receipt,)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_subscription_is_done_when_every_filter_is_answered():
    receipt = SubscribeReceipt(1, ["a", "b"])
    assert not receipt._answer({"a": 1, "other": 0})
    assert not receipt.done()
    assert receipt._answer({"b": 0})
    assert receipt.granted == {"a": 1, "b": 0}


def test_refused_filters_are_named_with_their_codes():
    receipt = SubscribeReceipt(1, ["a", "b", "c"])
    receipt._answer({"a": 0x87, "b": 2, "c": 0x80})
    with pytest.raises(SubscribeError, match=r"'a' \(.*\), 'c'") as caught:
        receipt.wait()
    assert caught.value.refused == {"a": 0x87, "c": 0x80}
    assert receipt.granted == {"b": 2}


def test_an_unsubscription_knows_its_filters():
    assert UnsubscribeReceipt(1, ["a", "b"]).topic_filters == ("a", "b")


def test_who_waits_again_and_again_leaves_nothing_behind():
    receipt = PublishReceipt(1)
    for _ in range(10):
        receipt.wait_for_publish(0.001)
    assert not receipt._waiters
    waiting = threading.Thread(target=receipt.wait, args=(PATIENCE,))
    waiting.start()
    assert eventually(lambda: receipt._waiters)
    receipt._resolve()
    waiting.join()
    assert receipt.wait(0).done()
