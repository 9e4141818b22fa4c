"""Properties and reason codes as an application meets them: checked when set, readable by name."""

from __future__ import annotations

import copy
import pickle

import pytest

from juham_core.errors import InvalidArgumentError
from juham_core.wire import Properties, ReasonCode
from juham_core.wire.properties import SPECS, SPECS_BY_ID
from juham_core.wire.reasons import ALLOWED, connack_to_v3, connack_to_v5


def test_attributes_are_the_items():
    properties = Properties(content_type="text")
    properties.topic_alias = 3
    assert (properties.content_type, properties["topic_alias"]) == ("text", 3)
    assert properties.response_topic is None


def test_every_way_in_is_checked():
    properties = Properties()
    properties.update({"content_type": "text"}, topic_alias=1)
    assert properties == {"content_type": "text", "topic_alias": 1}
    with pytest.raises(InvalidArgumentError, match="contenttype"):
        properties.contenttype = "text"
    with pytest.raises(AttributeError, match="contenttype"):
        _ = properties.contenttype
    with pytest.raises(InvalidArgumentError, match="topic_alias"):
        properties.update({"topic_alias": -1})
    with pytest.raises(InvalidArgumentError, match="nothing"):
        properties["nothing"] = 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("a", "b"), [("a", "b")]),
        ([("a", "b"), ["a", "c"]], [("a", "b"), ("a", "c")]),
        ({"a": "b"}, [("a", "b")]),
        ([], []),
        ((), []),
    ],
)
def test_user_properties_may_be_written_in_several_ways(given, kept):
    assert Properties(user_property=given) == {"user_property": kept}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_property", 1.5),
        ("user_property", "ab"),
        ("user_property", [("a",)]),
        ("user_property", [("a", "\0")]),
        ("content_type", b"text"),
        ("content_type", "\ud800"),
        ("content_type", "x" * 65_536),
        ("correlation_data", "text"),
        ("correlation_data", bytes(65_536)),
        ("receive_maximum", 65_536),
        ("receive_maximum", "1"),
        ("payload_format_indicator", 256),
        ("session_expiry_interval", 1 << 32),
        ("subscription_identifier", [1 << 28]),
    ],
)
def test_values_that_mqtt_does_not_know(name, value):
    with pytest.raises(InvalidArgumentError, match=name):
        Properties({name: value})


def test_secrets_are_not_in_the_error():
    with pytest.raises(InvalidArgumentError) as caught:
        Properties(authentication_data="hunter2")
    assert "hunter2" not in str(caught.value)


def pickled(properties):
    return pickle.loads(pickle.dumps(properties))


@pytest.mark.parametrize("duplicate", [Properties.copy, copy.copy, copy.deepcopy, pickled])
def test_copies_are_properties(duplicate):
    original = Properties(content_type="text", user_property=[("a", "b")])
    copied = duplicate(original)
    copied.content_type = "other"
    assert type(copied) is Properties
    assert copied.user_property == [("a", "b")]
    assert original.content_type == "text"


def test_tables_are_whole():
    assert len(SPECS) == len(SPECS_BY_ID) == 27  # MQTT 5 section 2.2.2.2
    named = {code for codes in ALLOWED.values() for code in codes}
    assert all(ReasonCode(code).getName() != f"0x{code:02X}" for code in named)


def test_reason_code_is_a_number_with_a_name():
    code = ReasonCode(0x87)
    assert (code, code.value, str(code)) == (0x87, 0x87, "Not authorized")
    assert repr(code) == "<Not authorized (0x87)>"
    assert code == "not authorized"
    assert code != "Success"
    assert code.is_failure
    assert not ReasonCode(2).is_failure
    assert str(ReasonCode(0xFF)) == "0xFF"
    assert {code: 1}[0x87] == 1


def test_connack_codes_translate_both_ways():
    assert [connack_to_v3(connack_to_v5(code)) for code in range(6)] == list(range(6))
    assert connack_to_v3(0x9F) == 3
