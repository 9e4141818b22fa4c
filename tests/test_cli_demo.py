"""``juham demo`` as a person or a pipe runs it: the table, the exit code, and what must not disturb it."""

import signal

import pytest
from brokers import require_mosquitto
from cli_support import Installed, juham, network_backends, row, start

from juham_core.broker import EmbeddedBroker
from juham_core.cli import brokers as demo_brokers

SHORT = ("--rounds", "5", "--sensors", "2", "--patience", "20")
MESSAGES = "30"  # 5 rounds of 2 sensors, 3 messages each
NETWORK = network_backends() or [pytest.param(None, marks=pytest.mark.skip("no plugin here"))]


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


def test_a_house_on_the_backend_in_memory(installed):
    done = juham(installed, "demo", *SHORT, "--backend", "memory")
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert row(done.stdout, "memory")[-4:-2] == [MESSAGES, "0"]
    assert float(row(done.stdout, "memory")[-1]) > 0
    assert f"{MESSAGES} messages, none lost" in done.stdout


def test_plain_output_has_no_escapes_and_fits_the_page(installed):
    done = juham(installed, "demo", *SHORT, "--backend", "memory", FORCE_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0, done
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", NETWORK)
@pytest.mark.parametrize("started", ["embedded", "mosquitto"])
def test_a_house_on_every_backend_and_broker(installed, name, started):
    if started == "mosquitto":
        require_mosquitto(pytest.skip, pytest.fail)
    done = juham(installed, "demo", *SHORT, "--backend", name, "--broker", started)
    assert done.returncode == 0, done
    assert row(done.stdout, name)[-4:-2] == [MESSAGES, "0"]
    assert f" {started} " in done.stdout
    assert "its will was seen" in done.stdout


@pytest.mark.parametrize("name", NETWORK)
def test_a_broker_that_runs_already_is_left_as_it_was(installed, name):
    with EmbeddedBroker(users={"boiler": "secret-word"}) as broker:
        url = broker.url.replace("mqtt://", f"mqtt+{name}://boiler:secret-word@")
        done = juham(installed, "demo", *SHORT, "--url", url)
        assert done.returncode == 0, done
        assert broker.statistics.received > int(MESSAGES)
        assert broker.statistics.retained == 0
        assert broker.statistics.sessions == 0
    assert "secret-word" not in done.stdout + done.stderr
    assert f"mqtt://127.0.0.1:{broker.port}" in done.stdout


def test_lost_messages_are_counted_and_make_it_fail(installed):
    installed.add_faulty("lossy", "JLossy")
    done = juham(installed, "demo", *SHORT, "--patience", "0.5", JUHAM_BACKENDS_ALLOW="lossy,memory")
    assert done.returncode == 1, done
    messages, lost = map(int, row(done.stdout, "lossy")[-4:-2])
    assert 0 < lost < messages
    assert f"{lost} of {messages} messages were lost" in done.stdout
    assert row(done.stdout, "memory")[-4:-2] == [MESSAGES, "0"]
    assert "Something is wrong with lossy" in done.stdout


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import acme_is_not_here", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("", "has no 'JBroken'"),
    ],
)
def test_a_broken_neighbour_has_its_row_and_the_others_run(installed, source, reason):
    installed.add("acme-broken", {"broken": "acme_broken:JBroken"}, acme_broken=source)
    done = juham(installed, "demo", *SHORT, JUHAM_BACKENDS_ALLOW="broken,memory")
    assert done.returncode == 1, done
    assert "acme-broken 1.0" in done.stdout
    assert row(done.stdout, "broken")[-4] == "failed"
    assert reason in done.stdout
    assert row(done.stdout, "memory")[-4:-2] == [MESSAGES, "0"]
    assert done.stderr == ""


def test_a_backend_that_raises_a_foreign_error_does_not_end_the_demo(installed):
    installed.add_faulty("araising", "JRaising")
    done = juham(installed, "demo", *SHORT, JUHAM_BACKENDS_ALLOW="araising,memory")
    assert done.returncode == 1, done
    assert "ZeroDivisionError: a foreign error" in done.stdout
    assert row(done.stdout, "memory")[-4:-2] == [MESSAGES, "0"]


