"""The bytes of every packet, worked out by hand from the specifications of MQTT 3.1.1 and MQTT 5."""

from __future__ import annotations

import pytest

from juham_core.wire import (
    Auth,
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
    Unsubscribe,
    Will,
    encode,
)

V3 = [
    (Connect("c", keepalive=10), "10 0D  0004 4D515454 04 02 000A  0001 63"),
    (Connect(clean_start=False, keepalive=0), "10 0C  0004 4D515454 04 00 0000  0000"),
    (
        Connect(
            "id", username="u", password=b"\xff\x00", keepalive=60, will=Will("w/t", b"x", qos=2, retain=True)
        ),
        "10 1D  0004 4D515454 04 F6 003C  0002 6964  0003 772F74  0001 78  0001 75  0002 FF00",
    ),
    (
        Connect("c", username="", will=Will("w")),
        "10 14  0004 4D515454 04 86 003C  0001 63  0001 77  0000  0000",
    ),
    (Connack(), "20 02  00 00"),
    (Connack(session_present=True), "20 02  01 00"),
    (Connack(reason_code=0x84), "20 02  00 01"),
    (Connack(reason_code=0x85), "20 02  00 02"),
    (Connack(reason_code=0x88), "20 02  00 03"),
    (Connack(reason_code=0x86), "20 02  00 04"),
    (Connack(reason_code=0x87), "20 02  00 05"),
    (Publish("a/b", b"hi"), "30 07  0003 612F62  6869"),
    (Publish("a/b"), "30 05  0003 612F62"),
    (Publish("a", b"hi", qos=1, packet_id=10), "32 07  0001 61  000A  6869"),
    (
        Publish("a", b"hi", qos=2, retain=True, dup=True, packet_id=0xFFFE),
        "3D 07  0001 61  FFFE  6869",
    ),
    (Publish("ä", b"\x00"), "30 05  0002 C3A4  00"),
    (Publish("t", b"z" * 124), "30 7F  0001 74" + "7A" * 124),
    (Publish("t", b"z" * 125), "30 8001  0001 74" + "7A" * 125),
    (Publish("t", b"z" * 16380), "30 FF7F  0001 74" + "7A" * 16380),
    (Publish("t", b"z" * 16381), "30 808001  0001 74" + "7A" * 16381),
    (Puback(0x1234), "40 02  1234"),
    (Pubrec(1), "50 02  0001"),
    (Pubrel(1), "62 02  0001"),
    (Pubcomp(0xFFFF), "70 02  FFFF"),
    (
        Subscribe(10, [Subscription("a/b", 1), Subscription("#", 2)]),
        "82 0C  000A  0003 612F62 01  0001 23 02",
    ),
    (Suback(10, [0, 1, 2, 0x80]), "90 06  000A  00 01 02 80"),
    (Unsubscribe(3, ["a", "+/b"]), "A2 0A  0003  0001 61  0003 2B2F62"),
    (Unsuback(3), "B0 02  0003"),
    (Pingreq(), "C0 00"),
    (Pingresp(), "D0 00"),
    (Disconnect(), "E0 00"),
]

