"""A session: several contenders take turns at the same work, round by round, in processes of their own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from juham_core.bench.faces import only_in_process
from juham_core.bench.facts import Unsuitable
from juham_core.bench.figures import percentile
from juham_core.bench.pipes import BenchError, Worker

CHILD: Final = "juham_core.bench.child"
COUNTERPART: Final = "juham_core.bench.counterpart"
FREE: Final = "juham_core.bench.free"
SCENARIOS: Final = {
    "publish": "the client publishes, somebody else counts",
    "receive": "somebody else publishes, the client's handler counts",
    "roundtrip": "the client publishes from its handler as soon as the answer to the last message has come",
    "fanout": "as receive, with a subscription and a handler for each of many filters with wildcards",
}
"""What is measured."""


@dataclass(frozen=True)
class Contender:
    """One way to use one backend."""

    backend: str
    face: str = "thread"
    """``raw``: the library without Juham; ``thread``, ``inline``: how JMqtt calls handlers; ``hooks``,
    ``outbox``, ``outbox-full`` (written with ``outbox_sync=full``): ``thread`` with these; ``aio``: the
    asyncio face."""
    uvloop: bool = False
    names: tuple[str, ...] = ()
    """The backends that are over the same library: for ``raw``."""

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return " ".join([self.backend, self.face, *(["uvloop"] if self.uvloop else [])])


@dataclass(frozen=True)
class Case:
    """What all contenders are to do."""

    scenario: str
    messages: int
    qos: int = 0
    size: int = 100
    """Bytes of payload."""
    subscriptions: int = 1
    window: int = 20
    """Publishes of QoS 1 and 2 that may be unacknowledged."""


@dataclass(frozen=True)
class Place:
    """The broker: its URL (empty for the broker that costs nothing), and what it is called."""

    url: str
    label: str


class Pair:
    """A contender at work: its process, and the one at the other end of the broker."""

    def __init__(self, contender: Contender, case: Case, place: Place, stack: ExitStack) -> None:
        self.contender = contender
        self._case = case
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="juham-bench-")))
        token = f"bench/{secrets.token_hex(4)}"
        self._topic, self._pong = f"{token}/ping", f"{token}/pong"
        filters: list[str] = []
        self._topics = [self._topic]
        if case.scenario == "receive":
            filters = [self._topic]
        elif case.scenario == "fanout":
            filters = [f"{self._topic}/{number:05}/+/#" for number in range(case.subscriptions)]
            self._topics = [f"{self._topic}/{number:05}/room/value" for number in range(case.subscriptions)]
        elif case.scenario == "roundtrip":
            self._topics = [self._pong]
        local = self.local = contender.face != "raw" and only_in_process(contender.backend)
        self._other = None if local else self._start_other(place, stack)
        url = f"memory://{token.replace('/', '-')}"
        if self._other is not None:
            url = self._other.answer().get("url") or place.url
        self._child = Worker(
            CHILD,
            url=url,
            local=local,
            scenario=case.scenario,
            client_id=token.replace("/", "-"),
            backend=contender.backend,
            face=contender.face,
            uvloop=contender.uvloop,
            topic=self._topic,
            pong_topic=self._pong,
            filters=filters,
            qos=case.qos,
            size=case.size,
            window=case.window,
            outbox=str(folder / "outbox"),
        )
        stack.callback(self._child.close)
        self.facts = self._child.answer()

    def _start_other(self, place: Place, stack: ExitStack) -> Worker:
        listens = {"publish": (self._topic, 0), "roundtrip": (self._topic, self._case.qos)}
        listen, qos = listens.get(self._case.scenario, ("", 0))
        if place.url:
            client_id = f"bench-{secrets.token_hex(4)}"
            worker = Worker(COUNTERPART, url=place.url, listen=listen, qos=qos, client_id=client_id)
        else:
            worker = Worker(FREE)
        stack.callback(worker.close)
        return worker

    def round(self, messages: int, patience: float) -> dict[str, Any]:
        """Do the work once."""
        case = self._case
        order = {"messages": messages, "qos": case.qos, "patience": patience, "topics": self._topics}
        other = {**order, "size": case.size}
        if case.scenario == "publish":
            mine, theirs = self._publish(order, other)
            usage = self._child.ask(do="usage")
            # At QoS 0 a publish is over when it has arrived; else when it is acknowledged.
            ended = mine["returned"] if case.qos else max(theirs["last"], mine["returned"])
            return {
                "seconds": ended - mine["started"],
                "lost": messages - min(theirs["count"], mine["count"] if case.qos else messages),
                "handed_over": mine["returned"] - mine["started"],
                **usage,
            }
        if case.scenario == "roundtrip":
            return self._trips(order, other)
        if self._other is None:
            mine = self._child.ask(do="receive", **order)
            started = mine["started"]
        else:
            self._child.ask(do="receive", **order)
            started = self._other.ask(do="blast", **other)["started"]
            mine = self._child.answer()
        return {
            "seconds": mine["last"] - started,
            "lost": messages - mine["count"],
            **self._child.ask(do="usage"),
        }

    def _publish(self, order: dict[str, Any], other: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._other is None:
            mine = self._child.ask(do="publish", **order)
            return mine, mine["theirs"]
        self._other.ask(do="count", **other)
        mine = self._child.ask(do="publish", **order)
        return mine, self._other.answer()

    def _trips(self, order: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        if self._other is not None:
            self._other.ask(do="echo", **other)
        mine = self._child.ask(do="ping_pong", **order)
        if self._other is not None:
            self._other.answer()
        seconds = mine["seconds"]
        if not seconds:
            raise BenchError(f"{self.contender.label}: no answer came back")
        return {
            "seconds": mine["returned"] - mine["started"],
            "lost": order["messages"] - len(seconds),
            **{f"p{percent}": percentile(seconds, percent) for percent in (50, 90, 99)},
            **self._child.ask(do="usage"),
        }


def run(
    case: Case,
    contenders: list[Contender],
    place: Place,
    *,
    rounds: int,
    patience: float = 5.0,
    progress: Callable[[str], None] = lambda _label: None,
) -> dict[str, Any]:
    """Measure a case: a round to warm up and so many more, the contenders in turn, each time another first.

    ``progress`` is told the label of each contender whose turn is over. A contender that fails has its
    reason under ``error``, one that lacks what the case needs under ``unsuitable``.
    """
    result: dict[str, Any] = {**vars(case), "broker": place.label, "contenders": []}
    with ExitStack() as stack:
        pairs: list[tuple[Pair, dict[str, Any]]] = []
        for contender in contenders:
            entry: dict[str, Any] = {**vars(contender), "label": contender.label, "rounds": []}
            result["contenders"].append(entry)
            try:
                pair = Pair(contender, case, place, stack)
                pair.round(max(1, case.messages // 4), patience)
            except Unsuitable as exc:
                entry["unsuitable"] = str(exc)
                continue
            except BenchError as exc:
                entry["error"] = str(exc)
                continue
            finally:
                progress(contender.label)
            entry.update(pair.facts, local=pair.local)
            pairs.append((pair, entry))
        for number in range(rounds):
            for pair, entry in _rotated(pairs, number):
                if "error" not in entry:
                    try:
                        entry["rounds"].append(pair.round(case.messages, patience))
                    except BenchError as exc:
                        entry["error"] = str(exc)
                progress(pair.contender.label)
    return result


def _rotated(
    pairs: list[tuple[Pair, dict[str, Any]]], number: int
) -> Iterator[tuple[Pair, dict[str, Any]]]:
    for position in range(len(pairs)):
        yield pairs[(position + number) % len(pairs)]
