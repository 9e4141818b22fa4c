"""The wheels as a stranger installs them: built, put into a clean virtual environment, and used."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/setup.cfg"))]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for distribution in DISTRIBUTIONS:
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, distribution]
        subprocess.run(build, check=True, capture_output=True, text=True)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """The folder of the commands of a clean environment that has the wheels, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    commands = folder / "bin"
    subprocess.run([commands / "pip", "install", "--quiet", *wheels], check=True)
    return commands


def run(command, home, **environment):
    done = subprocess.run(
        command,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_there_is_a_wheel_of_each_distribution(wheels):
    assert [wheel.name.split("-")[:2] for wheel in wheels] == [
        ["juham_awscrt", "1.0.0"],
        ["juham_core", "1.0.0"],
        ["juham_gmqtt", "1.0.0"],
        ["juham_paho", "1.0.0"],
    ]


def test_the_core_that_is_installed_is_ours(installed, tmp_path):
    script = "import juham_core, importlib.metadata as m; print(juham_core.__file__, m.version('juham-core'))"
    file, version = run([installed / "python", "-c", script], tmp_path).split()
    assert version == "1.0.0"
    assert Path(file).is_relative_to(installed.parent)


def test_every_package_is_typed_and_licensed(installed):
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    for package in ("juham_core", "juham_paho", "juham_gmqtt", "juham_awscrt"):
        assert (site / package / "py.typed").is_file()
        assert list(site.glob(f"{package}-1.0.0.dist-info/**/LICENSE")), package


def test_the_backends_are_found_by_name(installed, tmp_path):
    listed = json.loads(run([installed / "juham", "backends", "--json"], tmp_path))
    assert {backend["name"]: backend["distribution"] for backend in listed} == {
        "awscrt": "juham-awscrt",
        "gmqtt": "juham-gmqtt",
        "memory": "juham-core",
        "paho": "juham-paho",
        "paho2": "juham-paho",
    }


def test_the_demo_loses_nothing_on_any_backend(installed, tmp_path):
    table = run([installed / "juham", "demo"], tmp_path)
    for backend in ("awscrt", "gmqtt", "memory", "paho", "paho2"):
        assert backend in table