V5 = [
    (Connect("c", keepalive=10, protocol=5), "10 0E  0004 4D515454 05 02 000A  00  0001 63"),
    (Connect(protocol=5, password=b"p"), "10 10  0004 4D515454 05 42 003C  00  0000  0001 70"),
    (
        Connect(
            "c",
            protocol=5,
            properties=Properties(
                session_expiry_interval=0xFFFFFFFF, receive_maximum=20, maximum_packet_size=1
            ),
            will=Will("w", b"x", qos=1, properties=Properties(will_delay_interval=2, content_type="t")),
        ),
        """10 2B  0004 4D515454 05 0E 003C  0D 11FFFFFFFF 210014 2700000001  0001 63
           09 1800000002 03000174  0001 77  0001 78""",
    ),
    (Connack(), "20 03  00 00 00"),
    (Connack(reason_code=0x87), "20 03  00 87 00"),
    (
        Connack(
            session_present=True,
            properties=Properties(
                maximum_qos=1, retain_available=0, assigned_client_identifier="x", server_keep_alive=5
            ),
        ),
        "20 0E  01 00  0B 2401 2500 12000178 130005",
    ),
    (
        Connack(
            properties=Properties(
                session_expiry_interval=1,
                receive_maximum=2,
                maximum_packet_size=3,
                topic_alias_maximum=4,
                reason_string="r",
                wildcard_subscription_available=0,
                subscription_identifier_available=1,
                shared_subscription_available=0,
                response_information="i",
                server_reference="s",
                authentication_method="m",
                authentication_data=b"d",
            )
        ),
        """20 2D  00 00  2A 1100000001 210002 2700000003 220004 1F000172 2800 2901 2A00
           1A000169 1C000173 1500016D 16000164""",
    ),
    (Publish("a/b", b"hi"), "30 08  0003 612F62  00  6869"),
    (Publish("a", b"hi", qos=1, packet_id=10), "32 08  0001 61  000A  00  6869"),
    (
        Publish("", b"", qos=2, dup=True, packet_id=1, properties=Properties(topic_alias=7)),
        "3C 08  0000  0001  03 230007",
    ),
    (
        Publish(
            "a",
            b"{}",
            properties=Properties(
                payload_format_indicator=1,
                message_expiry_interval=60,
                content_type="j",
                response_topic="r/t",
                correlation_data=b"\x00\xff",
                subscription_identifier=[1, 268_435_455],
                user_property=[("k", "v"), ("k", "")],
            ),
        ),
        """30 30  0001 61  2A 0101 020000003C 0300016A 080003722F74 09000200FF 0B01 0BFFFFFF7F
           2600016B000176 2600016B0000  7B7D""",
    ),
    (Puback(1), "40 02  0001"),
    (Puback(1, 0x10), "40 03  0001 10"),
    (Puback(1, 0, Properties(reason_string="r")), "40 08  0001 00 04 1F000172"),
    (Pubrec(1), "50 02  0001"),
    (Pubrec(1, 0x97), "50 03  0001 97"),
    (Pubrel(1), "62 02  0001"),
    (Pubrel(1, 0x92), "62 03  0001 92"),
    (Pubcomp(1), "70 02  0001"),
    (Pubcomp(1, 0x92, Properties(user_property=[("", "")])), "70 09  0001 92 05 2600000000"),
    (
        Subscribe(
            10,
            [
                Subscription("a", 1, no_local=True),
                Subscription("#", 2, retain_as_published=True, retain_handling=2),
            ],
            Properties(subscription_identifier=[200]),
        ),
        "82 0E  000A  03 0BC801  0001 61 05  0001 23 2A",
    ),
    (Suback(10, [2, 0x87]), "90 05  000A 00 02 87"),
    (Unsubscribe(3, ["a"]), "A2 06  0003 00 0001 61"),
    (Unsuback(3, [0, 0x11]), "B0 05  0003 00 00 11"),
    (Pingreq(), "C0 00"),
    (Pingresp(), "D0 00"),
    (Disconnect(), "E0 00"),
    (Disconnect(0x04), "E0 01  04"),
    (Disconnect(0x9D, Properties(server_reference="s")), "E0 06  9D 04 1C000173"),
    (Disconnect(0, Properties(session_expiry_interval=0)), "E0 07  00 05 1100000000"),
    (Auth(), "F0 00"),
    (
        Auth(0x18, Properties(authentication_method="m", authentication_data=b"")),
        "F0 09  18 07 1500016D 160000",
    ),
]


def decode_all(data, protocol=None):
    decoder = Decoder(protocol)
    decoder.feed(data)
    return list(decoder.packets())


@pytest.mark.parametrize(("packet", "expected", "protocol"), [(*v, 4) for v in V3] + [(*v, 5) for v in V5])
def test_packet_has_exactly_these_bytes(packet, expected, protocol):
    data = bytes.fromhex(expected)
    assert encode(packet, protocol) == data
    assert decode_all(data, protocol) == [packet]


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        # What may be left out need not be.
        ("40 03  0001 00", Puback(1)),
        ("40 04  0001 00 00", Puback(1)),
        ("70 04  0001 92 00", Pubcomp(1, 0x92)),
        ("E0 01  00", Disconnect()),
        ("E0 02  00 00", Disconnect()),
        ("F0 02  00 00", Auth()),
        # Section 3.3.2.3.4: an alias may come with its topic.
        ("30 07  0001 61  03 230001", Publish("a", properties=Properties(topic_alias=1))),
    ],
)
def test_longer_forms_are_read_as_well(data, packet):
    assert decode_all(bytes.fromhex(data), 5) == [packet]


def test_refused_filter_is_0x80_for_a_client_of_311():
    assert encode(Suback(1, [0x87, 0x8F, 1]), 4) == bytes.fromhex("90 05 0001 80 80 01")


def test_answers_leave_out_what_311_has_no_place_for():
    properties = Properties(reason_string="because")
    assert encode(Puback(1, 0x87, properties), 4) == encode(Puback(1), 4)
    assert encode(Unsuback(1, [0x11], properties), 4) == encode(Unsuback(1), 4)
    assert encode(Disconnect(0x8E, properties), 4) == encode(Disconnect(), 4)
    properties = Properties(content_type="t")
    assert encode(Publish("a", b"b", properties=properties), 4) == encode(Publish("a", b"b"), 4)


@pytest.mark.parametrize(("sent", "expected"), [(1, 0x84), (3, 0x88), (5, 0x87)])
def test_refusal_by_a_server_of_311_is_understood_by_a_client_of_5(sent, expected):
    (packet,) = decode_all(bytes((0x20, 2, 0, sent)), 5)
    assert packet == Connack(reason_code=expected)


@pytest.mark.parametrize(("sent", "expected"), [(6, 0x80), (0xFF, 0x80), (3, 0x88)])
def test_return_codes_of_311_are_translated(sent, expected):
    (packet,) = decode_all(bytes((0x20, 2, 0, sent)), 4)
    assert packet == Connack(reason_code=expected)
