"""Which packet identifier a message of the outbox gets."""

from juham_core.message import MqttMsg
from juham_core.outbox.identifiers import Identifiers, identifier_of
from juham_core.wire.terms import WANTED, past_wanted

ONE, OTHER = MqttMsg("one"), MqttMsg("other")


def test_it_follows_from_the_place_in_the_outbox():
    assert [identifier_of(number) for number in (1, 2, WANTED, WANTED + 1)] == [1, 2, WANTED, 1]
    for process in (Identifiers(), Identifiers()):
        assert process.take(WANTED + 3, ONE) == 3
        assert process.holder(3) == (WANTED + 3, ONE)


def test_a_message_that_is_handed_over_again_keeps_it():
    identifiers = Identifiers()
    assert identifiers.take(7, ONE) == identifiers.take(7, ONE) == 7


def test_one_that_an_older_message_has_is_not_given_twice():
    identifiers = Identifiers()
    identifiers.take(7, ONE)
    assert identifiers.take(WANTED + 7, OTHER) == 0
    identifiers.give_back(WANTED + 7)  # it has none to give back
    assert identifiers.holder(7) == (7, ONE)
    identifiers.give_back(7)
    assert identifiers.holder(7) is None
    assert identifiers.take(WANTED + 7, OTHER) == 7
    identifiers.clear()
    assert identifiers.holder(7) is None


def test_others_go_on_past_what_an_outbox_may_want():
    after = {0: 60_000, 59_999: 60_000, 60_000: 60_000, 60_001: 60_001, 65_535: 65_535}
    assert {last: past_wanted(last) for last in after} == after
