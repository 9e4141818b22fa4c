"""Which backend for what, read off the results: the rule is here, the backends come from the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from juham_core.bench import figures, tables

_QUESTIONS: Final = (
    ("publish", "publishing at QoS {qos}, by CPU", figures.cpu),
    ("receive", "receiving at QoS {qos}, by CPU", figures.cpu),
    ("roundtrip", "round trips at QoS {qos}, by p50", lambda one, _messages: figures.trips(one, "p50")),
)
_OURS: Final = ("thread", "inline")


def choices(document: dict[str, Any]) -> Iterator[str]:
    """A line of Markdown for each question that the results answer, best first, as ratios to the best."""
    for scenario, question, cost in _QUESTIONS:
        for case in document["cases"]:
            faces = {one["face"] for one in case["contenders"]}
            if case["scenario"] == scenario and faces & set(_OURS):
                ranked = _ranked(case, cost)
                if len(ranked) > 1:
                    best = ranked[0][1]
                    listed = ", ".join(f'"{name}" {value / best:.2f}' for name, value in ranked)
                    yield f"- {question.format(qos=case['qos'])} ({tables.work(case)}): {listed}"


def _ranked(
    case: dict[str, Any], cost: Callable[[dict[str, Any], int], list[float]]
) -> list[tuple[str, float]]:
    """The backends that reach a broker and lost nothing, by their better face."""
    best: dict[str, float] = {}
    for one in case["contenders"]:
        if one["face"] in _OURS and one["rounds"] and not one["local"] and not figures.lost(one):
            value = figures.figure(cost(one, case["messages"])).median
            best[one["backend"]] = min(value, best.get(one["backend"], value))
    return sorted(best.items(), key=lambda item: item[1])
