"""The receiving half of a client, where its parts meet: closing it from several threads."""

import logging
import secrets
import threading
import time

import pytest
from waiting import PATIENCE, Inbox, eventually

import juham_core as juham
from juham_core import hookimpl
from juham_core.hooks import register, unregister
from juham_core.memory import JMemory
from juham_core.message import MqttMsg


def test_two_closes_at_once_do_not_forget_what_the_other_waits_for(closing):
    delivery = closing(JMemory())._delivery
    delivery.start()
    entered, first_go, second_go = threading.Event(), threading.Event(), threading.Event()

    def block(go_on):
        entered.set()
        go_on.wait(PATIENCE)

    delivery.after(lambda: block(first_go))
    assert entered.wait(PATIENCE)
    threads = [threading.Thread(target=delivery.close, args=(PATIENCE,)) for _ in range(2)]
    threads[0].start()
    assert eventually(lambda: delivery.waiting)  # the first waits behind the blocked call
    delivery.after(lambda: block(second_go))
    threads[1].start()
    threads[1].join(0.1)
    began = time.monotonic()
    first_go.set()
    threads[0].join(0.1)
    second_go.set()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("room", [5, 3, 2, 0])
def test_messages_that_come_together_are_counted_bounded_and_delivered_like_single_ones(closing, room):
    client = closing(JMemory())
    delivery, handled = client._delivery, []
    client.on_message = lambda _client, _userdata, message: handled.append(message.payload)
    delivery.limit = room
    client._received_many([MqttMsg("a", b"%d" % number) for number in range(3)])
    assert client.statistics.received == 3
    assert client.statistics.dropped["receive queue full"] == max(0, 3 - room)
    assert delivery.waiting == min(3, room)
    delivery.start()
    assert eventually(lambda: len(handled) == min(3, room))
    assert handled == [b"0", b"1", b"2"][:room]


@pytest.mark.parametrize("room", [400, 300, 201, 200, 1])
def test_messages_that_come_together_are_weighed_like_single_ones(closing, room):
    client = closing(JMemory())
    client.configure(max_received_bytes=room)
    handled = []
    client.on_message = lambda _client, _userdata, message: handled.append(message.payload)
    client._received_many([MqttMsg("a", b"%d" % number * 100) for number in range(3)])
    fits = {400: 3, 300: 3, 201: 3, 200: 2, 1: 1}[room]
    assert client.statistics.waiting_bytes == 100 * fits
    assert client.statistics.dropped["receive queue full"] == 3 - fits
    client.loop_start()
    assert eventually(lambda: len(handled) == fits)
    assert client.statistics.waiting_bytes == 0


@pytest.mark.parametrize("handlers", ["thread", "inline"])
def test_what_is_forgotten_when_a_client_is_closed_weighs_nothing(closing, handlers):
    client = closing(JMemory())
    client.configure(handlers=handlers)
    for _ in range(3):
        client._received("a", b"x" * 100)
    assert client.statistics.waiting_bytes == 300
    client.disconnect_from_server()
    assert client.statistics.waiting_bytes == 0
    client.loop_start()
    client._received("a", b"x" * 100)
    assert eventually(lambda: client.statistics.dropped["no handler"] == 1)
    assert client.statistics.waiting_bytes == 0


@pytest.mark.parametrize("manual", [True, False])
def test_what_nobody_can_acknowledge_is_told_once(closing, caplog, manual):
    broker = f"memory://{secrets.token_hex(4)}"
    client, publisher = closing(juham.connect(broker, manual_ack=manual)), closing(juham.connect(broker))
    client.subscribe("a/#", qos=1).wait(PATIENCE)
    for qos in (0, 1, 1):
        publisher.publish("a/b", "x", qos).wait(PATIENCE)
    assert eventually(lambda: client.statistics.dropped["no handler"] == 3)
    told = [record.getMessage() for record in caplog.records if "'a/b'" in record.getMessage()]
    assert len(told) == manual
    assert all("no handler" in text and "unsubscribe" in text for text in told)


def test_what_a_hook_makes_of_a_message_is_weighed(closing):
    class Longer:
        @hookimpl
        def jmqtt_received(self, message):
            return MqttMsg(message.topic, message.payload * 100)

    client, plugin = closing(JMemory()), Longer()
    register(plugin)
    try:
        client._received("a", b"x")
    finally:
        unregister(plugin)
    assert client.statistics.waiting_bytes == 100
    client.loop_start()
    assert eventually(lambda: client.statistics.waiting_bytes == 0)


def test_messages_that_wait_for_a_loop_that_nobody_starts_are_told_of_once(closing, caplog):
    client = closing(JMemory())
    delivery, handled = client._delivery, Inbox()
    client.on_message = handled
    delivery.mind_the_loop()
    delivery.mind_the_loop()
    client._received_many([MqttMsg("a", b"x")])
    delivery.mind_the_loop()
    assert not caplog.messages  # it may be about to be started
    delivery.mind_the_loop()
    delivery.mind_the_loop()
    [said] = caplog.messages
    assert "wait (1)" in said
    assert "loop_start()" in said
    client.loop_start()
    assert handled.next().topic == "a"


def test_messages_that_wait_for_a_slow_handler_are_not_said_to_lack_a_loop(closing, caplog):
    client = closing(JMemory())
    delivery, entered, go_on = client._delivery, threading.Event(), threading.Event()

    def slow(_client, _userdata, _message):
        entered.set()
        go_on.wait(PATIENCE)

    client.on_message = slow
    client.loop_start()
    client._received_many([MqttMsg("a", b"x"), MqttMsg("a", b"y")])
    assert entered.wait(PATIENCE)
    for _ in range(3):
        delivery.mind_the_loop()
    go_on.set()
    assert not caplog.messages


def test_a_connected_client_looks_for_its_loop_from_time_to_time(closing, caplog):
    caplog.set_level(logging.WARNING, "juham.delivery")
    client = closing(JMemory())
    client.options = client.options.changed(ack_timeout=0.04)
    client.connect_to_server("a-broker-of-its-own")
    client.subscribe("a").wait(PATIENCE)
    client.publish("a", "x", 1).wait(PATIENCE)
    assert eventually(lambda: "loop_forever()" in caplog.text)
