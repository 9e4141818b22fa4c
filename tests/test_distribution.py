"""The distributions: that the core imported is this repository's, and that their metadata agree."""

import configparser
import importlib.metadata
from pathlib import Path

import juham_core

ROOT = Path(__file__).parents[1]
PLUGINS = sorted((ROOT / "plugins").glob("*/setup.cfg"))


def read(path):
    config = configparser.ConfigParser()
    config.read(path)
    return config


def test_the_core_is_this_repository_s_and_not_the_older_one_of_the_same_name():
    assert Path(juham_core.__file__).is_relative_to(ROOT)
    assert importlib.metadata.version("juham-core") == juham_core.__version__


def test_the_version_is_told_once_for_all():
    versions = {read(path)["metadata"]["version"] for path in [ROOT / "setup.cfg", *PLUGINS]}
    assert versions == {juham_core.__version__}


def test_every_plugin_asks_for_a_core_that_speaks_its_contract():
    assert PLUGINS
    for path in PLUGINS:
        assert "juham-core>=1,<2" in read(path)["options"]["install_requires"], path


def test_every_distribution_can_be_built():
    for path in [ROOT / "setup.cfg", *PLUGINS]:
        lines = (path.parent / "pyproject.toml").read_text().splitlines()
        assert lines[0] == "[build-system]", path
        assert (path.parent / "LICENSE").read_text() == (ROOT / "LICENSE").read_text(), path