def test_what_a_backend_does_not_claim_is_skipped_unless_it_was_asked_for(installed):
    installed.add_faulty("elsewhere", "JElsewhere")
    done = juham(installed, "demo", *SHORT, JUHAM_BACKENDS_ALLOW="elsewhere,memory")
    assert done.returncode == 0, done
    assert row(done.stdout, "elsewhere")[-4] == "skipped"
    assert "does not support MQTT 3.1.1" in done.stdout
    done = juham(installed, "demo", *SHORT, "--backend", "elsewhere")
    assert done.returncode == 1, done
    assert row(done.stdout, "elsewhere")[-4] == "failed"


def test_two_distributions_with_one_name_both_run(installed):
    installed.add("acme-mine", {"twin": "acme_mine:JMine"}, acme_mine=TWIN.replace("NAME", "JMine"))
    installed.add("acme-yours", {"twin": "acme_yours:JYours"}, acme_yours=TWIN.replace("NAME", "JYours"))
    done = juham(installed, "demo", *SHORT, JUHAM_BACKENDS_ALLOW="twin")
    assert done.returncode == 0, done
    for name in ("acme-mine:twin", "acme-yours:twin"):
        assert row(done.stdout, name)[-4:-2] == [MESSAGES, "0"]


TWIN = "from juham_core.memory import JMemory\nclass NAME(JMemory): ...\n"


def test_a_backend_that_is_not_installed(installed):
    done = juham(installed, "demo", *SHORT, "--backend", "memory", "--backend", "memry")
    assert done.returncode == 1, done
    assert 'did you mean "memory"?' in done.stdout
    assert row(done.stdout, "memory")[-4:-2] == [MESSAGES, "0"]


def test_no_backend_at_all(installed):
    done = juham(installed, "demo", JUHAM_BACKENDS_ALLOW="nothing")
    assert done.returncode == 1, done
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_ends_by_the_clock_too(installed):
    done = juham(installed, "demo", "--backend", "memory", "--seconds", "0.3")
    assert done.returncode == 0, done
    assert "none lost" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--url", "mqtt://localhost", "--broker", "embedded"), 2, "not both"),
        (("--url", "mqtt+gmqtt://localhost", "--backend", "paho"), 2, "gmqtt"),
        (("--rounds", "0"), 2, "--rounds"),
        (("--url", "http://localhost"), 1, "unknown scheme 'http'"),
        (("--url", "mqtt://localhost?colour=red"), 1, "unknown option 'colour'"),
    ],
)
def test_misspelt_commands(installed, arguments, code, text):
    done = juham(installed, "demo", *arguments)
    assert done.returncode == code, done
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(installed):
    done = juham(installed, "--debug", "demo", "--url", "http://localhost")
    assert done.returncode == 1, done
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_can_be_interrupted(installed, number, code):
    marker = "acme_watch: the house is lived in"
    source = WATCH.replace("MARK", marker)
    installed.add("acme-watch", {"watch": "acme_watch"}, group="juham_core.hooks", acme_watch=source)
    with start(installed, "demo", "--rounds", "1000000", "--backend", "memory") as process:
        try:
            assert any(line.startswith(marker) for line in process.stdout)
            process.send_signal(number)
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code, (output, errors)
    assert "Traceback" not in errors


WATCH = """
from juham_core import hookimpl

said = []

@hookimpl
def jmqtt_received(client, message):
    if not said:
        said.append(print("MARK", flush=True))
"""


def test_without_mosquitto_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(demo_brokers, "_SBIN", (str(tmp_path),))
    with pytest.raises(demo_brokers.BrokerMissingError, match="apt-get install mosquitto"):
        demo_brokers.find_mosquitto()


def test_a_mosquitto_that_does_not_start_is_quoted(monkeypatch, tmp_path):
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'no mood for it' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(demo_brokers.BrokerMissingError, match="no mood for it"), demo_brokers.mosquitto():
        pass
