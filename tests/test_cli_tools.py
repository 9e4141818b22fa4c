"""``juham backends``, ``broker`` and ``matrix``, and the command as a whole."""

import json
import signal
import socket

import pytest
from cli_support import Installed, juham, network_backends, start

import juham_core as core
from juham_core.errors import AuthError

TELLTALE = "from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n"


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


@pytest.fixture
def telltale(installed):
    return installed.add("acme-acme", {"acme": "acme:JAcme"}, version="2.5", acme=TELLTALE)


def test_help_names_every_command(installed):
    done = juham(installed, "--help")
    assert done.returncode == 0, done
    commands = "demo backends doctor outbox broker matrix new-backend conformance bench"
    for command in commands.split():
        assert f"\n  {command} " in done.stdout
        assert juham(installed, command, "--help").returncode == 0
    assert juham(installed, "--version").stdout == f"juham, version {core.__version__}\n"


def test_an_unknown_command_is_a_usage_error(installed):
    done = juham(installed, "demmo")
    assert done.returncode == 2, done
    assert "No such command 'demmo': did you mean 'demo'?" in done.stderr
    assert "the commands are demo, backends, doctor," in juham(installed, "xyz").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("bench -b amce", 'backend "amce" is not installed'),
        ("bench -b memory --face raw", "memory cannot be used as raw"),
        ("bench --check", "--check belongs to --docs FOLDER"),
        ("bench publish --append", "--append belongs to --json FILE"),
        ("outbox nowhere", "its path is what the client's option 'outbox' says"),
        ("outbox --topics -1 nowhere", "--topics"),
        ("new-backend mine --directory file/mine", "Not a directory: 'file/mine"),
        ("conformance memory --report file/report.json", "'file'"),
    ],
)
def test_what_cannot_be_done_is_told_before_it_is_begun(installed, monkeypatch, arguments, told):
    (installed.folder / "file").touch()
    monkeypatch.chdir(installed.folder)
    done = juham(installed, *arguments.split())
    assert done.returncode in (1, 2), done
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback_of_what_the_system_refuses(installed, monkeypatch):
    (installed.folder / "file").touch()
    monkeypatch.chdir(installed.folder)
    done = juham(installed, "--debug", "new-backend", "mine", "--directory", "file/mine")
    assert done.returncode == 1, done
    assert "Traceback" in done.stderr


def test_a_file_that_is_no_outbox(installed):
    path = installed.folder / "program.py"
    path.write_text("print('hello')\n" * 100)
    done = juham(installed, "outbox", path)
    assert done.returncode == 1, done
    assert f"{path} is damaged, or no outbox" in done.stdout


def test_backends_lists_without_importing(telltale):
    done = juham(telltale, "backends", JUHAM_BACKEND="memory")
    assert done.returncode == 0, done
    assert ["acme", "JAcme", "acme-acme", "2.5"] in [line.split() for line in done.stdout.splitlines()]
    assert not (telltale.folder / "acme.imported").exists()


def test_backends_marks_the_default_and_what_is_blocked(telltale):
    done = juham(telltale, "backends", "--json", JUHAM_BACKEND="acme", JUHAM_BACKENDS_BLOCK="memory")
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert found["acme"] == {
        "name": "acme",
        "class_id": "JAcme",
        "distribution": "acme-acme",
        "version": "2.5",
        "entry_point": "acme:JAcme",
        "default": True,
        "blocked": False,
    }
    assert found["memory"]["blocked"]
    text = juham(telltale, "backends", JUHAM_BACKEND="acme", JUHAM_BACKENDS_BLOCK="memory").stdout
    assert [line.split()[0] for line in text.splitlines() if line.endswith("default")] == ["acme"]
    assert [line.split()[0] for line in text.splitlines() if line.endswith("blocked")] == ["memory"]


def test_backends_tells_why_there_is_no_default(telltale):
    done = juham(telltale, "backends", JUHAM_BACKEND="amce")
    assert done.returncode == 0, done
    assert 'did you mean "acme"?' in done.stderr
    assert "default" not in done.stdout


def test_matrix_is_written_and_checked(installed):
    page = installed.folder / "README.md"
    page.write_text("# before\n<!-- matrix -->\nold\n<!-- /matrix -->\nafter\n", encoding="utf-8")
    only = {"JUHAM_BACKENDS_ALLOW": "memory"}
    done = juham(installed, "matrix", "--check", page, **only)
    assert done.returncode == 1, done
    assert "out of date" in done.stderr
    assert juham(installed, "matrix", "--write", page, **only).returncode == 0
    assert juham(installed, "matrix", "--check", page, **only).returncode == 0
    printed = juham(installed, "matrix", **only).stdout
    text = page.read_text(encoding="utf-8")
    assert text == f"# before\n<!-- matrix -->\n{printed}<!-- /matrix -->\nafter\n"
    assert "| TCP | \N{EN DASH} |" in printed
    assert "| in-process broker | ✓ |" in printed


def test_matrix_needs_a_place(installed):
    page = installed.folder / "README.md"
    page.write_text("nothing here")
    done = juham(installed, "matrix", "--write", page, JUHAM_BACKENDS_ALLOW="memory")
    assert done.returncode == 1, done
    assert "<!-- matrix -->" in done.stderr
    assert page.read_text() == "nothing here"


def test_matrix_refuses_to_leave_a_broken_backend_out(installed):
    installed.add("acme-acme", {"acme": "acme:JAcme"}, acme="")
    done = juham(installed, "matrix", JUHAM_BACKENDS_ALLOW="acme,memory")
    assert done.returncode == 1, done
    assert "acme-acme 1.0" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_broker_runs_until_told_to_stop(installed, number):
    with start(installed, "broker", "--port", "0") as process:
        try:
            first = process.stdout.readline()
            assert "for development and tests, not for production" in first
            port = int(first.split("127.0.0.1:")[1].split(",")[0])
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert errors == ""


@pytest.mark.parametrize(
    "name", network_backends()[:1] or [pytest.param(None, marks=pytest.mark.skip("no plugin here"))]
)
def test_broker_lets_in_its_users_only(installed, name):
    with start(installed, "broker", "--port", "0", "--user", "boiler:warm:word") as process:
        try:
            port = int(process.stdout.readline().split("127.0.0.1:")[1].split(",")[0])
            core.connect(f"mqtt+{name}://boiler:warm%3Aword@127.0.0.1:{port}").disconnect_from_server()
            with pytest.raises(AuthError):
                core.connect(f"mqtt+{name}://boiler:cold@127.0.0.1:{port}")
        finally:
            process.terminate()


def test_broker_says_so_if_the_port_is_taken(installed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = juham(installed, "broker", "--port", taken.getsockname()[1])
    assert done.returncode == 1, done
    assert str(taken) not in done.stderr
    assert done.stderr.startswith("juham: ")
    assert "Traceback" not in done.stderr


def test_broker_wants_a_password_with_the_name(installed):
    done = juham(installed, "broker", "--user", "boiler")
    assert done.returncode == 2, done
    assert "NAME:PASSWORD" in done.stderr
