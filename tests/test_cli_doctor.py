"""``juham doctor``: every way a plugin can be broken is told, and harms neither the doctor nor the others."""

import socket
import sqlite3
from pathlib import Path

import pytest
from cli_support import Installed, juham, network_backends

import juham_core
from juham_core.broker import EmbeddedBroker

GOOD = {"JUHAM_BACKEND": "memory", "JUHAM_BACKENDS_ALLOW": "memory,acme"}
NETWORK = network_backends() or [pytest.param(None, marks=pytest.mark.skip("no plugin here"))]


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


def line(output, word):
    lines = [text for text in output.splitlines() if word in text]
    assert len(lines) == 1, output
    return lines[0]


def test_all_is_well(installed):
    done = juham(installed, "doctor", **GOOD)
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert "ok" in line(done.stdout, "memory (juham-core")
    assert "juham-core:memory, because JUHAM_BACKEND=memory" in done.stdout
    assert done.stdout.endswith("All is well.\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import acme_is_not_here", "ModuleNotFoundError"),
        ("raise SystemExit('not today')", "not today"),
        ("import os; os._exit(0)", "it ended the process it was tried in, with exit code 0"),
        ("import os; os.abort()", "it ended the process it was tried in, with signal"),
        ("", "has no 'JAcme'"),
    ],
)
def test_a_backend_that_cannot_be_imported(installed, source, said):
    installed.add("acme-acme", {"acme": "acme:JAcme"}, acme=source)
    done = juham(installed, "doctor", **GOOD)
    assert done.returncode == 1, done
    report = line(done.stdout, "acme (acme-acme 1.0)")
    assert report.strip().startswith("wrong")
    assert said in report
    assert "pip install" in report
    assert "acme-acme" in report
    assert "ok" in line(done.stdout, "memory (juham-core")
    assert "1 thing is wrong." in done.stdout


def test_a_backend_that_talks_or_leaves_threads_when_imported(installed):
    source = (
        "import threading\nprint('hello')\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "from juham_core.memory import JMemory\nclass JAcme(JMemory): ...\n"
    )
    installed.add("acme-acme", {"acme": "acme:JAcme"}, acme=source)
    done = juham(installed, "doctor", **GOOD)
    assert done.returncode == 0, done
    assert "hello" not in done.stdout


def test_a_blocked_backend_is_not_imported(installed):
    installed.add("acme-acme", {"acme": "acme:JAcme"}, acme="import os; os.abort()")
    done = juham(installed, "doctor", JUHAM_BACKEND="memory", JUHAM_BACKENDS_ALLOW="memory")
    assert done.returncode == 0, done
    assert "blocked" in line(done.stdout, "acme (acme-acme 1.0)")


def test_a_hook_plugin_with_a_problem(installed):
    source = "from juham_core import hookimpl\n@hookimpl\ndef jmqtt_recieved(client): ...\n"
    installed.add("acme-hook", {"watcher": "acme_hook"}, group="juham_core.hooks", acme_hook=source)
    done = juham(installed, "doctor", **GOOD)
    assert done.returncode == 1, done
    assert "jmqtt_recieved" in line(done.stdout, "watcher (acme-hook)")


def test_a_hook_plugin_that_ends_the_process(installed):
    source = "import os; os._exit(7)"
    installed.add("acme-hook", {"w": "acme_hook"}, group="juham_core.hooks", acme_hook=source)
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="nothing", JUHAM_BACKEND="memory")
    assert done.returncode == 1, done
    assert "exit code 7" in line(done.stdout, "JUHAM_HOOKS_BLOCK")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("JMqtt", '{"backend": ', "line 1"),
        ("JMqtt", '{"backend": 5}', '"backend" must be the name of a backend'),
        ("JAcme", '{"retries": "many"}', '"retries" must be an integer'),
        ("Whoever", "[]", "JSON object"),
    ],
)
def test_a_configuration_file_that_cannot_be_read(installed, name, text, said):
    path = installed.folder / "home" / ".juham" / "config" / f"{name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    source = "from juham_core.memory import JMemory\nclass JAcme(JMemory):\n    retries = 3\n"
    installed.add("acme-acme", {"acme": "acme:JAcme"}, acme=source)
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="memory,acme")
    assert done.returncode == 1, done
    problems = [text for text in done.stdout.splitlines() if str(path) in text]
    assert len(problems) == 1, done.stdout
    assert problems[0].strip().startswith("wrong")
    assert said in problems[0]


def test_a_key_that_nobody_knows_is_mentioned(installed):
    path = installed.folder / "home" / ".juham" / "config" / "JMqtt.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"backend": "memory", "bakend": "memory"}')
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="memory")
    assert done.returncode == 0, done
    assert 'did you mean "backend"?' in line(done.stdout, "bakend")


def test_the_configured_choice(installed):
    path = installed.folder / "home" / ".juham" / "config" / "JMqtt.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"backend": "memory"}')
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="memory")
    assert done.returncode == 0, done
    assert f"because {path} names it" in done.stdout


def test_a_choice_that_is_not_installed(installed):
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="memory", JUHAM_BACKEND="memroy")
    assert done.returncode == 1, done
    assert 'did you mean "memory"?' in done.stdout


