"""Bars as SVG: for each case a panel, for each contender its speed, the range, and the CPU it took."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from juham_core.bench import figures, tables

WIDTH: Final = 860
_LABEL: Final = 170
_BAR: Final = 400
_ROW: Final = 20
_HEAD: Final = 54
COLOURS: Final = {
    "raw": "#9aa5b1",
    "thread": "#2f6fb3",
    "inline": "#1f9e89",
    "hooks": "#b5651d",
    "outbox": "#8b5fbf",
    "outbox-full": "#5b3b8c",
    "aio": "#d1495b",
}
"""One for each face."""


def svg(cases: list[dict[str, Any]]) -> str:
    """A picture of the cases, one below the other."""
    panels: list[str] = []
    top = 0
    for case in cases:
        shown = [one for one in case["contenders"] if one["rounds"]]
        if shown:
            panels += _panel(case, shown, top)
            top += _HEAD + _ROW * len(shown) + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(case: dict[str, Any], shown: list[dict[str, Any]], top: int) -> Iterator[str]:
    trips = case["scenario"] == "roundtrip"
    unit = "p50 in us, shorter is better" if trips else "thousand messages a second, longer is better"
    values = [_values(case, one) for one in shown]
    most = max(value.most for value in values) or 1.0
    yield _text(12, top + 22, tables.title(case), 'font-weight="600" font-size="14"')
    yield _text(_LABEL, top + 42, unit, 'fill="#5b6770"')
    yield _text(WIDTH - 12, top + 42, "CPU s per 100,000", 'fill="#5b6770" text-anchor="end"')
    for number, (one, value) in enumerate(zip(shown, values, strict=True)):
        y = top + _HEAD + _ROW * number
        colour = COLOURS.get(one["face"], "#2f6fb3")
        yield _text(_LABEL - 8, y + 13, one["label"], 'text-anchor="end"')
        yield (
            f'<rect x="{_LABEL}" y="{y + 2}" width="{value.median / most * _BAR:.1f}" '
            f'height="{_ROW - 6}" rx="2" fill="{colour}"/>'
        )
        low, high = (_LABEL + edge / most * _BAR for edge in (value.least, value.most))
        middle = y + _ROW / 2 - 1
        yield (
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
            'stroke="#22303c" fill="none"/>'
        )
        yield _text(high + 8, y + 13, f"{value.median:.0f}" if trips else f"{value.median:.1f}")
        cpu = figures.figure(figures.cpu(one, case["messages"])).median
        lost = figures.lost(one)
        told = f"{cpu:.2f}" + (f", {lost:,} lost" if lost else "")
        yield _text(WIDTH - 12, y + 13, told, 'text-anchor="end"')


def _values(case: dict[str, Any], one: dict[str, Any]) -> figures.Figure:
    if case["scenario"] == "roundtrip":
        return figures.figure(figures.trips(one, "p50"))
    return figures.figure([rate / 1e3 for rate in figures.rates(one, case["messages"])])


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(text)}</text>'
