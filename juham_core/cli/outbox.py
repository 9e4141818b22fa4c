"""``juham outbox``: what is in an outbox, for whoever wonders why it does not get empty."""

from __future__ import annotations

import time

import click

from juham_core.outbox.file import look_into, payloads


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "--topics",
    type=click.IntRange(0),
    default=20,
    metavar="N",
    show_default=True,
    help="Show the N topics with most messages.",
)
@click.option(
    "--payloads",
    "shown",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Show the N oldest messages with their payloads.",
)
def outbox(path: str, topics: int, shown: int) -> int:
    """Show what is in the outbox at PATH, in use or not, without changing it.

    The exit code is 1 if it is damaged.
    """
    summary = look_into(path, topics)
    click.echo(f"{summary.messages:,} messages of {summary.size:,} bytes")
    if summary.oldest is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.oldest))
        click.echo(f"the oldest since {since}, {max(0, time.time() - summary.oldest):,.0f} s ago")
    for topic, count in summary.topics.items():
        click.echo(f"{count:>10,}  {topic}")
    for number, topic, qos, payload in payloads(path, shown) if shown else ():
        click.echo(f"#{number} {topic} QoS {qos}: {payload!r}")
    if summary.damaged:
        click.echo(f"{summary.damaged:,} damaged messages are kept beside these, and not sent")
    if summary.damage is not None:
        click.echo(f"{path} is damaged, or no outbox; this is all that can be read of it: {summary.damage}")
    return 1 if summary.damage is not None or summary.damaged else 0