def test_no_backend_at_all(installed):
    done = juham(installed, "doctor", JUHAM_BACKENDS_ALLOW="nothing")
    assert done.returncode == 1, done
    assert "pip install" in done.stdout


def test_a_round_trip_in_memory(installed):
    done = juham(installed, "doctor", "--url", "memory://here", **GOOD)
    assert done.returncode == 0, done
    assert "a message went to memory://here and back in" in done.stdout


def test_a_backend_is_not_tried_with_what_it_does_not_support(installed):
    done = juham(installed, "doctor", "--url", "mqtt://localhost:1", **GOOD)
    assert done.returncode == 0, done
    assert "memory: does not support mqtt, not connected" in done.stdout


@pytest.mark.parametrize("name", NETWORK)
def test_a_round_trip_over_the_network(installed, name):
    only = {"JUHAM_BACKENDS_ALLOW": name}
    with EmbeddedBroker(users={"boiler": "secret-word"}) as broker:
        address = f"127.0.0.1:{broker.port}"
        url = f"mqtt+{name}://boiler:secret-word@{address}"
        done = juham(installed, "doctor", "--url", url, **only)
        assert done.returncode == 0, done
        assert f"{name}: a message went to mqtt://{address} and back in" in done.stdout
        assert "because the URL names it" in done.stdout
        refused = juham(installed, "doctor", "--url", url.replace("secret-word", "wrong-word"), **only)
    assert refused.returncode == 1, refused
    assert "AuthError" in refused.stdout
    assert "-word" not in done.stdout + refused.stdout
    gone = juham(installed, "doctor", "--url", url, "--timeout", "5", **only)
    assert gone.returncode == 1, gone
    assert "ConnectError" in gone.stdout


@pytest.mark.parametrize("name", NETWORK)
def test_a_broker_that_says_nothing(installed, name):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt+{name}://127.0.0.1:{silent.getsockname()[1]}"
        done = juham(installed, "doctor", "--url", url, "--timeout", "0.5", JUHAM_BACKENDS_ALLOW=name)
    assert done.returncode == 1, done
    assert "ConnectTimeoutError" in done.stdout


def test_a_url_that_is_none(installed):
    done = juham(installed, "doctor", "--url", "mqtt://user:secret-word@localhost?qos=1")
    assert done.returncode == 1, done
    assert "unknown option 'qos'" in done.stderr
    assert "secret-word" not in done.stdout + done.stderr


def test_a_url_of_the_environment_that_is_none(installed):
    done = juham(installed, "doctor", **GOOD, JUHAM_URL="mqtt://localhost?qos=1")
    assert done.returncode == 1, done
    assert "JUHAM_URL: unknown option 'qos'" in line(done.stdout, "  wrong ")
    assert "Choice" in done.stdout  # it goes on


def test_the_outbox_that_the_url_names(installed):
    folder = installed.folder / "boxes"
    path = folder / "outbox"
    url = {"JUHAM_URL": f"memory://here?outbox={path}"}
    missing = juham(installed, "doctor", **GOOD, **url)
    assert missing.returncode == 1, missing
    assert "make it" in line(missing.stdout, str(folder))
    folder.mkdir()
    empty = juham(installed, "doctor", **GOOD, **url)
    assert empty.returncode == 0, empty
    assert f"SQLite {sqlite3.sqlite_version} keeps one in {folder}" in line(empty.stdout, "MB free")
    assert "not there yet" in line(empty.stdout, str(path))
    assert list(folder.iterdir()) == []
    with juham_core.create("memory", outbox=path) as client:
        client.publish("t", b"12345", qos=1)
        in_use = juham(installed, "doctor", "--url", url["JUHAM_URL"], **GOOD)
        assert in_use.returncode == 0, in_use
        assert f"{path}: 1 messages of 6 bytes wait in it" in in_use.stdout
        assert client.statistics.outbox_messages == 1, "the doctor's round trip has sent it"


def test_a_damaged_outbox(installed):
    path = installed.folder / "outbox"
    path.write_bytes(b"SQLite format 3\0" + bytes(52) + b"JuOB" + bytes(5000))
    done = juham(installed, "doctor", "--url", f"memory://here?outbox={path}", **GOOD)
    assert done.returncode == 1, done
    assert "wrong" in line(done.stdout, f"juham outbox {path}")


def test_an_outbox_that_is_something_else(installed):
    path = installed.folder / "notes.txt"
    path.write_text("milk, bread, eggs", encoding="utf-8")
    done = juham(installed, "doctor", "--url", f"memory://here?outbox={path}", **GOOD)
    assert done.returncode == 1, done
    assert "wrong" in line(done.stdout, f"{str(path)!r} is a file of something else")
    assert path.read_text(encoding="utf-8") == "milk, bread, eggs"


def test_no_outbox_is_named(installed):
    done = juham(installed, "doctor", **GOOD)
    assert "ok    SQLite" in line(done.stdout, "MB free")
    assert "the URL names none" in done.stdout


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder where not even root may write is Linux's")
def test_a_folder_that_nobody_may_write_to(installed):
    done = juham(installed, "doctor", "--url", "memory://here?outbox=/proc/outbox", **GOOD)
    assert done.returncode == 1, done
    assert "let this user write there" in line(done.stdout, "no outbox can be kept in '/proc'")
