"""What MQTT forbids, each with the reason code that says so, and what the encoder refuses to write."""

from __future__ import annotations

import pytest

from juham_core.errors import InvalidArgumentError, NotSupportedError, PayloadError, QosError, TopicError
from juham_core.wire import (
    LARGEST_PACKET,
    MAX_PAYLOAD,
    Auth,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    MalformedPacketError,
    Pingreq,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
)

FIRST = [  # what a server may receive first: (bytes, reason code, words of the message)
    ("C0", 0x82, "must be CONNECT"),
    ("30 03 0001 61", 0x82, "must be CONNECT"),
    ("F0", 0x82, "must be CONNECT"),
    ("00", 0x82, "must be CONNECT"),
    ("11", 0x81, "flags are reserved"),
    ("10 0D 0006 4D5149736470 03 02 003C 0000", 0x84, "MQIsdp"),
    ("10 0C 0004 4D515454 03 02 003C 0000", 0x84, "level 3"),
    ("10 0D 0004 4D515454 06 02 003C 00 0000", 0x84, "level 6"),
    ("10 0C 0004 6D717474 04 02 003C 0000", 0x84, "mqtt"),
    ("10 0C 0004 4D515454 84 02 003C 0000", 0x84, "level 132"),
    ("10 05 0004 4D5154", 0x81, "protocol name is cut short"),
    ("10 06 0004 4D515454", 0x81, "protocol level is cut short"),
    ("10 00", 0x81, "protocol name is cut short"),
    ("10 0C 0004 4D515454 04 03 003C 0000", 0x81, "reserved bit"),
    ("10 0C 0004 4D515454 04 22 003C 0000", 0x81, "no will"),
    ("10 0C 0004 4D515454 04 0A 003C 0000", 0x81, "no will"),
    ("10 11 0004 4D515454 04 1E 003C 0000 0001 77 0000", 0x81, "QoS 3"),
    ("10 0F 0004 4D515454 04 42 003C 0000 0001 70", 0x81, "password"),
    ("10 0D 0004 4D515454 04 02 003C 0000 00", 0x81, "1 bytes follow"),
    ("10 0D 0004 4D515454 04 82 003C 0000 00", 0x81, "user name is cut short"),
    ("10 0D 0004 4D515454 04 02 003C 0001 00", 0x81, "NUL"),
    ("10 0D 0004 4D515454 04 02 003C 0001 FF", 0x81, "UTF-8"),
    ("10 10 0004 4D515454 04 06 003C 0000 0000 0000", 0x82, "will topic is empty"),
    ("10 11 0004 4D515454 04 06 003C 0000 0001 23 0000", 0x81, "wildcard"),
    ("10 0C 0004 4D515454 05 02 003C 0000", 0x81, "client identifier is cut short"),
    ("10 10 0004 4D515454 05 02 003C 03 210000 0000", 0x82, "receive_maximum is 0"),
    ("10 12 0004 4D515454 05 02 003C 05 2700000000 0000", 0x82, "maximum_packet_size is 0"),
    ("10 0F 0004 4D515454 05 02 003C 02 1702 0000", 0x82, "0 or 1"),
    ("10 0F 0004 4D515454 05 02 003C 02 1902 0000", 0x82, "0 or 1"),
    ("10 13 0004 4D515454 05 02 003C 06 210001210001 0000", 0x82, "twice"),
    ("10 10 0004 4D515454 05 02 003C 03 230001 0000", 0x81, "topic_alias does not belong in CONNECT"),
    ("10 12 0004 4D515454 05 02 003C 05 1800000000 0000", 0x81, "will_delay_interval does not belong"),
    ("10 11 0004 4D515454 05 02 003C 04 16000161 0000", 0x82, "authentication_method"),
    ("10 19 0004 4D515454 05 06 003C 00 0000 05 1100000000 0001 77 0001 78", 0x81, "does not belong in WILL"),
    ("10 0D 0004 4D515454 05 02 003C 7F 0000", 0x81, "claim 127 bytes"),
]

ACKS = ("40", "50", "62", "70")

