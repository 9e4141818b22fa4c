"""Under fire: what is acknowledged arrives, at QoS 2 once, in order, and every receipt tells the truth."""

import pytest
import trials
from brokers import require_mosquitto
from durable import DurableEmbedded, DurableMosquitto

pytestmark = pytest.mark.needs("tcp", "persistent_session")

BOUND = 50
"""Received messages that may wait for the slow handler."""
WINDOW = 50
"""Messages that the broker sends beyond it, unacknowledged: 20, or under MQTT 5 what the client takes."""


def check(accounts):
    """What holds in every trial; each account says what was wrong with it."""
    for each in accounts:
        assert (each.unresolved, each.failed) == (0, 0), each
        assert each.lost == each.disordered == 0, each
        if each.qos == 2:
            assert each.duplicated == each.repeated, each


def test_a_publisher_s_connection_is_cut(backend, unlimited, topic, size, account):
    accounts = trials.publish_through_cuts(backend, unlimited.where, topic, size)
    account(accounts)
    check(accounts)
    for each in accounts:
        assert each.faults >= size.strikes
        assert each.repeated == 0, each


@pytest.mark.needs("qos_2")
@pytest.mark.parametrize("version", [4, 5])
def test_a_broker_that_limits_what_is_in_flight_loses_nothing(backend, limited, topic, version, size):
    """Neither by the window that JMqtt has by itself, nor by a larger one where the broker can say so."""
    window = {"max_inflight": 200} if version == 5 else {}
    accounts = trials.publish_through_cuts(
        backend, limited.where, topic, size, protocol=version, **window
    )
    for each in accounts:
        each.disordered = 0  # with a limit Mosquitto 2.0.11 sends a witness that lags behind out of order
    check(accounts)


def test_a_subscriber_s_connection_is_cut(backend, unlimited, topic, size, account):
    accounts = trials.receive_through_cuts(backend, unlimited.where, topic, size)
    account(accounts)
    check(accounts)
    for each in accounts:
        assert each.faults >= size.strikes
        assert each.qos == 1 or each.duplicated == 0, each


def test_the_embedded_broker_is_stopped_and_started(backend, topic, restarts, account):
    with DurableEmbedded() as broker:
        accounts = trials.publish_through_restarts(backend, broker, topic, restarts, "stopped")
    account(accounts)
    check(accounts)
    for each in accounts:
        assert each.reconnects >= each.faults, each


def test_mosquitto_is_terminated_and_started(backend, topic, restarts, account):
    """It repeats to the witness what it had not written down as done, and marks it with DUP."""
    require_mosquitto(pytest.skip, pytest.fail)
    with DurableMosquitto() as broker:
        accounts = trials.publish_through_restarts(backend, broker, topic, restarts, "terminated")
    account(accounts)
    check(accounts)


def test_mosquitto_is_killed_and_started(backend, topic, restarts, account):
    """Nothing is lost but what the broker had acknowledged, on the wire, and not yet written down."""
    require_mosquitto(pytest.skip, pytest.fail)
    with DurableMosquitto() as broker:
        accounts = trials.publish_through_restarts(backend, broker, topic, restarts, "killed")
    account(accounts)
    for each in accounts:
        assert (each.unresolved, each.failed) == (0, 0), each
        assert each.lost == each.forgotten, each


def check_slow(accounts):
    check(accounts)
    for each in accounts:
        assert (each.duplicated, each.reconnects) == (0, 0), each


def test_a_handler_is_slow(backend, topic, size):
    """Its messages wait in a bounded queue and then with the broker; the connection stands."""
    with DurableEmbedded() as broker:
        accounts = trials.receive_slowly(backend, broker.where, topic, size, 0.002, BOUND)
    check_slow(accounts)
    # One is in the handler, one is being put in the queue.
    assert 0 < accounts[0].waiting <= BOUND + WINDOW + 2


def test_a_handler_is_slow_and_mosquitto_sends_whatever_it_has(backend, unlimited, topic, size, account):
    """How many wait is up to the broker, where the library cannot be kept from reading."""
    accounts = trials.receive_slowly(backend, unlimited.where, topic, size, 0.002, BOUND)
    account(accounts)
    check_slow(accounts)
