"""Accounts as JSON, one file for each backend, and the tables of docs/reliability.md made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from account import Account
from documents import DOCS

FOLDER = DOCS / "reliability"
PAGE = DOCS / "reliability.md"
FAULTS = {
    "publisher cut": "The publisher's connection is cut",
    "subscriber cut": "The subscriber's connection is cut",
    "broker stopped": "The embedded broker is stopped and started",
    "broker terminated": "Mosquitto is terminated (SIGTERM) and started",
    "broker killed": "Mosquitto is killed (SIGKILL) and started",
    "slow consumer": "The subscriber's handler is slow",
}
COLUMNS = {
    "sent": "sent",
    "acknowledged": "acknowledged",
    "received": "received",
    "lost": "lost",
    "forgotten": "of these forgotten by the broker",
    "duplicated": "duplicated",
    "repeated": "of these repeated by the broker",
    "faults": "cuts or restarts",
    "inside": "of these inside a packet",
    "reconnects": "reconnects",
    "seconds": "seconds",
}


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
    for fault, title in FAULTS.items():
        lines += [f"### {title}", "", _row(["backend", "QoS", *COLUMNS.values()])]
        lines.append(_row(["---", *["---:"] * (len(COLUMNS) + 1)]))
        for each in accounts:
            if each.fault == fault:
                numbers = [f"{getattr(each, name):,}" for name in COLUMNS]
                lines.append(_row([f"`{each.backend}`", str(each.qos), *numbers]))
        lines.append("")
    return lines[:-1]


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
