"""What a session answers to the messages that it receives."""

import pytest

from juham_core.wire import MQTT_5, MQTT_311, Puback, Pubcomp, Publish, Pubrec, Pubrel, encode
from juham_core.wire.arrivals import Arrivals
from juham_core.wire.reasons import PACKET_IDENTIFIER_NOT_FOUND


@pytest.fixture(params=[MQTT_311, MQTT_5])
def protocol(request):
    return request.param


@pytest.fixture
def arrivals(protocol):
    return Arrivals(protocol)


def message(packet_id, qos):
    return Publish("t", b"x", qos, packet_id=packet_id)


def test_qos_1_is_acknowledged_at_once_each_time_it_comes(arrivals, protocol):
    for _ in range(2):
        assert arrivals.is_new(message(7, 1), later=False)
        assert arrivals.accepted(7, 1) == encode(Puback(7), protocol)


def test_qos_2_is_new_until_it_is_released(arrivals, protocol):
    assert arrivals.is_new(message(7, 2), later=False)
    assert not arrivals.is_new(message(7, 2), later=False)
    assert arrivals.accepted(7, 2) == encode(Pubrec(7), protocol)
    assert arrivals.released(Pubrel(7)) == encode(Pubcomp(7), protocol)
    assert arrivals.is_new(message(7, 2), later=False)


def test_a_release_of_what_is_not_known_says_so(arrivals, protocol):
    answer = arrivals.released(Pubrel(7))
    assert answer == encode(Pubcomp(7, PACKET_IDENTIFIER_NOT_FOUND), protocol)


def test_qos_2_that_comes_again_before_it_may_be_acknowledged_is_not(arrivals, protocol):
    assert arrivals.is_new(message(7, 2), later=True)
    assert not arrivals.is_new(message(7, 2), later=True)
    assert arrivals.accepted(7, 2) is None
    assert arrivals.acknowledge(7, 2) == encode(Pubrec(7), protocol)
    assert arrivals.acknowledge(7, 2) is None


def test_what_an_earlier_connection_brought_is_acknowledged_when_it_comes_again(arrivals, protocol):
    arrivals.is_new(message(7, 2), later=True)
    arrivals.is_new(message(8, 1), later=True)
    arrivals.disconnected()
    assert arrivals.acknowledge(7, 2) is None
    assert arrivals.acknowledge(8, 1) is None
    assert not arrivals.is_new(message(7, 2), later=True)
    assert arrivals.accepted(7, 2) == encode(Pubrec(7), protocol)


def test_without_its_session_everything_is_new(arrivals):
    arrivals.is_new(message(7, 2), later=False)
    arrivals.forget()
    assert arrivals.is_new(message(7, 2), later=False)
