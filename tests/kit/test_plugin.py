"""The kit as a backend's author meets it: a class of two lines, pytest's command line, the report."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

pytest_plugins = ["pytester"]

PLUGIN = "juham_core.testing.plugin"
ONE_LINE = """
from juham_core.testing import BackendConformance

class TestMemory(BackendConformance):
    backend = "memory"
"""


@pytest.fixture
def author(pytester, monkeypatch):
    """A folder of the author's own, and pytest run in it."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    installed = any(entry.value == PLUGIN for entry in metadata.entry_points(group="pytest11"))
    arguments = [] if installed else ["-p", PLUGIN]
    arguments += ["-p", "no:hypothesispytest"]  # importing it takes as long as everything else together

    def run(text, *more):
        pytester.makepyfile(test_mine=text)
        return pytester.runpytest_subprocess("-W", "error", "--strict-markers", *arguments, *more)

    return run


def test_one_line_is_enough(author):
    result = author(ONE_LINE, "-v", "-k", "publish")
    result.stdout.fnmatch_lines(["*::TestMemory::publish.payload_bytes?memory? PASSED*"])
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] > 10
    assert "failed" not in outcomes
    assert "warnings" not in outcomes


def test_a_single_case_by_its_node_id(author):
    result = author(ONE_LINE, "test_mine.py::TestMemory::publish.payload_bytes[memory]")
    result.assert_outcomes(passed=1)


def test_cases_are_chosen_by_level_subject_and_place(author):
    author(ONE_LINE, "-k", "faults and twice").assert_outcomes(passed=2)
    author(ONE_LINE, "-k", "publish. and none").assert_outcomes(passed=2, skipped=14)
    author(ONE_LINE, "-k", "semantics and payload_bytes").assert_outcomes(passed=1)


def test_what_cannot_be_tried_is_skipped_with_the_reason(author):
    result = author(ONE_LINE, "-rs", "-k", "refused_port")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*reaches no broker whose network could fail*"])


BROKEN = """
from juham_core.memory import JMemory
from juham_core.testing import BackendConformance

class JBroken(JMemory):
    def _received(self, topic, payload, *more):
        super()._received(topic, payload.upper(), *more)

class TestBroken(BackendConformance):
    backend = JBroken
"""


def test_a_failure_shows_the_case_s_own_assertion(author):
    result = author(BROKEN, "-k", "context_manager or wait_in_handler or message_attributes or 1_mib")
    result.stdout.fnmatch_lines(["*1 failed*"])
    result.stdout.fnmatch_lines(["E  *assert*"])


def test_a_known_failure_is_an_xfail_and_has_its_reason(author):
    text = BROKEN + '    known_failures = {"publish.payload_1_mib": "it shouts"}\n'
    result = author(text, "-rx", "-k", "1_mib")
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*it shouts*"])


def test_a_known_failure_that_passes_is_a_failure(author):
    text = ONE_LINE + '    known_failures = {"publish.payload_bytes[memory]": "it was once"}\n'
    author(text, "-k", "payload_bytes").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('    known_failures = {"publish.payload_byte": "misspelt"}\n', "*publish.payload_byte' is no case*"),
        ('    known_failures = {"publish.payload_bytes": ""}\n', "*or has no reason*"),
    ],
)
def test_a_known_failure_has_to_make_sense(author, line, told):
    result = author(ONE_LINE + line)
    result.stdout.fnmatch_lines([told])
    assert result.ret != 0


def test_without_a_backend_it_says_what_to_write(author):
    result = author(
        "from juham_core.testing import BackendConformance\nclass TestX(BackendConformance):\n    pass\n"
    )
    result.stdout.fnmatch_lines(['*TestX does not say which backend: backend = "mine"*'])


def test_a_backend_that_is_not_installed_fails_and_says_so(author):
    text = ONE_LINE.replace('"memory"', '"memorry"')
    result = author(text, "-k", "payload_bytes")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*BackendNotFoundError*memorry*"])


def test_a_bad_url_is_an_error(author):
    result = author(ONE_LINE, "--mqtt-url", "https://broker")
    result.stdout.fnmatch_lines(["*the kit tries real brokers over plain TCP*"])
    assert result.ret != 0


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_report(author, pytester, workers):
    path = pytester.path / "report.json"
    author(ONE_LINE, "-n", workers, "--juham-report", str(path), "-k", "publish and (bytes or window)")
    data = json.loads(path.read_text())
    assert data["schema"] == "juham-conformance/1"
    [report] = data["backends"]
    assert (report["backend"], report["class_id"], report["passed"]) == ("memory", "JMemory", True)
    assert report["distribution"] == "juham-core"
    cases = {case["id"]: case for case in report["cases"]}
    assert cases["publish.payload_bytes"]["outcome"] == "passed"
    assert cases["publish.payload_bytes"]["place"] == "memory"
    assert "no UTF-8" in cases["publish.payload_bytes"]["rule"]
    assert cases["publish.window"]["outcome"] == "not_applicable"
    assert "network" in cases["publish.window"]["reason"]


def test_an_author_s_fixtures_and_own_cases_take_part(author):
    text = """
import pytest
from juham_core.testing import BackendConformance, NONE, case

class TestMine(BackendConformance):
    backend = "memory"
    seen = []

    @pytest.fixture(autouse=True)
    def prepared(self):
        self.seen.append(1)

    @case("mine.special", on=NONE)
    def special(self, kit):
        '''A rule of my own.'''
        assert self.seen

    def test_ordinary(self):
        assert self.seen
"""
    author(text, "-k", "special or ordinary").assert_outcomes(passed=2)


def test_without_the_plugin_the_class_does_not_pass_silently(author, pytester):
    result = author(ONE_LINE, "-p", "no:juham", "-p", "no:juham_core.testing.plugin")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*-p juham_core.testing.plugin*"])


def test_it_costs_nothing_where_it_is_not_used():
    code = (
        "import sys, juham_core.testing.plugin\n"
        "loaded = [name for name in sys.modules if name.startswith('juham_core')]\n"
        "print(sorted(loaded))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "['juham_core', 'juham_core.testing', 'juham_core.testing.plugin']"


def test_tests_of_other_things_are_left_alone(author):
    text = """
from unittest.mock import MagicMock
thing = MagicMock()
class TestOther:
    thing = MagicMock()
    def test_it(self): pass
"""
    author(text, "--markers").stdout.fnmatch_lines(["*juham(level)*"])
    author(text).assert_outcomes(passed=1)
    assert os.environ["PYTEST_ADDOPTS"] == ""
