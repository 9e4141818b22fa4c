import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from native_support import Conversation

from juham_core.errors import MalformedPacketError
from juham_core.wire import (
    Connack,
    Connect,
    Decoder,
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
    encode,
)

TOPICS = st.sampled_from(["a", "a/b", "home/hall/temperature", "ä/é", "t" * 200, "t" * 300])
PAYLOADS = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"x" * 100, b"x" * 127, b"x" * 128, b"y" * 17_000])
)
STRINGS = st.sampled_from(["", "text/plain", "ü", "x" * 100])
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": STRINGS,
        "message_expiry_interval": st.integers(0, 2**32 - 1),
        "correlation_data": st.binary(max_size=10),
        "response_topic": st.sampled_from(["r", "r/ü"]),
        "payload_format_indicator": st.integers(0, 1),
        "subscription_identifier": st.lists(st.integers(1, 200), min_size=1, max_size=2),
        "user_property": st.lists(st.tuples(STRINGS, STRINGS), min_size=1, max_size=3),
    },
).map(Properties)
IDS = st.integers(1, 9)
IDENTIFIERS = (1, 2, 3, 5)


@st.composite
def publishes(draw):
    qos = draw(st.sampled_from([0, 0, 1, 1, 2]))
    return Publish(
        draw(TOPICS),
        draw(PAYLOADS),
        qos,
        draw(st.booleans()),
        bool(qos) and draw(st.booleans()),
        draw(IDS) if qos else 0,
        draw(PROPERTIES),
    )


PACKETS = st.one_of(
    publishes(),
    publishes(),
    st.builds(Puback, IDS, st.sampled_from([0, 0, 0, 0x10, 0x97])),
    st.builds(Pubrec, IDS, st.sampled_from([0, 0x97])),
    st.builds(Pubrel, IDS),
    st.builds(Pubcomp, IDS),
    st.builds(Suback, IDS, st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1, max_size=3)),
    st.builds(Unsuback, IDS, st.just([0])),
    st.just(Pingresp()),
)


def cut(data, places):
    """The data in pieces that end at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def busy(protocol):
    """A conversation in which a few publishes wait for their acknowledgements."""
    made = Conversation(protocol)
    for packet_id in IDENTIFIERS:
        packet = Publish("out", b"x", 1 if packet_id % 2 else 2, packet_id=packet_id)
        made.session.publishes[packet_id] = encode(packet, protocol)
    return made


def outcome(protocol, pieces):
    made = busy(protocol)
    error = made.feed(*pieces)
    # An acknowledgement of several messages may be one piece or more.
    return made.reports.log, b"".join(made.sent), error and (str(error), error.reason_code)


class TestAnyPieces:
    @given(
        st.sampled_from([4, 5]), st.lists(PACKETS, max_size=12), st.lists(st.integers(0, 50_000), max_size=12)
    )
    def test_packets_in_pieces_mean_what_they_mean_whole(self, protocol, packets, places):
        data = b"".join(encode(packet, protocol) for packet in packets)
        assert outcome(protocol, cut(data, places)) == outcome(protocol, [data])

    @given(st.sampled_from([4, 5]), st.lists(PACKETS, max_size=4))
    def test_packets_byte_by_byte(self, protocol, packets):
        data = b"".join(encode(packet, protocol) for packet in packets)[:2000]
        whole = outcome(protocol, [data])
        assert outcome(protocol, [data[i : i + 1] for i in range(len(data))]) == whole

    @pytest.mark.parametrize("end", [b"", encode(Pingresp(), 5), b"\x40\x02\x00"])
    def test_acknowledgements_that_come_together_are_reported_together(self, end):
        made = Conversation(5)
        made.session.publishes = dict.fromkeys(range(1, 8), b"")
        together = []
        made.reports._acknowledged_many = together.append
        numbers = (1, 2, 9, 3, 4, 4)
        answers = [*map(Puback, numbers), Puback(5, 0x10), Puback(6)]
        made.feed(b"".join(encode(packet, 5) for packet in answers) + end)
        assert together == [[1, 2], [3, 4], [6]]
        assert made.reports.log == [("acknowledged", 5, 0x10, {})]
        assert list(made.session.publishes) == [7]

    @given(st.sampled_from([4, 5]), st.lists(publishes(), max_size=12))
    def test_every_message_is_what_the_core_s_decoder_reads(self, protocol, packets):
        data = b"".join(encode(packet, protocol) for packet in packets)
        decoder, seen = Decoder(protocol), set()
        decoder.feed(data)
        expected = []
        for p in decoder.packets():
            if p.qos < 2 or p.packet_id not in seen:
                expected.append((p.topic, p.payload, p.qos, p.retain, p.dup, p.packet_id, dict(p.properties)))
            if p.qos == 2:
                seen.add(p.packet_id)
        made = Conversation(protocol)
        assert made.feed(data) is None
        assert made.reports.messages() == expected
        acknowledged = [(p.kind, p.packet_id) for p in made.packets()]
        assert acknowledged == [("puback" if p.qos == 1 else "pubrec", p.packet_id) for p in packets if p.qos]


def judged(protocol, data):
    """What the core's decoder says of bytes from a broker: the messages, and whether it refuses them."""
    decoder = Decoder(protocol)
    decoder.feed(data)
    count = 0
    try:
        for _ in decoder.packets():
            count += 1
    except MalformedPacketError as exc:
        return count, exc
    return count, None


