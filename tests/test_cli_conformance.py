"""``juham conformance``: the summary, the report, the exit code, and what it says of bad arguments."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Installed, environment, juham, network_backends

from juham_core.broker import EmbeddedBroker

NETWORK = network_backends()

SHOUTING = """
from juham_core.memory import JMemory

class JShouting(JMemory):
    def _received(self, topic, payload, *more):
        super()._received(topic, payload.upper(), *more)
"""


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


@pytest.fixture
def shouting(installed):
    return installed.add("acme-shouting", {"shouting": "shouting:JShouting"}, shouting=SHOUTING)


def conformance(installed, *arguments, **variables):
    report = installed.folder / "report.json"
    return juham(installed, "conformance", *arguments, "--report", report, **variables)


def cases(installed):
    data = json.loads((installed.folder / "report.json").read_text())
    assert data["schema"] == "juham-conformance/1"
    return {case["id"]: case for case in data["backends"][0]["cases"]}


def test_a_backend_that_keeps_the_contract(installed):
    done = conformance(installed, "memory", "-k", "publish.payload")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("memory: JMemory of juham-core 1.0.0, over juham-core 1.0.0\n")
    assert "Failed" not in done.stdout
    assert "Next" not in done.stdout
    assert {case["outcome"] for case in cases(installed).values()} == {"passed"}
    assert all(case.startswith("publish.payload") for case in cases(installed))


def test_a_failure_has_the_rule_what_was_found_and_where_to_read(shouting):
    done = conformance(shouting, "shouting", "-k", "publish.payload_1_mib", "-k", "publish.wait_in_handler")
    assert done.returncode == 1, done.stdout
    _, _, told = done.stdout.partition("Failed: publish.payload_1_mib[memory]\n")
    rule, found, read = (line.split(maxsplit=1) for line in told.splitlines()[:3])
    assert rule == ["rule", cases(shouting)["publish.payload_1_mib"]["rule"]]
    assert found[0] == "found"
    assert "assert" in found[1]
    path, _, line = read[1].rpartition(":")
    assert "payload_1_mib" in Path(path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert "Next: juham conformance shouting -x -k publish.payload_1_mib" in done.stdout
    assert cases(shouting)["publish.wait_in_handler"]["outcome"] == "passed"


def test_what_to_type_next_has_the_options_that_made_it_fail(shouting):
    done = conformance(shouting, "shouting", "-k", "publish.payload_1_mib", "--face", "asyncio")
    assert done.returncode == 1, done.stdout
    assert "Next: juham conformance shouting -x -k publish.payload_1_mib --face asyncio\n" in done.stdout


@pytest.mark.skipif(not NETWORK, reason="there is no backend that reaches a broker")
def test_the_url_that_is_to_be_given_again_may_hold_a_password(installed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://user:secret-word@127.0.0.1:{server.getsockname()[1]}"
    done = conformance(installed, NETWORK[0], "-k", "publish.payload_1_mib", "--url", url)
    assert done.returncode == 1, done.stdout
    assert f"Next: juham conformance {NETWORK[0]} -x -k publish.payload_1_mib --url URL\n" in done.stdout
    assert "secret-word" not in done.stdout + done.stderr


def test_it_stops_at_the_first_failure(shouting):
    done = conformance(shouting, "shouting", "-x")
    assert done.returncode == 1, done.stdout
    assert [case["outcome"] for case in cases(shouting).values()].count("failed") == 1
    assert list(cases(shouting).values())[-1]["outcome"] == "failed"


def test_a_known_failure_is_no_failure_until_it_passes(shouting):
    chosen = ("-k", "publish.payload_1_mib", "--known")
    done = conformance(shouting, "shouting", *chosen, "publish.payload_1_mib=it shouts")
    assert done.returncode == 0, done.stdout
    assert "Known to fail: publish.payload_1_mib[memory]" in done.stdout
    assert "it shouts" in done.stdout
    done = conformance(shouting, "memory", *chosen, "publish.payload_1_mib=it shouts")
    assert done.returncode == 1, done.stdout
    assert "it passes: take it out of known_failures" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["memorry"], 1, 'did you mean "memory"?'),
        (["memory", "-k", "nonsense"], 2, "the subjects are packaging, publish"),
        (["memory", "--known", "publish.payload_bytes"], 2, "'publish.payload_bytes' is not CASE=WHY"),
        (["memory", "--known", "publish.nonsense=why"], 1, "publish.nonsense"),
        (["memory", "--url", "https://broker"], 1, "mqtt://"),
    ],
)
def test_bad_arguments_are_told(installed, arguments, code, told):
    done = conformance(installed, *arguments)
    assert done.returncode == code, done
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_python_without_assertions_is_refused(installed):
    done = conformance(installed, "memory", "-k", "payload_bytes", PYTHONOPTIMIZE="1")
    assert done.returncode == 2, done
    assert "assertions" in done.stderr


def test_a_broker_that_is_given_is_tried_on(installed, backend):
    if backend == "memory":
        pytest.skip("it reaches no broker")
    with EmbeddedBroker() as broker:
        done = conformance(installed, backend, "-k", "publish.payload_bytes", "--url", broker.url)
    assert done.returncode == 0, done.stdout
    data = json.loads((installed.folder / "report.json").read_text())
    assert {case["place"] for case in data["backends"][0]["cases"]} == {"fault_broker", "url"}


def test_the_report_goes_to_the_working_folder(installed):
    command = [sys.executable, "-m", "juham_core.cli", "conformance", "memory", "-k", "publish.payload_bytes"]
    variables = environment(installed)
    done = subprocess.run(
        command, cwd=installed.folder, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (installed.folder / "juham-conformance-memory.json").exists()


def test_it_needs_no_pytest(installed):
    """The extra "testing" is for pytest's view of it; the command does without."""
    block = installed.folder / "pytest.py"
    block.write_text("raise ImportError('not here')\n")
    done = conformance(installed, "memory", "-k", "publish.payload_bytes")
    assert done.returncode == 0, done.stderr
    assert os.fspath(block) not in done.stderr


