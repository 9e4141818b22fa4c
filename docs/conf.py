"""Sphinx: the pages are Markdown; what can be generated from the code is, so that it cannot go stale."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import juham_core
from juham_core.cli.matrix import _lines
from juham_core.testing import catalogue
from juham_core.testing.asyncio_cases import AGAINST, reason_against
from juham_core.testing.definition import LEVELS

project = "Juham"
author = "The Juham authors"
project_copyright = f"2026 {author}"
version = release = juham_core.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "MQTT through any client library", "fixed_sidebar": True}
exclude_patterns = ["generated/*"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# MQTT's and Python's words for things that have no page here.
nitpicky = False

GENERATED = Path(__file__).with_name("generated")


def cases() -> Iterator[str]:
    """Every case of the conformance kit, by level."""
    found = catalogue()
    for level in LEVELS:
        of_level = [case for case in found if case.level == level]
        if of_level:
            yield f"## {level}\n"
            for case in of_level:
                needs = f" (needs {', '.join(case.needs)})" if case.needs else ""
                yield f"`{case.id}`{needs}\n: {' '.join(case.rule.split())}\n"


def errors() -> Iterator[str]:
    """Every error, with the class it derives from."""
    for name in dir(juham_core):
        cls = getattr(juham_core, name)
        if isinstance(cls, type) and issubclass(cls, juham_core.JuhamError):
            rule = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
            yield f"`{name}` ({', '.join(base.__name__ for base in cls.__bases__)})\n: {rule}\n"


def capabilities() -> Iterator[str]:
    """Every capability and what it means."""
    for item in fields(juham_core.Capabilities):
        yield f"- `{item.name}`: {item.metadata['meaning']}"


def matrix() -> Iterator[str]:
    """Which installed backend can do what."""
    yield from _lines(Path(__file__).with_name("conformance"))


def asyncio_cases() -> Iterator[str]:
    """How many cases are tried through asyncio, and why the others are not."""
    found = catalogue()
    tried = sum(not reason_against(case) for case in found)
    yield f"{tried} of the kit's {len(found)} cases are tried so. The others ask about what is not there:\n"
    yield "| why not | cases |"
    yield "| --- | --- |"
    for why, against in AGAINST.items():
        yield f"| {why} | {', '.join(f'`{each}`' for each in against.split())} |"


def mutants() -> Iterator[str]:
    """What breaks which rule, and is caught by the case named for it: tests/kit sees to that."""
    yield "| the case that catches it | a backend that |"
    yield "| --- | --- |"
    found = []
    for module in sorted((Path(__file__).parents[1] / "tests/kit").glob("mutants_*.py")):
        nodes = ast.walk(ast.parse(module.read_text("utf-8")))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        entered = [call.args for call in calls if getattr(call.func, "id", "") == "mutant"]
        found += [tuple(ast.literal_eval(argument) for argument in arguments) for arguments in entered]
    for case_id, does in sorted(found):
        yield f"| `{case_id}` | {does} |"
    yield f"\n{len(found)} in all."


def times() -> Iterator[str]:
    """How many seconds the cases of each backend took, one after the other, in the reports."""
    yield "| backend | face | cases | passed | seconds, added up |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for path in sorted(Path(__file__).with_name("conformance").glob("*.json")):
        for one in json.loads(path.read_text(encoding="utf-8"))["backends"]:
            face, counts = one.get("face") or "threads", one["counts"]
            tried, seconds = sum(counts.values()), one["seconds"]
            yield f"| {one['backend']} | {face} | {tried} | {counts['passed']} | {seconds:.0f} |"


def lines() -> Iterator[str]:
    """How long each distribution with backends is, in lines that are neither empty, comment nor docstring."""
    yield "| package | modules | lines of code | of these, modules with a backend's class |"
    yield "| --- | ---: | ---: | --- |"
    root = Path(__file__).parents[1]
    for package in [root / "tests/kit/toy.py", *sorted(root.glob("plugins/juham-*/juham_*/"))]:
        modules = sorted(package.glob("*.py")) if package.is_dir() else [package]
        if modules:
            sources = {module.name: module.read_text(encoding="utf-8") for module in modules}
            counted = {name: _lines_of_code(source) for name, source in sources.items()}
            classes = [f"{counted[name]} in `{name}`" for name in sources if _has_backend(sources[name])]
            name = f"`{package.name}`" if package.is_dir() else "the kit's correct toy"
            yield f"| {name} | {len(modules)} | {sum(counted.values()):,} | {', '.join(classes)} |"


def _has_backend(source: str) -> bool:
    """True if a class derives from JMqtt."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return any(getattr(base, "id", "") == "JMqtt" for each in classes for base in each.bases)


def _lines_of_code(source: str) -> int:
    """Lines on which something stands that the compiler makes code of."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in (*silent, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - docstrings)


GENERATED.mkdir(exist_ok=True)
for _write in (cases, asyncio_cases, errors, capabilities, matrix, mutants, times, lines):
    (GENERATED / f"{_write.__name__}.md").write_text("\n".join(_write()) + "\n", encoding="utf-8")