class TestHostileInput:
    @given(st.sampled_from([4, 5]), st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
    @example(4, b"\x30\x00", [])
    @example(4, b"\x00", [])
    @example(4, b"\xf0", [])
    @example(5, b"\x30\x02\0\0", [])
    @example(4, b"\x30\xff\xff\xff\xff\x7f", [])
    @example(4, b"\x32\x05\0\1a\0\0", [])
    @example(4, b"\x38\x03\0\1a", [])
    @example(4, b"\x30\x80\x00\x00\x00", [])
    def test_garbage_is_refused_and_nothing_else_happens(self, protocol, data, places):
        """A MalformedPacketError, or nothing: any other exception fails the test."""
        made = Conversation(protocol)
        error = made.feed(*cut(data, places))
        _, refused = judged(protocol, data)
        if refused is not None and not made.protocol.ended:
            assert error is not None

    @given(
        st.sampled_from([4, 5]),
        st.lists(publishes(), min_size=1, max_size=3),
        st.integers(0, 400),
        st.integers(0, 255),
        st.booleans(),
    )
    def test_one_byte_changed_is_judged_as_the_core_judges(self, protocol, packets, place, byte, warm):
        """Also where the loop has learned the topic: nothing passes that the core's decoder refuses."""
        good = b"".join(encode(packet, protocol) for packet in packets)
        data = bytearray(good[:400])
        data[place % len(data)] = byte
        data = bytes(data)
        made = Conversation(protocol)
        if warm:
            made.feed(good)
            made.sent.clear()
        error = made.feed(data) if not made.protocol.ended else None
        _, refused = judged(protocol, (good if warm else b"") + data)
        if refused is not None and not made.protocol.ended:
            assert error is not None
            assert error.reason_code == refused.reason_code

    @pytest.mark.parametrize(
        "packet", [Connect("x", protocol=5), Subscribe(1, [Subscription("a")]), Pingreq(), Connack()]
    )
    def test_what_only_a_client_sends_or_comes_twice_is_refused(self, packet):
        error = Conversation(5).feed(encode(packet, 5))
        assert error.reason_code == 0x82

    def test_nothing_comes_before_connack(self):
        made = Conversation(5, accepted=False)
        assert made.feed(encode(Publish("a", b"x"), 5)).reason_code == 0x82
        assert made.reports.log == []

    def test_an_acknowledgement_before_connack_is_refused(self):
        made = Conversation(4, accepted=False)
        made.session.publishes[1] = b"\x32\x05\0\1a\0\1"
        assert made.feed(encode(Puback(1), 4) + encode(Pingresp(), 4)).reason_code == 0x82
        assert 1 in made.session.publishes

    def test_disconnect_is_not_for_brokers_of_3_1_1(self):
        assert Conversation(4).feed(encode(Disconnect(), 4)).reason_code == 0x82

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_packet_larger_than_announced_is_refused_at_its_header(self, whole):
        made = Conversation(5, properties={"maximum_packet_size": 1000})
        assert made.feed(encode(Publish("a", bytes(900)), 5)) is None
        data = encode(Publish("a", bytes(1000)), 5)
        assert made.feed(data if whole else data[:6]).reason_code == 0x95

    def test_topics_that_never_come_again_are_not_kept_for_ever(self):
        made = Conversation(4)
        for number in range(10_000):
            made.feed(encode(Publish(f"t/{number}", b"x"), 4))
        made.feed(encode(Publish("t" * 60_000, b"x"), 4))
        assert len(made.protocol._topics) <= 4096
        assert max(map(len, made.protocol._topics)) <= 256
        assert len(made.reports.messages()) == 10_001

    def test_a_topic_alias_that_was_not_asked_for_is_refused(self):
        packet = Publish("", b"x", properties=Properties(topic_alias=1))
        assert Conversation(5).feed(encode(packet, 5)).reason_code == 0x94

    def test_what_came_before_the_bad_packet_is_reported(self):
        made = Conversation(4)
        assert made.feed(encode(Publish("a", b"1", 1, packet_id=1), 4) + b"\x00\x00") is not None
        assert [m[1] for m in made.reports.messages()] == [b"1"]
        assert [p.packet_id for p in made.packets()] == [1]


class TestAcknowledging:
    def test_past_the_bound_acknowledgements_wait_for_the_handlers_in_order(self):
        made = Conversation(4, room=1)
        packets = [Publish("a", b"x", 1, packet_id=n) for n in (1, 2, 3)]
        made.feed(*(encode(packet, 4) for packet in packets[:1]))
        made.feed(b"".join(encode(packet, 4) for packet in packets[1:]))
        made.feed(encode(Publish("a", b"x", 1, packet_id=4), 4))
        assert [p.packet_id for p in made.packets()] == [1]
        for function in made.reports.later:
            function()
        assert [p.packet_id for p in made.packets()] == [2, 3, 4]
        made.feed(encode(Publish("a", b"x", 1, packet_id=5), 4))
        assert [p.packet_id for p in made.packets()] == [5]

    @pytest.mark.parametrize(("qos", "kind"), [(1, "puback"), (2, "pubrec")])
    def test_by_hand(self, qos, kind):
        made = Conversation(5, manual_ack=True)
        made.feed(encode(Publish("a", b"x", qos, packet_id=7), 5))
        assert made.packets() == []
        made.protocol.acknowledge(7, qos)
        made.protocol.acknowledge(7, qos)
        assert [(p.kind, p.packet_id) for p in made.packets()] == [(kind, 7)]


class TestTopicAliases:
    def test_are_resolved_and_their_messages_stay_in_order(self):
        made = Conversation(5, properties={"topic_alias_maximum": 2})
        first = Publish("a/b", b"1", properties=Properties(topic_alias=2))
        again = Publish("", b"2", properties=Properties(topic_alias=2))
        made.feed(b"".join(encode(p, 5) for p in (Publish("c", b"0"), first, again, Publish("c", b"3"))))
        assert [m[:2] for m in made.reports.messages()] == [
            ("c", b"0"), ("a/b", b"1"), ("a/b", b"2"), ("c", b"3")
        ]
