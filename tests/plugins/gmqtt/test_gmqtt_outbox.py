"""What waits to be written with gmqtt: it goes in order, in pieces where a bound is given."""

import pytest
from juham_gmqtt.link import _plain_pubacks
from juham_gmqtt.outbox import Outbox

from juham_core.errors import NotConnectedError


def test_what_waits_is_taken_in_pieces_and_in_order():
    outbox = Outbox(1_000)
    packages = [bytes([number]) * 300 for number in range(10)]
    assert [outbox.put(package) for package in packages] == [True] + [False] * 9
    pieces = []
    while piece := outbox.take(1000):
        pieces.append(piece)
        if len(pieces) == 1:
            assert not outbox.put(b"late"), "whoever takes a piece comes back for the others"
    assert b"".join(pieces) == b"".join([*packages, b"late"])
    assert [len(piece) for piece in pieces] == [900, 900, 900, 304]
    assert outbox.put(b"new"), "all was taken: somebody has to be told"


def test_a_packet_beyond_the_bound_goes_by_itself():
    outbox = Outbox(1_000)
    for package in (b"x" * 2000, b"y", b"z"):
        outbox.put(package)
    assert [outbox.take(1000), outbox.take(1000), outbox.take(1000)] == [b"x" * 2000, b"yz", b""]


def test_nothing_is_put_once_closed():
    outbox = Outbox(1_000)
    outbox.close()
    with pytest.raises(NotConnectedError):
        outbox.put(b"x")


@pytest.mark.parametrize(
    ("data", "identifiers"),
    [
        (b"\x40\x02\x00\x01", [1]),
        (b"\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x01\x00", [1, 65_535, 256]),
        (b"\x40\x02\x00\x01\x40\x02\x00\x00", []),  # 0 is no identifier: the decoder says so
        (b"\x40\x02\x00\x01\x40\x02\x00", []),  # cut in two
        (b"\x40\x02\x00\x01\x50\x02\x00\x02", []),  # PUBREC
        (b"\x40\x02\x00\x01\x40\x03\x00\x02\x10\x40\x02\x00", []),  # a reason code
        (b"\x40\x02\x00\x01\xd0\x00\xd0\x00", []),
    ],
)
def test_only_plain_pubacks_go_past_the_decoder(data, identifiers):
    assert _plain_pubacks(data) == identifiers