LATER = [  # on a connection whose version is known: (version, bytes, reason code, words)
    (4, "00", 0x81, "type 0 is reserved"),
    (5, "00", 0x81, "type 0 is reserved"),
    (4, "F0", 0x81, "type 15 is reserved"),
    (4, "30 FFFFFFFF", 0x81, "more than four bytes"),
    (5, "30 8000", 0x81, "more bytes than it takes"),
    (4, "C0 8000", 0x81, "more bytes than it takes"),
    (5, "10 0C 0004 4D515454 04 02 003C 0000", 0x84, "level 4 where 5"),
    # CONNACK
    (4, "20 02 02 00", 0x81, "acknowledge flags"),
    (5, "20 03 80 00 00", 0x81, "acknowledge flags"),
    (4, "20 02 01 05", 0x82, "session"),
    (5, "20 03 01 87 00", 0x82, "session"),
    (4, "20 03 00 00 00", 0x81, "follow"),
    (4, "20 01 00", 0x81, "cut short"),
    (5, "20 02 00 00", 0x81, "property length is cut short"),
    (5, "20 03 00 01 00", 0x82, "no reason code 0x01"),
    (5, "20 05 00 00 02 2402", 0x82, "maximum_qos is 0 or 1"),
    (5, "20 05 00 00 02 2502", 0x82, "0 or 1"),
    (5, "20 05 00 00 02 2802", 0x82, "0 or 1"),
    (5, "20 05 00 00 02 2902", 0x82, "0 or 1"),
    (5, "20 05 00 00 02 2A02", 0x82, "0 or 1"),
    (5, "20 06 00 00 03 210000", 0x82, "receive_maximum is 0"),
    # PUBLISH
    (4, "36 05 0001 61 0001", 0x81, "QoS 3"),
    (4, "38 03 0001 61", 0x81, "DUP"),
    (4, "32 05 0001 61 0000", 0x82, "identifier is 0"),
    (4, "32 04 0001 61 00", 0x81, "packet identifier is cut short"),
    (4, "30 00", 0x81, "topic is cut short"),
    (4, "30 01 00", 0x81, "topic is cut short"),
    (4, "30 03 0002 61", 0x81, "topic is cut short"),
    (4, "30 02 0000", 0x82, "topic is empty"),
    (5, "30 03 0000 00", 0x82, "no topic alias"),
    (5, "30 06 0000 03 230000", 0x94, "topic_alias is 0"),
    (4, "30 03 0001 23", 0x81, "wildcard"),
    (5, "30 06 0003 612F2B 00", 0x81, "wildcard"),
    (4, "30 03 0001 00", 0x81, "NUL"),
    (4, "30 03 0001 C3", 0x81, "UTF-8"),
    (4, "30 04 0002 C080", 0x81, "UTF-8"),
    (4, "30 05 0003 EDA080", 0x81, "UTF-8"),
    (5, "30 03 0001 61", 0x81, "property length is cut short"),
    (5, "30 05 0001 61 01 01", 0x81, "payload_format_indicator is cut short"),
    (5, "30 06 0001 61 02 0102", 0x82, "0 or 1"),
    (5, "30 08 0001 61 04 01000100", 0x82, "twice"),
    (5, "30 06 0001 61 02 0B00", 0x82, "subscription_identifier is 0"),
    (5, "30 09 0001 61 05 0B80808080", 0x81, "more than four bytes"),
    (5, "30 07 0001 61 03 0B8100", 0x81, "more bytes than it takes"),
    (5, "30 08 0001 61 04 08000123", 0x82, "response_topic"),
    (5, "30 07 0001 61 03 080000", 0x82, "response_topic"),
    (5, "30 06 0001 61 02 0400", 0x81, "no property 0x04"),
    (5, "30 06 0001 61 02 8101", 0x81, "no property 0x81"),
    (5, "30 09 0001 61 05 1100000000", 0x81, "does not belong in PUBLISH"),
    (5, "30 07 0001 61 03 030002", 0x81, "content_type is cut short"),
    (5, "30 08 0001 61 04 030001 FF", 0x81, "UTF-8"),
    (5, "30 08 0001 61 04 26000161", 0x81, "user_property is cut short"),
    (5, "30 04 0001 61 05", 0x81, "claim 5 bytes"),
    (5, "30 06 0001 61 8000 61", 0x81, "more bytes than it takes"),
    # The acknowledgements
    *((version, f"{kind} 02 0000", 0x82, "identifier is 0") for version in (4, 5) for kind in ACKS),
    *((version, f"{kind} 01 00", 0x81, "cut short") for version in (4, 5) for kind in ACKS),
    (4, "40 03 0001 00", 0x81, "follow"),
    (5, "40 05 0001 00 00 00", 0x81, "follow"),
    (5, "40 03 0001 01", 0x82, "no reason code 0x01"),
    (5, "50 03 0001 92", 0x82, "no reason code 0x92"),
    (5, "62 03 0001 10", 0x82, "no reason code 0x10"),
    (5, "70 03 0001 80", 0x82, "no reason code 0x80"),
    (5, "40 07 0001 00 03 230001", 0x81, "does not belong in PUBACK"),
    (4, "60", 0x81, "flags are reserved"),
    (4, "42", 0x81, "flags are reserved"),
    (5, "51", 0x81, "flags are reserved"),
    (5, "78", 0x81, "flags are reserved"),
    # SUBSCRIBE and SUBACK
    (4, "80", 0x81, "flags are reserved"),
    (4, "82 02 0001", 0x82, "no topic filter"),
    (5, "82 03 0001 00", 0x82, "no topic filter"),
    (4, "82 06 0000 0001 61 00", 0x82, "identifier is 0"),
    (4, "82 06 0001 0001 61 03", 0x82, "QoS 3"),
    (4, "82 06 0001 0001 61 04", 0x81, "reserved bits"),
    (4, "82 06 0001 0001 61 80", 0x81, "reserved bits"),
    (5, "82 07 0001 00 0001 61 03", 0x82, "QoS 3"),
    (5, "82 07 0001 00 0001 61 30", 0x82, "retain handling 3"),
    (5, "82 07 0001 00 0001 61 40", 0x81, "reserved bits"),
    (5, "82 07 0001 00 0001 61 80", 0x81, "reserved bits"),
    (4, "82 05 0001 0001 61", 0x81, "options is cut short"),
    (4, "82 06 0001 0001 FF 00", 0x81, "UTF-8"),
    (4, "82 07 0001 0001 61 00 00", 0x81, "topic filter is cut short"),
    (5, "82 0B 0001 04 0B010B02 0001 61 00", 0x82, "twice"),
    (5, "82 09 0001 02 0B00 0001 61 00", 0x82, "subscription_identifier is 0"),
    (4, "90 02 0001", 0x82, "no reason code"),
    (4, "90 03 0001 03", 0x82, "0x03"),
    (4, "90 03 0001 87", 0x82, "0x87"),
    (5, "90 04 0001 00 03", 0x82, "0x03"),
    (4, "91", 0x81, "flags are reserved"),
    # UNSUBSCRIBE and UNSUBACK
    (4, "A0", 0x81, "flags are reserved"),
    (4, "A2 02 0001", 0x82, "no topic filter"),
    (5, "A2 03 0001 00", 0x82, "no topic filter"),
    (4, "A2 05 0000 0001 61", 0x82, "identifier is 0"),
    (4, "A2 06 0001 0001 61 00", 0x81, "cut short"),
    (4, "B0 03 0001 00", 0x81, "follow"),
    (5, "B0 03 0001 00", 0x82, "no reason code"),
    (5, "B0 04 0001 00 01", 0x82, "0x01"),
    # The small ones
    (4, "C1", 0x81, "flags are reserved"),
    (4, "C0 01 00", 0x81, "follow"),
    (5, "D0 01 00", 0x81, "follow"),
    (4, "E1", 0x81, "flags are reserved"),
    (4, "E0 01 00", 0x81, "follow"),
    (5, "E0 01 01", 0x82, "no reason code 0x01"),
    (5, "E0 03 00 00 00", 0x81, "follow"),
    (5, "F1", 0x81, "flags are reserved"),
    (5, "F0 01 00", 0x81, "cut short"),
    (5, "F0 02 18 00", 0x82, "authentication method"),
    (5, "F0 06 00 04 16000161", 0x82, "authentication_method"),
    (5, "F0 02 01 00", 0x82, "no reason code 0x01"),
]


