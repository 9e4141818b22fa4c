"""The demo's house without a terminal: it counts truly, and notices every fault that its residents suffer."""

import threading
import time

import pytest
from cli_support import Installed
from waiting import PATIENCE

from juham_core import discovery
from juham_core.cli.demo import _Tour
from juham_core.cli.house import House
from juham_core.cli.residents import Home, LeftError
from juham_core.cli.results import Result
from juham_core.cli.tally import percentile
from juham_core.cli.victim import ProcessVictim
from juham_core.errors import JuhamError
from juham_core.memory import hub_of


def house(backend="memory", **options):
    shape = {"sensors": 3, "rounds": 10, "patience": 5.0, **options}
    return House(backend, f"memory://house-of-{backend}", in_process=True, **shape)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Registers a faulty backend for this process; returns its house's outcome."""

    def run(class_name, **options):
        Installed(tmp_path).add_faulty(class_name.lower(), class_name)
        monkeypatch.syspath_prepend(tmp_path)
        assert discovery.find(class_name.lower())
        return house(class_name.lower(), **options).run()

    return run


def test_every_message_is_counted_and_the_rooms_get_warm():
    mine = house(rounds=50)
    before = [room.celsius for room in mine.rooms]
    outcome = mine.run()
    assert outcome.ok, outcome
    assert (outcome.messages, outcome.lost, outcome.duplicates) == (50 * 3 * 3, 0, 0)
    assert 0 < outcome.p50 <= outcome.p99
    assert len(mine.home.tally.round_trips) == 50 * 3
    assert all(room.celsius > start for room, start in zip(mine.rooms, before, strict=True))
    assert all(20 < room.celsius < 22 for room in mine.rooms)


def test_the_panel_hears_of_everybody_and_of_the_crash():
    mine = house()
    mine.run()
    assert mine.statuses.pop("garden") == "offline"
    assert set(mine.statuses) >= {"panel", "thermostat", "heater", "hall", "kitchen", "bedroom"}
    assert set(mine.statuses.values()) == {"online"}


def test_nothing_is_left_behind():
    threads = set(threading.enumerate())
    house().run()
    assert hub_of("house-of-memory").broker.statistics.retained == 0
    assert hub_of("house-of-memory").broker.statistics.sessions == 0
    assert set(threading.enumerate()) <= threads


def test_two_houses_on_one_broker_do_not_meet():
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(house().run())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(o.messages, o.lost, o.problems) for o in outcomes] == [(90, 0, [])] * 2


def test_a_lost_message_is_noticed(faulty):
    outcome = faulty("JLossy", patience=0.2)
    assert not outcome.ok
    assert 0 < outcome.lost < outcome.messages
    assert any("given up at round" in problem for problem in outcome.problems)


def test_a_forgotten_will_is_noticed(faulty):
    outcome = faulty("JWilless", patience=1)
    assert outcome.problems == [
        "the will of the sensor in the garden never came",
        "a late joiner did not find the retained garden/status",
    ]


def test_a_forgotten_retain_is_noticed(faulty):
    outcome = faulty("JUnretained", patience=1)
    assert "a late joiner did not find the retained" in outcome.problems[-1]
    assert "hall/temperature" in outcome.problems[-1]


def test_a_duplicate_is_counted_and_no_fault(faulty):
    outcome = faulty("JEchoing")
    assert outcome.ok, outcome
    assert (outcome.messages, outcome.lost, outcome.duplicates) == (90, 0, 90)


def test_the_clock_ends_it_at_the_end_of_a_round():
    outcome = house(rounds=10**9, seconds=0.2).run()
    assert outcome.ok, outcome
    assert outcome.messages % 9 == 0
    assert outcome.messages > 0


def test_a_sensor_that_fails_to_start_says_why():
    process = ProcessVictim(Home("nobody", "mqtt://localhost", "juham-demo-test", 1.0), "mqtt://localhost")
    process._process.wait(60)
    assert 'backend "nobody" is not installed' in process.close()


def test_percentiles():
    assert percentile([], 50) == 0
    assert percentile([3.0], 99) == 3.0
    hundred = [float(value) for value in range(100, 0, -1)]
    assert percentile(hundred, 50) == 50
    assert percentile(hundred, 99) == 99
    assert percentile(hundred, 100) == 100


@pytest.fixture
def empty_hub(topic):
    name = topic.replace("/", "-")
    yield name
    assert hub_of(name).broker.statistics.retained == 0
    assert hub_of(name).broker.statistics.sessions == 0


@pytest.mark.parametrize("moment", [0, 0.001, 0.004, 0.016, 0.064, 0.2])
def test_a_house_that_is_left_leaves_nothing(empty_hub, moment):
    house = House("memory", f"memory://{empty_hub}", in_process=True, rounds=10**9, patience=60)
    threads = set(threading.enumerate())
    timer = threading.Timer(moment, house.leave)
    timer.start()
    began = time.monotonic()
    with pytest.raises(JuhamError):
        house.run()
    assert time.monotonic() - began < PATIENCE
    timer.join()
    assert set(threading.enumerate()) <= threads


def test_a_house_that_was_left_is_not_entered(empty_hub):
    house = House("memory", f"memory://{empty_hub}", in_process=True)
    house.leave()
    with pytest.raises(LeftError):
        house.run()


class Silent:
    """A view for nobody, who leaves as soon as there is something to look at."""

    def __init__(self):
        self.tour = None
        self.seen = []

    def begin(self, result):
        self.seen.append(result.name)

    def watch(self, _house):
        self.tour.leave()

    def done(self, result):
        self.seen.append(f"{result.name} is done")


def test_a_tour_that_is_left_goes_to_no_further_house(empty_hub):
    view = Silent()
    view.tour = _Tour([Result("memory"), Result("memory")], {"rounds": 10**9, "patience": 60}, required=True)
    view.tour.run(None, view, 0.0)
    assert view.seen == ["memory"]
