"""What the bench computes, counts and writes; nothing here depends on how fast anything is."""

import json
from functools import partial
from importlib.metadata import entry_points
from xml.dom.minidom import parseString

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import juham_core as juham
from juham_core.bench import checks, document, figures, official, report
from juham_core.bench.driver import GROUP
from juham_core.bench.frames import Frames, publishes
from juham_core.bench.session import SCENARIOS
from juham_core.cli.bench import bench, contenders_of
from juham_core.wire import Decoder, Puback, Publish, encode

NUMBERS = st.lists(st.floats(0.001, 1e6), min_size=1)


@given(NUMBERS)
def test_a_figure_lies_within_its_range(values):
    found = figures.figure(values)
    assert found.least <= found.median <= found.most
    assert sum(value <= found.median for value in values) * 2 >= len(values)


@given(NUMBERS, st.floats(0, 100))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values, percent):
    found = figures.percentile(values, percent)
    enough = len(values) * percent / 100 - 1e-9
    assert sum(value <= found for value in values) >= enough
    assert found == min(values) or sum(value < found for value in values) < enough + 1e-6


def test_a_ratio_is_taken_round_by_round():
    assert figures.ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0]) == figures.Figure(3.0, 2.0, 4.0)
    assert figures.ratio([1.0], []) is None


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("topics", [["a/b"], ["a/b", "a/bb", "c"]])
def test_bulk_publishes_are_what_the_codec_reads(qos, protocol, topics):
    data = b"".join(publishes(topics, b"x" * 20, 10, qos, 4, protocol))
    decoder = Decoder(protocol)
    decoder.feed(data)
    found = list(decoder.packets())
    assert [packet.topic for packet in found] == [topics[number % len(topics)] for number in range(10)]
    assert {(packet.qos, packet.payload) for packet in found} == {(qos, b"x" * 20)}
    assert [packet.packet_id for packet in found] == (list(range(1, 11)) if qos else [0] * 10)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300)), max_size=30), st.integers(1, 50))
def test_frames_counts_and_acknowledges_whatever_is_cut_anywhere(messages, cut):
    data = b"".join(
        encode(Publish("t", b"x" * size, qos=qos, packet_id=qos * (number + 1)))
        for number, (qos, size) in enumerate(messages)
    )
    frames = Frames()
    found = sum(frames.feed(data[start : start + cut]) for start in range(0, len(data), cut))
    assert found == len(messages)
    wanted = (encode(Puback(number + 1)) for number, (qos, _) in enumerate(messages) if qos)
    assert frames.answers() == b"".join(wanted)


def case(scenario="publish", **changes):
    one = {
        "backend": "mine", "face": "raw", "uvloop": False, "names": ["mine"], "label": "mine raw",
        "library": "lib", "version": "1", "local": False,
        "rounds": [
            {"seconds": 1.0, "lost": 0, "cpu_user": 0.5, "cpu_system": 0.5, "memory_growth": 0,
             "p50": 1e-4, "p99": 2e-4}
        ],
    }  # fmt: skip
    slower = {**one["rounds"][0], "seconds": 2.0}
    other = {**one, "face": "thread", "label": "mine thread", "rounds": [slower]}
    made = {"scenario": scenario, "messages": 1000, "qos": 1, "size": 100, "subscriptions": 1, "window": 20}
    return {**made, "broker": "<b>", "contenders": [one, other], **changes}


def test_a_case_replaces_the_one_of_the_same_work(tmp_path):
    found = document.new("juham bench")
    for added in (case(), case(), case("roundtrip"), case(qos=0), case(window=100)):
        document.add(found, added)
    assert len(found["cases"]) == 4
    document.save(found, tmp_path / "a.json")
    assert document.load(tmp_path / "a.json") == json.loads(json.dumps(found))


def test_the_report_is_well_formed_and_stands_by_itself(tmp_path):
    found = document.new("juham bench")
    for scenario in ("publish", "roundtrip"):
        document.add(found, case(scenario))
    folder = tmp_path / "performance"
    folder.mkdir()
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    written = report.outputs(found, folder)
    assert "| mine thread | 0.5 |" in written[page]
    assert "old" not in written[page]
    assert written[page].startswith("before")
    assert written[page].endswith("after\n")
    parseString(written[folder / report.PICTURE])
    html = written[folder / report.PAGE]
    assert "<b>" not in html
    assert "src=" not in html
    assert "href=" not in html


def test_the_official_run_is_made_of_cases_that_can_be_told_apart():
    parts = list(official.plan(5))
    assert {part.case.scenario for part in parts} == set(SCENARIOS)
    assert {part.case.messages for part in parts} == {5}
    assert len({(part.broker, part.case, part.faces) for part in parts}) == len(parts)


@pytest.mark.parametrize("title", checks.ALL)
def test_checks_are_made_and_shown(title, monkeypatch):
    monkeypatch.setattr(checks, "MANY", 1_000)
    monkeypatch.setitem(checks.ALL, title, partial(checks.ALL[title], rounds=1))
    done = CliRunner().invoke(bench, [f"--{title}"])
    assert done.exit_code == 0, done.output
    assert title in done.output
    assert "holds" in done.output or "does not hold" in done.output
    found = document.new("")
    document.add_checks(found, title, [{"what": "a check", "found": 2.5, "unit": "ms", "bound": 2.0}])
    assert "| a check | 2.5 ms | 2 | does not hold |" in report.markdown(found)
    assert "does not hold" in report.html(found)


def test_comparators_take_part_only_where_they_are_asked_for():
    usable = {info.name for info in juham.backends()}
    known = {entry_point.name for entry_point in entry_points(group=GROUP)}
    alone = {contender.backend for contender in contenders_of((), ["raw"], uvloop=False)}
    more = contenders_of((), ["raw"], uvloop=False, comparators=True)
    with_others = {contender.backend for contender in more}
    assert alone <= usable
    assert with_others - alone == known - usable
