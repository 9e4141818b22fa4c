"""The broker's state: who may connect, sessions and their end, takeover, keepalive, wills."""

import pytest
from broker_support import Client, Clock, observe, will

from juham_core.broker import Broker, Limits
from juham_core.errors import OptionError
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Subscribe,
    Subscription,
    Will,
    reasons,
)

BOTH = pytest.mark.parametrize("protocol", [MQTT_311, MQTT_5])


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return Broker(clock=clock)


# --- CONNECT --------------------------------------------------------------------------------------------


@BOTH
def test_connect_is_accepted_without_a_session(broker, protocol):
    client = Client(broker, protocol=protocol)
    assert (client.connack.reason_code, client.connack.session_present) == (0, False)
    assert broker.statistics.connected == 1


def test_anything_before_connect_closes_the_link(broker):
    class Link:
        closed = False

        def send(self, packet):
            raise AssertionError(packet)

        def close(self):
            self.closed = True

    link = Link()
    broker.received(link, Pingreq())
    assert link.closed


@BOTH
def test_second_connect_is_a_protocol_error(broker, protocol):
    client = Client(broker, protocol=protocol)
    client.say(Connect("c", protocol=protocol))
    assert client.closed
    expected = [reasons.PROTOCOL_ERROR] if protocol == MQTT_5 else []
    assert [packet.reason_code for packet in client.take(Disconnect)] == expected
    assert broker.statistics.connected == 0


@pytest.mark.parametrize("packet", [Connack(), Pingresp(), Auth()])
def test_what_only_a_server_may_send_is_a_protocol_error(broker, packet):
    client = Client(broker)
    client.say(packet)
    assert client.only(Disconnect).reason_code == reasons.PROTOCOL_ERROR


def test_unknown_protocol_is_refused(broker):
    client = Client(broker, protocol=3)
    assert client.connack.reason_code == reasons.UNSUPPORTED_PROTOCOL_VERSION
    assert client.closed


def test_empty_client_id_is_assigned_one(broker):
    first, second = Client(broker, ""), Client(broker, "")
    assigned = [each.connack.properties.assigned_client_identifier for each in (first, second)]
    assert all(assigned)
    assert assigned[0] != assigned[1]
    assert Client(broker, "named").connack.properties.assigned_client_identifier is None


def test_empty_client_id_with_a_kept_session_is_refused_in_3_1_1(broker):
    client = Client(broker, "", clean_start=False, protocol=MQTT_311)
    assert client.connack.reason_code == reasons.CLIENT_IDENTIFIER_NOT_VALID
    assert client.closed


def test_enhanced_authentication_is_refused(broker):
    client = Client(broker, authentication_method="SCRAM-SHA-1")
    assert client.connack.reason_code == reasons.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize("name", ["receive_maximum", "maximum_packet_size"])
def test_limits_of_zero_are_a_protocol_error(broker, name):
    assert Client(broker, **{name: 0}).connack.reason_code == reasons.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("ann", b"secret", 0),
        ("ann", b"wrong", reasons.BAD_USER_NAME_OR_PASSWORD),
        ("ann", None, reasons.BAD_USER_NAME_OR_PASSWORD),
        ("bob", b"", reasons.BAD_USER_NAME_OR_PASSWORD),
        (None, None, reasons.NOT_AUTHORIZED),
    ],
)
def test_users(username, password, code):
    broker = Broker(users={"ann": "secret"})
    client = Client(broker, username=username, password=password)
    assert client.connack.reason_code == code
    assert client.closed == bool(code)


def test_authenticate_decides_by_the_connect():
    broker = Broker(authenticate=lambda connect: reasons.BANNED if connect.client_id == "mallory" else 0)
    assert Client(broker, "ann").connack.reason_code == 0
    assert Client(broker, "mallory").connack.reason_code == reasons.BANNED


@pytest.mark.parametrize("topic", ["", "a/#", "a\0"])
def test_will_with_an_invalid_topic_is_refused(broker, topic):
    assert Client(broker, will=Will(topic)).connack.reason_code == reasons.TOPIC_NAME_INVALID