def refusal(decoder, data):
    decoder.feed(data)
    with pytest.raises(MalformedPacketError) as caught:
        list(decoder.packets())
    return caught.value


@pytest.mark.parametrize(("data", "code", "words"), FIRST)
def test_first_packet_is_refused(data, code, words):
    error = refusal(Decoder(), bytes.fromhex(data))
    assert (error.reason_code, words in str(error)) == (code, True), str(error)


@pytest.mark.parametrize(("protocol", "data", "code", "words"), LATER)
def test_packet_is_refused(protocol, data, code, words):
    error = refusal(Decoder(protocol), bytes.fromhex(data))
    assert (error.reason_code, words in str(error)) == (code, True), str(error)


def test_packets_before_the_bad_one_come_first():
    decoder = Decoder(4)
    decoder.feed(bytes.fromhex("C000 3003000161 00 C000"))
    packets = decoder.packets()
    assert [next(packets), next(packets)] == [Pingreq(), Publish("a")]
    with pytest.raises(MalformedPacketError):
        next(packets)
    with pytest.raises(MalformedPacketError):  # and nothing behind it is ever taken for a packet
        list(decoder.packets())


def test_second_connect_is_a_protocol_error():
    decoder = Decoder()
    decoder.feed(encode(Connect("a")))
    assert list(decoder.packets()) == [Connect("a")]
    assert refusal(decoder, encode(Connect("a"))).reason_code == 0x82


