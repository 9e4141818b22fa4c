"""The wheels as a stranger installs them: built, put into a clean virtual environment, and used."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from documents import files_in

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/setup.cfg"))]
NO_SOURCE = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "docs", "plugins", "tests")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    for distribution in DISTRIBUTIONS:
        # A build writes beside the sources, of which other tests import the distributions.
        sources = shutil.copytree(distribution, folder / "sources" / distribution.name, ignore=NO_SOURCE)
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, sources]
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
        ["juham_native", "1.0.0"],
        ["juham_paho", "1.0.0"],
    ]


def test_the_core_that_is_installed_is_ours(installed, tmp_path):
    script = "import juham_core, importlib.metadata as m; print(juham_core.__file__, m.version('juham-core'))"
    file, version = run([installed / "python", "-c", script], tmp_path).split()
    assert version == "1.0.0"
    assert Path(file).is_relative_to(installed.parent)


def test_every_package_is_typed_and_licensed(installed):
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    for package in ("juham_core", "juham_paho", "juham_gmqtt", "juham_awscrt", "juham_native"):
        assert (site / package / "py.typed").is_file()
        assert list(site.glob(f"{package}-1.0.0.dist-info/**/LICENSE")), package


def test_the_backends_are_found_by_name(installed, tmp_path):
    listed = json.loads(run([installed / "juham", "backends", "--json"], tmp_path))
    assert {backend["name"]: backend["distribution"] for backend in listed} == {
        "awscrt": "juham-awscrt",
        "gmqtt": "juham-gmqtt",
        "memory": "juham-core",
        "native": "juham-native",
        "paho": "juham-paho",
        "paho2": "juham-paho",
    }


def test_the_demo_loses_nothing_on_any_backend(installed, tmp_path):
    table = run([installed / "juham", "demo"], tmp_path)
    for backend in ("awscrt", "gmqtt", "memory", "native", "paho", "paho2"):
        assert backend in table


@pytest.fixture
def tiny(installed, tmp_path):
    """The tutorial's backend: generated, filled in, built and installed into the clean environment."""
    folder = tmp_path / "juham-tiny"
    run([installed / "juham", "new-backend", "tiny", "--directory", folder], tmp_path)
    for path, text in files_in("writing-a-backend.md").items():
        (folder / path).write_text(text)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, folder]
    subprocess.run(build, check=True, capture_output=True, text=True)
    [wheel] = tmp_path.glob("juham_tiny-*.whl")
    subprocess.run([installed / "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    yield "tiny"
    subprocess.run([installed / "pip", "uninstall", "--quiet", "--yes", "juham-tiny"], check=True)


def test_a_generated_backend_is_selected_by_name_and_keeps_the_contract(installed, tiny, tmp_path):
    listed = json.loads(run([installed / "juham", "backends", "--json"], tmp_path))
    assert {backend["name"]: backend["distribution"] for backend in listed}[tiny] == "juham-tiny"
    summary = run([installed / "juham", "conformance", tiny], tmp_path)
    assert "Failed" not in summary
    report = json.loads((tmp_path / "juham-conformance-tiny.json").read_text())["backends"][0]
    assert report["passed"]
    assert report["counts"]["passed"] > 100
