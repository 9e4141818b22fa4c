"""``juham broker``: the embedded broker in the foreground."""

from __future__ import annotations

import signal
from queue import SimpleQueue

import click

from juham_core.broker import EmbeddedBroker


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=1883, show_default=True, help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME:PASSWORD",
    help="Let in only this user, and others given likewise. Everybody on this machine can read it.",
)
def broker(port: int, host: str, users: tuple[str, ...]) -> None:
    """Run the embedded broker until Ctrl-C.

    It speaks MQTT 3.1.1 and 5, keeps everything in memory, and is for development and tests; in production
    run Mosquitto, EMQX, RabbitMQ or a cloud's broker.
    """
    passwords = dict(_user(user) for user in users)
    # No Event: the handler runs on the thread that waits, which may be holding the event's own lock.
    stopped: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.put(None))
    with EmbeddedBroker(host, port, users=passwords or None) as running:
        click.echo(f"Broker at {running.url}, for development and tests, not for production.")
        click.echo("Ctrl-C stops it.")
        stopped.get()
    click.echo("Stopped.")


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not colon or not name:
        raise click.BadParameter("it is NAME:PASSWORD", param_hint="--user")
    return name, password