@pytest.mark.parametrize("protocol", [4, 5])
def test_protocol_is_learnt_from_connect_even_if_the_rest_is_bad(protocol):
    decoder = Decoder()
    data = bytearray(encode(Connect("a", protocol=protocol)))
    data[9] |= 1
    assert decoder.protocol is None
    assert refusal(decoder, bytes(data)).reason_code == 0x81
    assert decoder.protocol == protocol


def test_packet_that_is_too_large_is_refused_by_its_header():
    decoder = Decoder(4, max_packet_size=130)
    largest = encode(Publish("t", b"z" * 124))
    decoder.feed(largest)
    assert len(largest) == 129
    assert list(decoder.packets()) == [Publish("t", b"z" * 124)]
    assert refusal(decoder, b"\x30\x80\x01").reason_code == 0x95


def test_largest_packet_is_waited_for():
    decoder = Decoder(4)
    decoder.feed(b"\x30\xff\xff\xff\x7f")
    assert list(decoder.packets()) == []
    smaller = Decoder(4, max_packet_size=LARGEST_PACKET - 1)
    assert refusal(smaller, b"\x30\xff\xff\xff\x7f").reason_code == 0x95


def test_secrets_are_not_in_the_error():
    data = "10 16 0004 4D515454 04 C2 003C 0000 0006 736563726574 0001"
    assert "secret" not in str(refusal(Decoder(), bytes.fromhex(data)))


@pytest.mark.parametrize("protocol", [0, 3, 6, "5"])
def test_other_protocols_are_refused(protocol):
    with pytest.raises(InvalidArgumentError, match="no protocol"):
        Decoder(protocol)
    with pytest.raises(InvalidArgumentError, match="no protocol"):
        encode(Pingreq(), protocol)
    with pytest.raises(InvalidArgumentError, match="no protocol"):
        encode(Connect(protocol=protocol))


def test_what_is_no_packet_is_not_encoded():
    with pytest.raises(InvalidArgumentError, match="Will"):
        encode(Will("t"))