def test_connack_announces_the_limits():
    limits = Limits(
        receive_maximum=7,
        topic_alias_maximum=3,
        max_packet_size=1000,
        max_session_expiry=60,
        max_keepalive=30,
    )
    properties = Client(Broker(limits=limits), session_expiry_interval=100).connack.properties
    assert properties == {
        "receive_maximum": 7,
        "topic_alias_maximum": 3,
        "maximum_packet_size": 1000,
        "session_expiry_interval": 60,
        "server_keep_alive": 30,
    }
    assert Client(Broker(limits=limits), protocol=MQTT_311).connack.properties == {}


def test_server_keep_alive_leaves_a_shorter_keepalive_alone():
    properties = Client(Broker(limits=Limits(max_keepalive=30)), keepalive=20).connack.properties
    assert properties.server_keep_alive is None


@pytest.mark.parametrize("bad", [{"max_inflight": 0}, {"receive_maximum": 70_000}, {"write_buffer": -1}])
def test_limits_that_cannot_be_kept_are_named(bad):
    with pytest.raises(OptionError, match=next(iter(bad))):
        Limits(**bad)


# --- sessions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"protocol": MQTT_311, "clean_start": False}, {"session_expiry_interval": 100, "clean_start": False}],
)
def test_session_outlives_its_connection(broker, options):
    Client(broker, **options).subscribe("a", 1)
    first = broker.statistics
    client = Client(broker, **options)
    assert client.connack.session_present
    client.lose()
    Client(broker, "other").publish("a", b"kept", qos=1)
    assert Client(broker, **options).payloads() == [b"kept"]
    assert first.subscriptions == 1


@pytest.mark.parametrize("options", [{"protocol": MQTT_311}, {}])
def test_session_ends_with_its_connection(broker, options):
    client = Client(broker, **options)
    client.subscribe("a", 1)
    client.lose()
    assert (broker.statistics.sessions, broker.statistics.subscriptions) == (0, 0)
    assert not Client(broker, **{**options, "clean_start": False}).connack.session_present


def test_clean_start_discards_the_session(broker):
    client = Client(broker, session_expiry_interval=100)
    client.subscribe("a", 1)
    client.lose()
    again = Client(broker, clean_start=True, session_expiry_interval=100)
    assert not again.connack.session_present
    Client(broker, "other").publish("a", qos=1)
    assert again.sent == []


def test_session_expires(broker, clock):
    Client(broker, session_expiry_interval=100).lose()
    assert broker.tick() == 100
    clock.now += 99
    assert broker.tick() == 1
    assert broker.statistics.sessions == 1
    clock.now += 1
    assert broker.tick() is None
    assert broker.statistics.sessions == 0


def test_return_before_the_expiry_keeps_the_session_for_good(broker, clock):
    Client(broker, session_expiry_interval=100).lose()
    clock.now += 50
    client = Client(broker, clean_start=False, session_expiry_interval=100)
    assert broker.tick() is None
    clock.now += 100
    broker.tick()
    assert client.connack.session_present
    assert broker.statistics.sessions == 1


@pytest.mark.parametrize(
    "options",
    [{"protocol": MQTT_311, "clean_start": False}, {"session_expiry_interval": 0xFFFF_FFFF}],
)
def test_session_that_never_expires_is_bounded_by_the_limit_only(clock, options):
    unbounded, bounded = Broker(clock=clock), Broker(clock=clock, limits=Limits(max_session_expiry=60))
    for broker in (unbounded, bounded):
        Client(broker, **options).lose()
    clock.now += 1e9
    unbounded.tick()
    bounded.tick()
    assert (unbounded.statistics.sessions, bounded.statistics.sessions) == (1, 0)


def test_disconnect_changes_the_session_expiry(broker, clock):
    Client(broker, session_expiry_interval=100).disconnect(session_expiry_interval=10)
    clock.now += 10
    broker.tick()
    assert broker.statistics.sessions == 0


def test_disconnect_may_not_make_a_session_of_none(broker):
    client = Client(broker)
    client.disconnect(session_expiry_interval=10)
    assert client.only(Disconnect).reason_code == reasons.PROTOCOL_ERROR
    assert broker.statistics.sessions == 0


# --- takeover -------------------------------------------------------------------------------------------


