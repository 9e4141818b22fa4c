"""What is made of the results for people: Markdown between markers, a picture, and a page by itself."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from juham_core.bench import checks, choice, plot, tables
from juham_core.errors import ConfigError

RESULTS: Final = "results.json"
PICTURE: Final = "results.svg"
PAGE: Final = "results.html"
BEGIN: Final = "<!-- bench -->"
END: Final = "<!-- /bench -->"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #d5dbe1; --dim: #5b6770; --paper: #fff; --ink: #16202a }
@media (prefers-color-scheme: dark) {
  :root { --line: #33404d; --dim: #93a1ad; --paper: #11181f; --ink: #e6ebf0 }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem;
       background: var(--paper); color: var(--ink) }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.05rem; margin: 2.2rem 0 .4rem }
p, li { color: var(--dim) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left } th { font-weight: 600; color: var(--dim) }
tr.raw td { color: var(--dim) }
svg { max-width: 100%; height: auto; margin-top: 1rem; border-radius: 6px }
"""


def markdown(document: dict[str, Any]) -> str:
    """Choices, tables, checks and where they were measured."""
    return "\n".join(_markdown(document))


def _markdown(document: dict[str, Any]) -> Iterator[str]:
    chosen = list(choice.choices(document))
    if chosen:
        yield "## Which backend for what"
        yield ""
        yield "The cost of each as a multiple of the cheapest, by its better way of calling handlers:"
        yield ""
        yield from chosen
        yield ""
    for case in document["cases"]:
        yield f"## {tables.title(case)}"
        yield ""
        columns = tables.header(case)
        yield _row(columns)
        yield _row(["---", *["---:"] * (len(columns) - 1)])
        yield from (_row(cells) for cells in tables.rows(case))
        yield ""
    for title, found in document.get("checks", {}).items():
        yield f"## {title}"
        yield ""
        yield _row(checks.COLUMNS)
        yield _row(("---", "---:", "---:", "---"))
        yield from (_row(cells) for cells in checks.rows(found))
        yield ""
    yield facts(document)


def facts(document: dict[str, Any]) -> str:
    """When and where, in a sentence."""
    session = document["session"]
    libraries = sorted(
        {
            f"{one['library']} {one['version']}"
            for case in document["cases"]
            for one in case["contenders"]
            if one.get("version")
        }
    )
    return (
        f"Measured {session['date'][:10]} with {session['python']} on {session['system']}, "
        f"{session['cores']} cores; {', '.join(libraries)}."
    )


def html(document: dict[str, Any]) -> str:
    """A page that needs nothing else."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>juham bench</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>juham bench</h1>\n<p>{escape(facts(document))}</p>",
    ]
    chosen = [line.removeprefix("- ") for line in choice.choices(document)]
    if chosen:
        parts.append("<h2>Which backend for what, as multiples of the cheapest</h2>\n<ul>")
        parts += [f"<li>{escape(line)}</li>" for line in chosen]
        parts.append("</ul>")
    for case in document["cases"]:
        parts.append(f"<h2>{escape(tables.title(case))}</h2>\n<table>")
        parts.append(f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in tables.header(case))}</tr>")
        for cells in tables.rows(case):
            kind = ' class="raw"' if " raw" in cells[0] else ""
            parts.append(f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
        parts.append("</table>")
        parts.append(plot.svg([case]))
    for title, found in document.get("checks", {}).items():
        parts.append(f"<h2>{escape(title)}</h2>\n<table>")
        for row in (checks.COLUMNS, *checks.rows(found)):
            parts.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
        parts.append("</table>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def outputs(document: dict[str, Any], folder: Path) -> dict[Path, str]:
    """The files that follow from the results, and what is to be in them: FOLDER.md is one."""
    page = folder.with_suffix(".md")
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{page} has no place for the results: write {BEGIN} and below it {END} there")
    return {
        page: f"{before}{BEGIN}\n{markdown(document)}\n{END}{after}",
        folder / PICTURE: plot.svg(document["cases"]),
        folder / PAGE: html(document),
    }


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
