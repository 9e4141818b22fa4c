"""Accounts as JSON, one file for each backend, and the tables of docs/reliability.md made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from account import Account
from documents import DOCS

FOLDER = DOCS / "reliability"
PAGE = DOCS / "reliability.md"
TITLES = {
    "sent": "sent",
    "acknowledged": "acknowledged",
    "received": "received",
    "lost": "lost",
    "forgotten": "forgotten by the broker",
    "duplicated": "duplicated",
    "repeated": "repeated by the broker",
    "cuts": "cuts",
    "restarts": "restarts",
    "disordered": "out of order",
    "inside": "inside a packet",
    "waiting": "most waiting",
    "reconnects": "reconnects",
    "seconds": "seconds",
}
_CUT = ["sent", "acknowledged", "received", "lost", "duplicated", "cuts", "inside", "reconnects", "seconds"]
_ENDED = [
    *("sent", "acknowledged", "received", "lost", "forgotten", "duplicated", "repeated", "restarts"),
    *("reconnects", "seconds"),
]
_SLOW = ["sent", "received", "lost", "duplicated", "waiting", "reconnects", "seconds"]
FAULTS = {
    "publisher cut": ("The publisher's connection is cut", _CUT),
    "subscriber cut": ("The subscriber's connection is cut", _CUT),
    "broker stopped": ("The embedded broker is stopped and started", _ENDED),
    "broker terminated": ("Mosquitto is terminated (SIGTERM) and started", _ENDED),
    "broker killed": ("Mosquitto is killed (SIGKILL) and started", _ENDED),
    "slow consumer": ("The subscriber's handler is slow", _SLOW),
}
"""Each fault: the title of its table, and the columns."""
_SPELT = {"cuts": "faults", "restarts": "faults"}


def enter(accounts: Iterable[Account]) -> None:
    """Write accounts into the files of their backends, in the place of older ones, and the page anew."""
    FOLDER.mkdir(exist_ok=True)
    found: dict[str, list[Account]] = {}
    for account in accounts:
        found.setdefault(account.backend, []).append(account)
    for backend, new in found.items():
        replaced = {(each.fault, each.qos) for each in new}
        kept = [each for each in _read(backend) if (each.fault, each.qos) not in replaced]
        text = json.dumps([asdict(each) for each in sorted(kept + new, key=_place)], indent=1)
        (FOLDER / f"{backend}.json").write_text(text + "\n", encoding="utf-8")
    write("faults", fault_lines())


def fault_lines() -> list[str]:
    """The tables of all faults, from the files."""
    backends = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "cluster")
    accounts = [account for backend in backends for account in _read(backend)]
    lines: list[str] = []
    for fault, (title, columns) in FAULTS.items():
        lines += [f"### {title}", "", _row(["backend", "QoS", *(TITLES[name] for name in columns)])]
        lines.append(_row(["---", *["---:"] * (len(columns) + 1)]))
        for each in accounts:
            if each.fault == fault:
                numbers = [f"{getattr(each, _SPELT.get(name, name)):,}" for name in columns]
                lines.append(_row([f"`{each.backend}`", str(each.qos), *numbers]))
        lines.append("")
    return lines[:-1]


def enter_cluster(accounts: list[Account]) -> None:
    """Write the accounts of a cluster's clients down, those of a backend together, and the page anew."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps([asdict(each) for each in accounts], indent=1)
    (FOLDER / "cluster.json").write_text(text + "\n", encoding="utf-8")
    write("cluster", cluster_lines())


def cluster_lines() -> list[str]:
    """The table of the cluster, from its file."""
    columns = ["sent", "acknowledged", "received", "lost", "duplicated", "disordered", "reconnects"]
    lines = [
        _row(["backend", *(TITLES[name] for name in columns)]),
        _row(["---", *["---:"] * len(columns)]),
    ]
    lines += [
        _row([f"`{each.backend}`", *(f"{getattr(each, name):,}" for name in columns)])
        for each in _read("cluster")
    ]
    return lines


def write(name: str, lines: list[str]) -> None:
    """Put lines into the page, between the markers of this name."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"<!-- {name} -->\n")
    _, marker, after = rest.partition(f"<!-- /{name} -->")
    assert marker, f"{PAGE} has no place for {name}"
    body = "\n".join(lines)
    PAGE.write_text(f"{before}<!-- {name} -->\n{body}\n{marker}{after}", encoding="utf-8")


def written(name: str) -> list[str]:
    """What stands there."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0].split("\n")


def _read(backend: str) -> list[Account]:
    path = FOLDER / f"{backend}.json"
    return [Account(**each) for each in json.loads(path.read_text())] if path.exists() else []


def _place(account: Account) -> tuple[int, int]:
    return list(FAULTS).index(account.fault), account.qos


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