BAD = [
    (Publish(""), 4, TopicError),
    (Publish(""), 5, TopicError),
    (Publish("", properties=Properties(topic_alias=1)), 4, TopicError),
    (Publish("a/#"), 4, TopicError),
    (Publish("+"), 5, TopicError),
    (Publish("\0"), 4, TopicError),
    (Publish("\ud800"), 4, TopicError),
    (Publish("a" * 65_536), 4, TopicError),
    (Publish(None), 4, TopicError),
    (Publish(None), 5, TopicError),
    (Publish(b"a"), 4, TopicError),
    (Publish("a", "text"), 4, PayloadError),
    (Publish("a", qos=3, packet_id=1), 4, QosError),
    (Publish("a", qos=-1, packet_id=1), 4, QosError),
    (Publish("a", qos=1), 4, InvalidArgumentError),
    (Publish("a", qos=2, packet_id=65_536), 5, InvalidArgumentError),
    (Publish("a", packet_id=1), 4, InvalidArgumentError),
    (Publish("a", dup=True), 4, InvalidArgumentError),
    (Publish("a", properties=Properties(session_expiry_interval=1)), 5, InvalidArgumentError),
    (Publish("a", properties=Properties(topic_alias=0)), 5, InvalidArgumentError),
    (Publish("a", properties=Properties(payload_format_indicator=2)), 5, InvalidArgumentError),
    (Publish("a", properties=Properties(response_topic="#")), 5, InvalidArgumentError),
    (Connect(keepalive=65_536), 4, InvalidArgumentError),
    (Connect(keepalive=-1), 4, InvalidArgumentError),
    (Connect("\0"), 4, InvalidArgumentError),
    (Connect("\udfff"), 4, InvalidArgumentError),
    (Connect("a" * 65_536), 4, InvalidArgumentError),
    (Connect(username=b"u"), 4, InvalidArgumentError),
    (Connect(password=b"p"), 4, InvalidArgumentError),
    (Connect(username="u", password="p"), 4, InvalidArgumentError),
    (Connect(username="u", password=b"p" * 65_536), 4, InvalidArgumentError),
    (Connect(will=Will("")), 4, TopicError),
    (Connect(will=Will("#")), 4, TopicError),
    (Connect(will=Will("a", qos=3)), 4, QosError),
    (Connect(will=Will("a", b"x" * 65_536)), 4, PayloadError),
    (Connect(will=Will("a", "x")), 4, PayloadError),
    (Connect(will=Will("a", properties=Properties(content_type="t"))), 4, NotSupportedError),
    (Connect(properties=Properties(receive_maximum=1)), 4, NotSupportedError),
    (Connect(protocol=5, properties=Properties(receive_maximum=0)), 5, InvalidArgumentError),
    (Connect(protocol=5, properties=Properties(authentication_data=b"")), 5, InvalidArgumentError),
    (Connack(session_present=True, reason_code=0x87), 5, InvalidArgumentError),
    (Connack(reason_code=1), 4, InvalidArgumentError),
    (Puback(0), 4, InvalidArgumentError),
    (Puback(1, 0x92), 5, InvalidArgumentError),
    (Subscribe(1, []), 4, InvalidArgumentError),
    (Subscribe(0, [Subscription("a")]), 4, InvalidArgumentError),
    (Subscribe(1, [Subscription("a", 3)]), 5, QosError),
    (Subscribe(1, [Subscription("a", retain_handling=3)]), 5, InvalidArgumentError),
    (Subscribe(1, [Subscription("a", no_local=True)]), 4, NotSupportedError),
    (Subscribe(1, [Subscription("a")], Properties(subscription_identifier=1)), 4, NotSupportedError),
    (Subscribe(1, [Subscription("a")], Properties(subscription_identifier=[1, 2])), 5, InvalidArgumentError),
    (Suback(1, []), 5, InvalidArgumentError),
    (Suback(1, [3]), 4, InvalidArgumentError),
    (Unsubscribe(1, []), 5, InvalidArgumentError),
    (Unsubscribe(1, ["a"], Properties(user_property=("a", "b"))), 4, NotSupportedError),
    (Unsuback(1, []), 5, InvalidArgumentError),
    (Disconnect(0x84), 5, InvalidArgumentError),
    (Auth(), 4, NotSupportedError),
    (Auth(0x18), 5, InvalidArgumentError),
]


@pytest.mark.parametrize(("packet", "protocol", "error"), BAD)
def test_packet_that_cannot_be_is_not_encoded(packet, protocol, error):
    with pytest.raises(error):
        encode(packet, protocol)


def test_payload_beyond_what_a_packet_carries():
    payload = bytes(MAX_PAYLOAD - 2)  # two bytes for the topic's length, and none left for the topic
    with pytest.raises(PayloadError, match="268,435,455"):
        encode(Publish("t", payload), 4)


def test_other_packets_beyond_the_largest(monkeypatch):
    # The real limit would take a gigabyte of topic filters.
    monkeypatch.setattr("juham_core.wire.encoder.MAX_VARINT", 100)
    monkeypatch.setattr("juham_core.wire.property_codec.MAX_VARINT", 200)
    assert len(encode(Unsubscribe(1, ["a" * 96]), 4)) == 102
    with pytest.raises(InvalidArgumentError, match="takes 101 bytes"):
        encode(Unsubscribe(1, ["a" * 97]), 4)
    with pytest.raises(InvalidArgumentError, match="properties take 203 bytes"):
        encode(Puback(1, properties=Properties(reason_string="r" * 200)), 5)


def test_values_that_got_in_unchecked_are_found_when_encoding():
    properties = Properties(user_property=[("a", "b")])
    properties["user_property"].append(("a", 1))
    with pytest.raises(InvalidArgumentError, match="user_property"):
        encode(Publish("a", properties=properties), 5)
