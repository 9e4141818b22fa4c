"""What outlives a connection, without any I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from juham_native.publishing import PublishEncoder
from juham_native.session import Session
from native_support import Conversation

from juham_core.errors import QueueFullError
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire import (
    Connack,
    Decoder,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    encode,
)


def sent(session, packet_id, qos, protocol=5):
    session.publishes[packet_id] = encode(Publish("a", b"%d" % packet_id, qos, packet_id=packet_id), protocol)


class TestEncoder:
    @given(
        st.sampled_from([4, 5]),
        st.lists(
            st.tuples(
                st.sampled_from(["a", "ä/é", "t" * 300, "home/hall"]),
                st.sampled_from([b"", b"x", *(b"y" * size for size in (119, 120, 128, 16_383, 17_000))]),
                st.sampled_from([0, 1, 2]),
                st.booleans(),
                st.sampled_from([{}, {"content_type": "text/plain"}]),
                st.integers(1, 65_535),
            ),
            max_size=20,
        ),
    )
    def test_encodes_as_the_core_does(self, protocol, messages):
        encoder = PublishEncoder(protocol)
        for _ in range(2):  # the second time around every beginning is known
            for topic, payload, qos, retain, properties, number in messages:
                packet_id = number if qos else 0
                own = Properties(properties) if protocol == 5 else Properties()
                packet = Publish(topic, payload, qos, retain, False, packet_id, own)
                message = MqttMsg(topic, payload, qos, retain, properties=own)
                assert encoder.encode(message, packet_id) == encode(packet, protocol)
                if qos:
                    assert encoder.encode_many([message] * 2, [packet_id, 7])[0] == encode(packet, protocol)

    def test_does_not_remember_for_ever(self):
        encoder = PublishEncoder(4)
        for number in range(5_000):
            encoder.encode(MqttMsg(f"t/{number}", b"x"))
        assert len(encoder._beginnings) <= 4096


class TestIdentifiers:
    def test_go_round_and_pass_over_those_in_use(self):
        session = Session(Options(client_id="x"))
        assert session.next_id() == 1
        sent(session, 1, 1)
        request = session.request()
        assert request == 2
        taken = [session.next_id() for _ in range(65_535)]
        assert {1, 2}.isdisjoint(taken)
        assert session.requested(2)
        assert 2 in [session.next_id() for _ in range(65_535)]

    @pytest.mark.parametrize("in_use", ["publishes", "_releases", "_requests"])
    def test_several_pass_over_those_in_use_and_go_round_too(self, in_use):
        session = Session(Options(client_id="x"))
        assert session.next_ids(3) == [1, 2, 3]
        for number in (5, 65_534, 2):
            if in_use == "_requests":
                session._requests.add(number)
            else:
                getattr(session, in_use)[number] = b""
        assert session.next_ids(3) == [4, 6, 7]
        session._last_id = 65_531
        assert session.next_ids(5) == [65_532, 65_533, 65_535, 1, 3]
        assert session.next_id() == 4

    def test_several_are_refused_where_not_as_many_are_free(self):
        session = Session(Options(client_id="x"))
        session.publishes = dict.fromkeys(range(1, 65_533), b"")
        session._releases[65_535] = b""
        assert sorted(session.next_ids(2)) == [65_533, 65_534]
        with pytest.raises(QueueFullError, match="3 are not free"):
            session.next_ids(3)

    def test_run_out_with_an_error(self):
        session = Session(Options(client_id="x"))
        session.publishes = dict.fromkeys(range(1, 65_536), b"")
        with pytest.raises(QueueFullError):
            session.next_id()


class TestResuming:
    def resume(self, session, present=True):
        session.disconnected()
        made = Conversation(5, session, accepted=False)
        made.feed(encode(Connack(session_present=present), 5))
        return made

    def test_what_is_unanswered_is_sent_again_releases_first_and_publishes_marked(self):
        session = Session(Options(client_id="native-test", protocol=5))
        session.fresh = False
        for packet_id, qos in ((1, 1), (2, 2), (3, 2), (4, 1)):
            sent(session, packet_id, qos)
        session.answered(Pubrec(3))
        session.answered(Pubrec(2))
        session.answered(Puback(1))
        for _ in range(2):  # twice: a connection may break again
            made = self.resume(session)
            kinds = [(p.kind, p.packet_id, getattr(p, "dup", None)) for p in made.packets()]
            assert kinds == [("pubrel", 3, None), ("pubrel", 2, None), ("publish", 4, True)]
            assert made.reports.log == [("connack", True, 0, {}, True)]

    def test_pubcomp_of_a_broker_that_had_finished_is_no_failure(self):
        session = Session(Options(client_id="native-test", protocol=5))
        session.fresh = False
        sent(session, 2, 2)
        session.answered(Pubrec(2))
        made = self.resume(session)
        made.feed(encode(Pubcomp(2, 0x92), 5))
        assert made.reports.log[-1] == ("acknowledged", 2, 0, {})

    def test_without_a_session_nothing_is_sent_again(self):
        session = Session(Options(client_id="native-test", protocol=5))
        session.fresh = False
        sent(session, 1, 1)
        sent(session, 2, 2)
        session.answered(Pubrec(2))
        made = self.resume(session, present=False)
        assert made.packets() == []
        assert made.reports.log == [("connack", False, 0, {}, False)]
        assert session.next_id() == 1

    def test_a_message_of_qos_2_is_new_once_across_connections(self):
        session = Session(Options(client_id="native-test", protocol=5))
        made = Conversation(5, session)
        message = encode(Publish("a", b"x", 2, packet_id=5), 5)
        made.feed(message, message)
        assert len(made.reports.messages()) == 1
        again = self.resume(session)
        again.feed(message, encode(Pubrel(5), 5), message)
        assert len(again.reports.messages()) == 1
        kinds = [p.kind for p in again.packets()]
        assert kinds == ["pubrec", "pubcomp", "pubrec"]

    def test_pubrel_of_what_is_not_known_is_answered_so(self):
        made = Conversation(5)
        made.feed(encode(Pubrel(9), 5))
        decoder = Decoder(5)
        decoder.feed(b"".join(made.sent))
        assert [p.reason_code for p in decoder.packets()] == [0x92]

    def test_a_second_pubrec_is_answered_like_the_first(self):
        session = Session(Options(client_id="native-test", protocol=5))
        sent(session, 2, 2)
        assert session.answered(Pubrec(2)) == session.answered(Pubrec(2))


class TestRelease:
    """PUBREL that waits until it is noted that the broker has the message."""

    @pytest.mark.parametrize("protocol", [4, 5])
    def test_it_waits_until_it_is_made(self, protocol):
        talk = Conversation(protocol)
        talk.reports.releases = False
        sent(talk.session, 7, 2, protocol)
        talk.feed(encode(Pubrec(7), protocol))
        assert talk.packets() == []
        assert [package[0] for package in talk.session.resume()] == [0x3C]  # PUBLISH, for no PUBREL has gone
        assert talk.session.release(7) == encode(Pubrel(7), protocol)
        assert talk.session.resume() == [encode(Pubrel(7), protocol)]
        talk.feed(encode(Pubcomp(7), protocol))
        assert talk.reports.log == [("acknowledged", 7, 0, {})]

    def test_an_earlier_process_s_is_a_success_if_the_broker_had_finished(self):
        talk = Conversation(5)
        talk.session.release(9)
        talk.feed(encode(Pubcomp(9, 0x92), 5))
        assert talk.reports.log == [("acknowledged", 9, 0, {})]

    def test_a_wanted_identifier_is_given(self):
        session = Conversation(5).session
        assert session.next_id(5) == 5
        assert session.request() > 60_000
        session._requests.add(6)
        assert session.next_id(6) > 60_000