@BOTH
def test_takeover_disconnects_the_older_connection(broker, protocol):
    old = Client(broker, protocol=protocol)
    new = Client(broker, protocol=protocol)
    assert old.closed
    expected = [reasons.SESSION_TAKEN_OVER] if protocol == MQTT_5 else []
    assert [packet.reason_code for packet in old.take(Disconnect)] == expected
    broker.lost(old)  # its transport notices late
    new.say(Pingreq())
    assert new.only(Pingresp)


@pytest.mark.parametrize(
    ("delay", "old_expiry", "clean_start", "published"),
    [
        (0, 100, False, True),  # the connection closed, and there is no delay
        (50, 100, False, False),  # the client is back before the delay has passed
        (50, 100, True, True),  # the session ends
        (50, 0, False, True),  # the session ends
    ],
)
def test_takeover_and_the_will(broker, delay, old_expiry, clean_start, published):
    observer = observe(broker, "will/#")
    Client(broker, will=will(will_delay_interval=delay), session_expiry_interval=old_expiry)
    Client(broker, clean_start=clean_start, session_expiry_interval=100)
    assert observer.payloads() == ([b"gone"] if published else [])


# --- keepalive ------------------------------------------------------------------------------------------


@BOTH
def test_silence_of_one_and_a_half_keepalives_ends_the_connection(broker, clock, protocol):
    observer = observe(broker, "will/#")
    client = Client(broker, keepalive=10, protocol=protocol, will=will())
    clock.now += 14.9
    assert broker.tick() == pytest.approx(0.1)
    assert not client.closed
    clock.now += 0.2
    broker.tick()
    assert client.closed
    expected = [reasons.KEEP_ALIVE_TIMEOUT] if protocol == MQTT_5 else []
    assert [packet.reason_code for packet in client.take(Disconnect)] == expected
    assert observer.payloads() == [b"gone"]


def test_any_packet_keeps_the_connection_alive(broker, clock):
    client = Client(broker, keepalive=10)
    for _ in range(5):
        clock.now += 14
        client.say(Pingreq())
        broker.tick()
    assert not client.closed


def test_keepalive_of_zero_never_times_out(broker, clock):
    client = Client(broker, keepalive=0)
    clock.now += 1e6
    assert broker.tick() is None
    assert not client.closed


def test_forced_keepalive_is_enforced(clock):
    broker = Broker(clock=clock, limits=Limits(max_keepalive=10))
    client = Client(broker, keepalive=0)
    clock.now += 15
    broker.tick()
    assert client.closed


# --- malformed input, shutdown --------------------------------------------------------------------------


@BOTH
def test_malformed_input_ends_one_connection_with_its_reason(broker, protocol):
    observer = observe(broker, "will/#")
    client = Client(broker, protocol=protocol, will=will())
    broker.malformed(client, reasons.MALFORMED_PACKET)
    assert client.closed
    expected = [reasons.MALFORMED_PACKET] if protocol == MQTT_5 else []
    assert [packet.reason_code for packet in client.take(Disconnect)] == expected
    assert observer.payloads() == [b"gone"]
    assert not observer.closed


def test_malformed_connect_is_answered_with_connack(broker):
    client = Client(broker, "x")
    client.disconnect()
    client.closed = False
    broker.malformed(client, reasons.UNSUPPORTED_PROTOCOL_VERSION)
    assert client.only(Connack).reason_code == reasons.UNSUPPORTED_PROTOCOL_VERSION
    assert client.closed


def test_shutdown_tells_everybody_and_keeps_sessions(broker):
    lasting, fleeting = Client(broker, "l", session_expiry_interval=10), Client(broker, "f")
    broker.shutdown()
    assert {each.only(Disconnect).reason_code for each in (lasting, fleeting)} == {
        reasons.SERVER_SHUTTING_DOWN
    }
    assert (broker.statistics.sessions, broker.statistics.connected) == (1, 0)


def test_lost_and_unknown_links_are_ignored(broker):
    client = Client(broker)
    client.lose()
    broker.lost(client)
    assert broker.statistics.connected == 0


def test_the_link_of_one_client_says_nothing_about_another(broker):
    one, two = Client(broker, "1"), Client(broker, "2")
    one.say(Subscribe(1, [Subscription("a")], Properties()))
    two.publish("a", b"hello")
    assert one.payloads() == [b"hello"]
    assert two.payloads() == []