def test_the_matrix_counts_what_the_reports_hold(installed):
    reports = installed.folder / "reports"
    reports.mkdir()
    outcomes = ["passed", "passed", "failed", "known_failure", "unsupported", "not_applicable"]
    found = [{"place": "memory", "outcome": outcome} for outcome in outcomes]
    text = json.dumps({"backends": [{"backend": "memory", "cases": found}]})
    (reports / "memory.json").write_text(text)
    only = {"JUHAM_BACKENDS_ALLOW": "memory"}
    printed = juham(installed, "matrix", "--reports", reports, **only).stdout
    assert "| conformance (in process) | 2 of 4 |" in printed
    assert "| conformance (Mosquitto) | \N{EN DASH} |" in printed
    assert "conformance" not in juham(installed, "matrix", **only).stdout
    (reports / "memory.json").write_text("{}")
    done = juham(installed, "matrix", "--reports", reports, **only)
    assert done.returncode == 1, done
    assert "juham conformance memory --report" in done.stderr


DYING = """
import os
from juham_core.memory import JMemory

class JDying(JMemory):
    def _publish(self, message):
        if message.payload == b"":
            os._exit(7)
        return super()._publish(message)
"""


def test_a_case_that_ends_the_process_fails_alone(installed):
    installed.add("acme-dying", {"dying": "dying:JDying"}, dying=DYING)
    done = conformance(installed, "dying", "--jobs", "2", "-k", "publish.payload")
    assert done.returncode == 1, done.stdout
    outcomes = {name: case["outcome"] for name, case in cases(installed).items()}
    assert outcomes.pop("publish.payload_empty") == "failed"
    assert "exit code 7" in cases(installed)["publish.payload_empty"]["reason"]
    assert set(outcomes.values()) == {"passed"}


def test_results_stand_in_the_order_of_the_cases_whatever_was_first(installed):
    chosen = ("-k", "endurance.subscriptions", "-k", "publish.payload_str", "-k", "subscribe.plus")
    assert conformance(installed, "memory", "--jobs", "3", *chosen).returncode == 0
    assert list(cases(installed)) == ["publish.payload_str", "subscribe.plus", "endurance.subscriptions"]


def test_through_the_asyncio_face(installed):
    done = conformance(installed, "memory", "--face", "asyncio", "-k", "publish.payload")
    assert done.returncode == 0, done.stdout
    assert "through juham.aio" in done.stdout
    assert cases(installed)["publish.payload_bytes"]["outcome"] == "passed"
    assert json.loads((installed.folder / "report.json").read_text())["backends"][0]["face"] == "asyncio"
