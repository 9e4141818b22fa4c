"""Whatever clients send, the broker does not raise, and those who behave notice nothing."""

import contextlib
import itertools
import logging

import pytest
from broker_sockets import RawClient
from broker_support import Client, Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from juham_core.broker import Broker, EmbeddedBroker, Limits
from juham_core.errors import JuhamError
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
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
)

# Few values each, so that packets meet: the same topics, packet ids and client ids come again and again.
ids = st.integers(0, 5)
flags = st.booleans()
topics = st.sampled_from(["a", "a/b", "$SYS/a", "", "a/#", "+", "x\0"])
filters = st.sampled_from(
    ["a", "a/#", "+/b", "#", "$SYS/#", "$share/g/a", "$share/g/#", "a#", "", "$share/g"]
)
codes = st.sampled_from([0, 4, 0x10, 0x80, 0x92])
seconds = st.sampled_from([0, 1, 5, 0xFFFF_FFFF])


def properties(**kinds):
    return st.fixed_dictionaries({}, optional=kinds).map(Properties)


wills = st.builds(
    Will,
    topics,
    st.sampled_from([b"", b"will"]),
    st.integers(0, 2),
    flags,
    properties(will_delay_interval=seconds, message_expiry_interval=seconds),
)
connects = st.builds(
    Connect,
    client_id=st.sampled_from(["", "1", "2"]),
    clean_start=flags,
    keepalive=st.sampled_from([0, 1, 10]),
    will=st.none() | wills,
    protocol=st.sampled_from([MQTT_311, MQTT_5, MQTT_5]),
    properties=properties(
        session_expiry_interval=seconds,
        receive_maximum=st.sampled_from([0, 1, 3]),
        maximum_packet_size=st.sampled_from([0, 20, 1000]),
        request_problem_information=st.integers(0, 1),
    ),
)
publishes = st.builds(
    Publish,
    topics,
    st.sampled_from([b"", b"x", bytes(30)]),
    st.integers(0, 3),
    flags,
    flags,
    ids,
    properties(
        topic_alias=st.integers(0, 4),
        message_expiry_interval=seconds,
        response_topic=topics.filter(lambda topic: "\0" not in topic),
        user_property=st.just([("a", "b")]),
    ),
)
subscriptions = st.builds(Subscription, filters, st.integers(0, 3), flags, flags, st.integers(0, 3))
subscribes = st.builds(
    Subscribe,
    ids,
    st.lists(subscriptions, max_size=3),
    properties(subscription_identifier=st.lists(st.integers(0, 3), max_size=2)),
)
packets = st.one_of(
    publishes,
    subscribes,
    connects,
    st.builds(Unsubscribe, ids, st.lists(filters, max_size=3)),
    *(st.builds(kind, ids, codes) for kind in (Puback, Pubrec, Pubrel, Pubcomp)),
    st.builds(Disconnect, codes, properties(session_expiry_interval=seconds)),
    st.sampled_from([Pingreq(), Pingresp(), Auth(), Connack(), Suback(1, [0]), Unsuback(1)]),
)
# Who does it (of three links), and what: a packet, a lost transport, malformed bytes, or time passing.
steps = st.lists(
    st.tuples(st.integers(0, 2), packets | st.sampled_from(["lost", "malformed", 0.5, 5.0])), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_no_sequence_of_packets_disturbs_the_state(sequence):
    clock = Clock()
    limits = Limits(receive_maximum=2, topic_alias_maximum=3, max_inflight=2, max_queued=3)
    broker = Broker(clock=clock, limits=limits)
    witness = Client(broker, "witness")
    witness.subscribe("witness", 1)
    links = [Client(broker, str(number)) for number in range(3)]
    for number, step in sequence:
        link = links[number]
        if isinstance(step, float):
            clock.now += step
            broker.tick()
        elif step == "lost":
            link.lose()
        elif step == "malformed":
            if not link.closed:
                broker.malformed(link, 0x81)
        elif not link.closed:
            link.say(step)
        if link.closed:
            links[number] = Client(broker, str(number), clean_start=False, session_expiry_interval=5)
    witness.acknowledge()
    assert not witness.closed
    witness.publish("witness", b"still here", qos=2)
    assert b"still here" in witness.acknowledge()
    for link in [*links, witness]:
        if not link.closed:
            link.lose()
    clock.now += 1e10
    broker.tick()
    left = broker.statistics
    assert left.connected == 0
    assert left.subscriptions == sum(
        len(session.subscriptions) for session in broker._sessions.values()
    )
    assert not any(session.expiry < 1e10 for session in broker._sessions.values())


# --- bytes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disturbed():
    """A broker, and a well-behaved pair on it that must go on undisturbed."""
    limits = Limits(max_packet_size=100_000)
    with EmbeddedBroker(limits=limits) as broker, RawClient(broker, "good") as good:
        good.subscribe("good", 1)
        yield broker, good, itertools.count()


def encodable(packet, protocol):
    try:
        return encode(packet, protocol)
    except JuhamError:  # the codec refuses to say what MQTT forbids
        return b""


@st.composite
def mutated(draw):
    """A connection's worth of packets, as a client would send them, with some bytes changed, cut or added."""
    protocol = draw(st.sampled_from([MQTT_311, MQTT_5]))
    data = bytearray(encode(Connect(draw(st.sampled_from(["1", "2"])), protocol=protocol), protocol))
    for packet in draw(st.lists(publishes | subscribes | packets, max_size=6)):
        data += encodable(packet, protocol)
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["set", "cut", "add"]))
        if change == "set":
            data[position] = draw(st.integers(0, 255))
        elif change == "cut" and len(data) > 1:
            del data[position]
        else:
            data[position:position] = draw(st.binary(max_size=4))
    return bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200) | mutated(), min_size=1, max_size=6), flags)
def test_no_bytes_disturb_the_neighbours(disturbed, caplog, inputs, leave_at_once):
    broker, good, counter = disturbed
    clients = []
    for data in inputs:
        clients.append(RawClient(broker, connect=False))
        with contextlib.suppress(ConnectionError):
            clients[-1].sock.sendall(data)
        if leave_at_once:
            clients[-1].close()
    payload = b"%d" % next(counter)
    good.send(Publish("good", payload, 1, packet_id=1))
    message, answer = good.receive(Publish), good.receive(Puback)
    assert (message.payload, answer.packet_id) == (payload, 1)
    good.send(Puback(message.packet_id), Pingreq())
    good.receive(Pingresp)
    for client in clients:
        client.close()
    # An exception in the broker's thread would be told by asyncio.
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
