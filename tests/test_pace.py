"""Where to try next, and after how long, on a clock that the test sets."""

from itertools import pairwise

import pytest

from juham_core import pace as pace_module
from juham_core.errors import ConnectError, ConnectTimeoutError
from juham_core.options import Options
from juham_core.pace import Pace

ONE = Options(reconnect_min=1, reconnect_max=60)
THREE = ONE.changed(servers=["b1", "b2:1884", "b3"])


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def fail(pace, options):
    """Let an attempt fail; return who it was and the pause that follows."""
    server = pace.server(options)
    pace.failed(options.at(server).describe(), ConnectError(f"{server} is gone"))
    return server.host, pace.pause(options)


def live(pace, clock, options, seconds):
    """Let an attempt succeed, and the connection end after so long; return the pause that follows."""
    pace.accepted()
    clock.now += seconds
    pace.ended(options)
    return fail(pace, options)[1]


def test_one_server_is_paused_for_ever_longer_with_jitter():
    pace = Pace()
    pauses = [fail(pace, ONE)[1] for _ in range(9)]
    for number, pause in enumerate(pauses):
        whole = min(60, 2**number)
        assert whole / 2 <= pause <= whole
    assert len({pause / min(60, 2**number) for number, pause in enumerate(pauses)}) > 1
    assert all(later > earlier for earlier, later in pairwise(pauses[:6:2]))


def test_a_very_long_outage_does_not_overflow():
    pace = Pace()
    pace.waits = 100_000
    assert fail(pace, ONE)[1] <= 60


def test_a_round_goes_over_all_servers_before_there_is_a_pause():
    pace = Pace()
    tried = [fail(pace, THREE) for _ in range(6)]
    assert [host for host, _ in tried] == ["b1", "b2", "b3"] * 2
    assert [bool(pause) for _, pause in tried] == [False, False, True] * 2
    assert tried[2][1] <= 1 <= tried[5][1]


def test_the_errors_of_a_round_are_those_of_its_servers():
    pace = Pace()
    for _ in range(5):
        fail(pace, THREE)
    assert list(pace.errors) == ["mqtt://b1:1883", "mqtt://b2:1884"]
    fail(pace, THREE)
    error = pace.summary()
    assert list(error.errors) == ["mqtt://b1:1883", "mqtt://b2:1884", "mqtt://b3:1883"]
    assert str(error) == "none of 3 servers let us in: b1 is gone; b2:1884 is gone; b3 is gone"
    assert error.__cause__ is error.errors["mqtt://b3:1883"]
    assert not isinstance(error, TimeoutError)


def test_when_all_were_silent_it_was_a_timeout():
    pace = Pace()
    for where in ("b1", "b2"):
        pace.failed(where, ConnectTimeoutError("silent"))
    assert isinstance(pace.summary(), ConnectTimeoutError)


def test_after_a_loss_it_is_the_next_ones_turn_at_once(clock):
    pace = Pace()
    assert live(pace, clock, THREE, 100) == 0
    assert pace.server(THREE).host == "b2"


def test_a_connection_that_lasted_begins_anew(clock):
    pace = Pace()
    for _ in range(4):
        fail(pace, ONE)
    assert live(pace, clock, ONE, 15.9) > 4, "the wait before it was 8 s"
    assert live(pace, clock, ONE, 32) <= 1
    assert pace.short_lived == 0


def test_connections_that_do_not_last_are_no_successes(clock):
    pace = Pace()
    pauses = [live(pace, clock, ONE, 1) for _ in range(8)]
    assert pauses[-1] >= 30
    assert pace.short_lived == 8
    assert live(pace, clock, ONE, 119) > 30, "it lasted only for as long as the other one waited"


def test_two_servers_do_not_make_a_fight_any_faster(clock):
    pace, two = Pace(), THREE.changed(servers=["b1", "b2"])
    pauses = [live(pace, clock, two, 1) for _ in range(8)]
    assert [bool(pause) for pause in pauses] == [False, True] * 4
    assert pauses[-1] >= 4


def test_every_accepted_connection_may_count(clock):
    pace, options = Pace(), ONE.changed(reconnect_reset=0)
    assert all(live(pace, clock, options, 0) <= 1 for _ in range(5))


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("b3", "b3"),
        ("elsewhere:1 b3:1883", "b3"),
        ("elsewhere", "b2"),
        ("b2", "b2"),
        ("::: ,", "b2"),
        ("", "b2"),
    ],
)
def test_a_server_that_the_broker_names_is_next_if_we_know_it(reference, host):
    pace = Pace()
    fail(pace, THREE)
    pace.prefer(reference, THREE)
    assert pace.server(THREE).host == host
