"""The broker's state: when the will of a client that vanished is published, and when it is not."""

import pytest
from broker_support import Client, Clock, observe, will

from juham_core.broker import Broker
from juham_core.wire import Publish


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return Broker(clock=clock)


def test_will_is_published_when_the_connection_is_lost(broker):
    observer = observe(broker, "will/#")
    client = Client(broker, will=will(qos=1, content_type="t", user_property=[("a", "b")]))
    client.lose()
    message = observer.only(Publish)
    assert (message.topic, message.payload, message.qos, message.retain) == ("will/c", b"gone", 1, False)
    assert message.properties == {"content_type": "t", "user_property": [("a", "b")]}


@pytest.mark.parametrize(("reason_code", "published"), [(0, False), (4, True), (0x80, True)])
def test_disconnect_and_the_will(broker, reason_code, published):
    observer = observe(broker, "will/#")
    client = Client(broker, will=will())
    client.disconnect(reason_code)
    assert client.closed
    assert observer.payloads() == ([b"gone"] if published else [])


def test_protocol_error_publishes_the_will(broker):
    observer = observe(broker, "will/#")
    Client(broker, will=will()).publish("a/#")
    assert observer.payloads() == [b"gone"]


def test_retained_will_is_retained(broker):
    Client(broker, will=will(retain=True)).lose()
    late = Client(broker, "late")
    late.subscribe("will/#")
    (message,) = late.take(Publish)
    assert (message.payload, message.retain) == (b"gone", True)


def test_delayed_will_waits_and_leaves_its_delay_out(broker, clock):
    observer = observe(broker, "will/#")
    Client(broker, will=will(will_delay_interval=5), session_expiry_interval=100).lose()
    clock.now += 4.9
    broker.tick()
    assert observer.payloads() == []
    clock.now += 0.1
    broker.tick()
    assert observer.only(Publish).properties == {}
    clock.now += 200
    broker.tick()
    assert observer.payloads() == []


def test_delayed_will_is_published_when_the_session_ends_first(broker, clock):
    observer = observe(broker, "will/#")
    Client(broker, will=will(will_delay_interval=500), session_expiry_interval=10).lose()
    clock.now += 10
    broker.tick()
    assert observer.payloads() == [b"gone"]


def test_return_before_the_delay_takes_the_will_back(broker, clock):
    observer = observe(broker, "will/#")
    Client(broker, will=will(will_delay_interval=5), session_expiry_interval=100).lose()
    client = Client(broker, clean_start=False, session_expiry_interval=100)
    assert broker.tick() is None
    client.disconnect()
    clock.now += 100
    broker.tick()
    assert broker.statistics.sessions == 1  # the observer's
    assert observer.payloads() == []
