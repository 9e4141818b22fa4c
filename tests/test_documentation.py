"""The documentation: what it tells of options, counts, logs, hooks and the environment is what there is."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from documents import DOCS, ROOT, anchors_in, page, programs_in, tables_in

from juham_core import hookspecs, url
from juham_core.broker import EmbeddedBroker
from juham_core.hooks import PREFIX
from juham_core.options import SCHEMES, WILL_PARTS, Options
from juham_core.statistics import Statistics


def spelt(name):
    """A default as a URL would spell it, and the page does."""
    if name in WILL_PARTS:
        return {"will_qos": "0", "will_retain": "false"}.get(name, "")
    value = getattr(Options(), name)
    if name == "protocol":
        return {4: "3.1.1", 5: "5"}[value]
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value or "")


def test_every_option_of_a_url_is_documented_with_its_default():
    documented = {name: default for name, default, _ in tables_in("operating.md")["option"]}
    assert documented == {name: spelt(name) for name in [*url._PARSERS, *url._WILL_PARSERS]}


def test_every_scheme_is_documented_with_its_port():
    documented = {scheme: port for scheme, _, port in tables_in("operating.md")["scheme"]}
    assert documented == {scheme: str(port or "") for scheme, (_, _, port) in SCHEMES.items()}


def test_every_count_of_the_statistics_is_documented():
    documented = [name for name, _ in tables_in("operating.md")["name"]]
    assert documented == [item.name for item in fields(Statistics)]


def sources():
    for folder in ("juham_core", "plugins"):
        yield from (path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py")))


def test_every_logger_is_documented():
    documented = {each for names, _ in tables_in("operating.md")["logger"] for each in names.split(", ")}
    named = {name for text in sources() for name in re.findall(r'getLogger\("(juham\.\w+)"\)', text)}
    assert documented - {"juham.CLASS"} == named


def test_every_environment_variable_is_documented():
    used = {name for text in sources() for name in re.findall(r'"(JUHAM_[A-Z_]+)"', text)}
    assert {name for name, _ in tables_in("operating.md")["variable"]} == used


def test_every_hook_is_documented():
    hooks = {name for name in vars(hookspecs) if name.startswith(PREFIX)}
    members = re.search(r":members: (.*)", page("hooks.md"))[1]
    assert set(members.split(", ")) == hooks


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path):
    targets = re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (DOCS / target).exists()] == []


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_into_pages_name_a_heading_that_is_there(path):
    """By the names that GitHub gives headings, and Sphinx too."""
    links = re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in anchors_in(link[0] or path.name)] == []


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_whoever_installs_the_core_by_its_name_gets_this_one(path):
    """What PyPI has below 1 under this name is another program."""
    commands = re.findall(r"pip install [^`\n]*juham-core[^`\n]*", path.read_text(encoding="utf-8"))
    assert [command for command in commands if ">=1" not in command] == []


def test_the_readme_leads_to_the_pages():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    linked = set(re.findall(r"\]\(docs/(\S+?)\)", text))
    assert linked >= {"tutorial.md", "operating.md", "writing-a-backend.md", "hooks.md"}


@pytest.mark.parametrize("number", range(len(programs_in("tutorial.md"))))
def test_the_tutorial_s_programs_print_what_it_says(number, tmp_path, backend):
    if backend == "memory":
        pytest.skip("the tutorial is about a broker on the network")
    program = programs_in("tutorial.md")[number]
    # What a comment behind a print() says, up to the dots, and what the text says of the first program.
    expected = re.findall(r"print\(.*\)  # ([^:\n]+?)(?::.*| \.\.\.)?$", program, re.MULTILINE)
    expected = expected or ["home/hall/temperature 21.5"]
    with EmbeddedBroker() as broker:
        where = program.replace("mqtt://localhost", f"mqtt://localhost:{broker.port}")
        where = where.replace(f':{broker.port}:1"', ':1"').replace(
            'host="localhost"', f'host="localhost", port={broker.port}'
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JUHAM")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", where],
            env={**kept, "HOME": str(tmp_path), "JUHAM_BACKEND": backend, "PYTHONPATH": str(Path(ROOT))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert len(printed) == len(expected), done.stdout
    for line, beginning in zip(printed, expected, strict=True):
        assert line.startswith(beginning), (line, beginning)
