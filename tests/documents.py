"""What the tests of the documentation share: its pages, and the code that stands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_CAPTIONED = re.compile(r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLAIN = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name):
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def anchors_in(name):
    """What links to the headings of a page end with."""
    titles = re.findall(r"^#+ (.*)$", page(name), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def files_in(name):
    """The files that a page gives in full: path -> text."""
    return dict(_CAPTIONED.findall(page(name)))


def programs_in(name):
    """The Python programs on a page."""
    return _PLAIN.findall(page(name))


def tables_in(name):
    """The tables of a page by the title of their first column; each row a list of cells without backticks."""
    tables = {}
    rows = None
    for line in page(name).splitlines():
        if not line.startswith("|"):
            rows = None
            continue
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if rows is None:
            rows = tables.setdefault(cells[0], [])
        elif not set(cells[0]) <= {"-", ":", " "} or not cells[0]:
            rows.append(cells)
    return tables
