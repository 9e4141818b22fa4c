"""``juham new-backend``: what it writes is installed at once, says what to fill in, and then works."""

import configparser
import json
import subprocess
import sys
from importlib import metadata

import pytest
from cli_support import Installed, environment, juham
from documents import files_in

FILES = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "juham_{name}/__init__.py",
    "juham_{name}/py.typed",
    "pyproject.toml",
    "setup.cfg",
    "tests/test_conformance.py",
    "tox.ini",
}


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


@pytest.fixture
def generate(installed):
    """Write a distribution and install it as pip would: package, metadata, entry points of its setup.cfg."""

    def make(name, *arguments, filled=None):
        folder = installed.folder / f"juham-{name}"
        done = juham(installed, "new-backend", name, "--directory", folder, *arguments)
        assert done.returncode == 0, done.stderr
        for path, text in (filled or {}).items():
            (folder / path).write_text(text)
        config = configparser.ConfigParser()
        config.read(folder / "setup.cfg")
        points = config["options.entry_points"]["juham_core.backends"].strip().splitlines()
        installed.add(
            config["metadata"]["name"],
            dict(point.split(" = ") for point in points),
            version=config["metadata"]["version"],
        )
        (installed.folder / f"juham_{name}").symlink_to(folder / f"juham_{name}")
        return folder

    return make


def report_of(installed, name, *arguments):
    path = installed.folder / "report.json"
    done = juham(installed, "conformance", name, "--report", path, *arguments)
    return done, json.loads(path.read_text())["backends"][0]


def test_it_writes_a_distribution_and_says_what_to_type_next(generate, installed):
    folder = generate("mine")
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == {name.format(name="mine") for name in FILES}
    assert "$" not in "".join(
        path.read_text() for path in folder.rglob("*") if path.is_file() and path.name != "ci.yml"
    )
    done = juham(installed, "new-backend", "other", "--directory", folder / "other")
    commands = [line.strip() for line in done.stdout.partition("Next:")[2].splitlines() if line]
    assert commands == [
        f"cd {folder / 'other'}",
        'python -m pip install -e ".[testing]"',
        "juham conformance other -x",
    ]


def test_a_skeleton_is_listed_and_the_doctor_says_what_is_missing(generate, installed):
    generate("mine", "--library", "fastmqtt>=2,<3")
    listed = {item["name"]: item for item in json.loads(juham(installed, "backends", "--json").stdout)}
    assert listed["mine"]["class_id"] == "JMine"
    assert listed["mine"]["distribution"] == "juham-mine"
    done = juham(installed, "doctor", "--url", "mqtt+mine://127.0.0.1:1")
    assert done.returncode == 1, done.stdout
    assert "wrong mine: NotSupportedError: JMine._open is not written yet: connect" in done.stdout


def test_the_library_becomes_a_requirement(generate):
    folder = generate("mine", "--library", "fastmqtt>=2,<3")
    config = configparser.ConfigParser()
    config.read(folder / "setup.cfg")
    requirements = config["options"]["install_requires"].split("\n")
    assert requirements == ["", "juham-core>=1,<2", "fastmqtt>=2,<3"]
    assert 'library = "fastmqtt"' in (folder / "juham_mine" / "__init__.py").read_text()


def test_the_whole_kit_on_a_skeleton_says_what_to_write_and_ends_soon(generate, installed):
    generate("mine")
    done, report = report_of(installed, "mine")
    assert done.returncode == 1
    assert "times: NotSupportedError: JMine._open is not written yet: connect the library's" in done.stdout
    failures = [case for case in report["cases"] if case["outcome"] == "failed"]
    assert len(failures) > len(report["cases"]) / 2
    assert not [case["id"] for case in failures if "has taken more than" in case["reason"]]
    told = [case for case in failures if case["reason"].startswith("NotSupportedError: JMine.")]
    assert len(told) > 0.95 * len(failures)  # a few look at what goes before or beside the primitives


