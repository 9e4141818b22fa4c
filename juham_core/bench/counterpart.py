"""The process at the other end of the broker: it counts, sends and echoes as it is told, see ``lean``."""

from __future__ import annotations

import contextlib
from typing import IO, Any, Final

from juham_core.bench.lean import LeanClient
from juham_core.bench.pipes import orders, own_output, say
from juham_core.options import Options
from juham_core.url import parse_url

PAUSE: Final = 0.002
"""Seconds between two looks where only the number counts: what comes meanwhile fits into buffers."""


def main() -> None:
    """Take orders until there are no more."""
    output = own_output()
    try:
        taken = orders()
        first = next(taken)
        options = Options(**parse_url(first["url"])[1])
        client = LeanClient(options, first["client_id"])
        with contextlib.closing(client):
            if first["listen"]:
                client.subscribe(first["listen"], first["qos"])
            say(output, ready=True)
            for order in taken:
                obey(client, order, output)
    except Exception as exc:  # noqa: BLE001  # told to the process that gave the order
        say(output, error=f"{type(exc).__name__}: {exc}")


def obey(client: LeanClient, order: dict[str, Any], output: IO[str]) -> None:
    """Do what is ordered, and say how it went."""
    messages, payload = order["messages"], b"x" * order["size"]
    client.drain()
    if order["do"] == "count":
        say(output, ready=True)
        # A publish of QoS 1 or 2 is over when it is acknowledged; when it has come here does not matter.
        count, last = client.count(messages, order["patience"], PAUSE if order["qos"] else 0.0)
        say(output, count=count, last=last)
    elif order["do"] == "echo":
        say(output, ready=True)
        say(output, count=client.echo(order["topics"][0], payload, messages, order["qos"], order["patience"]))
    else:
        say(output, started=client.blast(order["topics"], payload, messages, order["qos"]))


if __name__ == "__main__":
    main()