def without(method, text):
    """The tutorial's class with one method as the skeleton has it."""
    head, found, rest = text.partition(f"    def {method}(")
    body, _, tail = rest.partition("\n\n")
    unwritten = f'raise NotSupportedError("JTiny.{method} is not written yet")'
    assert found
    signature = body.partition(":\n")[0]
    imported = head.replace("import NotConnectedError", "import NotConnectedError, NotSupportedError")
    return f"{imported}{found}{signature}:\n        {unwritten}\n\n{tail}"


@pytest.mark.parametrize(
    ("method", "case", "told"),
    [
        ("_publish", "publish.payload_bytes", "JTiny._publish is not written yet"),
        ("_subscribe", "subscribe.granted", "JTiny._subscribe is not written yet"),
        ("_unsubscribe", "subscribe.unsubscribe_unknown", "JTiny._unsubscribe is not written yet"),
        ("_close", "publish.payload_bytes", "left behind: "),
    ],
)
def test_the_kit_tells_which_method_comes_next(generate, installed, method, case, told):
    files = files_in("writing-a-backend.md")
    name = "juham_tiny/__init__.py"
    generate("tiny", filled={**files, name: without(method, files[name])})
    done, _ = report_of(installed, "tiny", "-k", case, "-x")
    assert done.returncode == 1, done.stdout
    assert told in done.stdout


def test_the_tutorial_s_backend_keeps_the_contract(generate, installed):
    """A part of the kit here; tests/packaging runs the whole on it, installed by pip."""
    generate("tiny", filled=files_in("writing-a-backend.md"))
    chosen = ("publish.payload_", "subscribe.granted", "subscribe.unsubscribe", "connect.refused_")
    done, report = report_of(installed, "tiny", *(part for case in chosen for part in ("-k", case)))
    assert done.returncode == 0, done.stdout
    assert report["passed"]
    assert report["counts"]["passed"] > 12


def test_the_generated_test_class_runs_under_pytest(generate, installed, tmp_path):
    folder = generate("tiny", filled=files_in("writing-a-backend.md"))
    installed_plugin = [] if _plugin_is_installed() else ["-p", "juham_core.testing.plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *installed_plugin, "-n", "0", "-k", "payload_bytes", "-q"],
        cwd=folder,
        env=environment(installed, PYTEST_ADDOPTS=""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def _plugin_is_installed():
    plugins = metadata.entry_points(group="pytest11")
    return any(plugin.value == "juham_core.testing.plugin" for plugin in plugins)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Mine", "lowercase"),
        ("my-own", "lowercase"),
        ("2nd", "begins with a letter"),
        ("my_own", "mqtt+NAME://"),
        ("paho2", "one of Juham's own"),
        ("core", "one of Juham's own"),
    ],
)
def test_a_name_has_to_be_one(installed, name, why):
    done = juham(installed, "new-backend", name, "--directory", installed.folder / "new")
    assert done.returncode == 2, done
    assert why in " ".join(done.stderr.split())
    assert not (installed.folder / "new").exists()


def test_a_name_that_is_taken_is_refused(installed):
    installed.add("acme-acme", {"acme": "acme:JAcme"})
    done = juham(installed, "new-backend", "acme", "--directory", installed.folder / "new")
    assert done.returncode == 2, done
    assert "acme-acme 1.0 provides a backend of that name" in " ".join(done.stderr.split())


def test_a_library_has_to_be_a_requirement(installed):
    done = juham(installed, "new-backend", "mine", "--library", "fast mqtt; rm")
    assert done.returncode == 2, done
    assert "fastmqtt>=2" in done.stderr


def test_nothing_is_overwritten(installed):
    folder = installed.folder / "mine"
    folder.mkdir()
    (folder / "setup.cfg").write_text("precious")
    done = juham(installed, "new-backend", "mine", "--directory", folder)
    assert done.returncode == 1, done
    assert "nothing was written" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["setup.cfg"]
    assert (folder / "setup.cfg").read_text() == "precious"
