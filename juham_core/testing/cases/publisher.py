"""A publisher with an outbox in a process of its own, so that a case may kill it: what a crash is.

It tells each message that was accepted, and each whose receipt is done, on its standard output at once.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from juham_core.jmqtt import JMqtt
from juham_core.testing.patience import patience
from juham_core.testing.waiting import eventually

_BACKLOG = 300
"""Messages in the outbox past which the publisher waits: a case is to see them all arrive."""


class Told:
    """What a publisher had told when it ended: numbers of messages."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.done: set[int] = set()

    def add(self, line: str) -> None:
        """Take a line of its output in; one that was cut off says nothing."""
        what, _, number = line.partition(" ")
        if what == "accepted" and number.endswith("\n"):
            self.accepted.append(int(number))
        elif what == "done" and number.endswith("\n"):
            self.done.add(int(number))


def start_process(module: str, client: JMqtt, *arguments: Any) -> subprocess.Popen[str]:
    """Have ``main()`` of a module run in another process; see :func:`client_and_arguments`."""
    from juham_core.testing.kit import Kit  # noqa: PLC0415  # the other process starts sooner without

    own = Kit.seen_by_hooks(client)
    cls = type(own)
    process = subprocess.Popen(  # noqa: S603  # a module of the kit, by this interpreter
        [sys.executable, "-c", f"import {module} as module; module.main()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    what = [cls.__module__, cls.__qualname__, own is not client, client.options.to_dict(), *arguments]
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()
    return process


def client_and_arguments() -> tuple[JMqtt, list[Any]]:
    """In the other process: a client of the same class and options, not connected, and the arguments.

    Where the case has its client through the asyncio face, this one is, too.
    """
    module, name, by_asyncio, options, *arguments = json.loads(sys.stdin.readline())
    client: JMqtt = getattr(importlib.import_module(module), name)()
    client.configure(**options)
    if by_asyncio:
        from juham_core.testing.asyncio_face import AsyncioFace  # noqa: PLC0415  # as above

        client = cast("JMqtt", AsyncioFace(client))
    return client, arguments


class Publisher:
    """One process that publishes ``count`` numbers from ``start`` on, and ends with an empty outbox."""

    def __init__(self, client: JMqtt, topic: str, qos: int, start: int, count: int) -> None:
        self._told = Told()
        self._process = start_process(__name__, client, topic, qos, start, count)

    def lines(self) -> Iterator[Told]:
        """Yield after each line that it tells, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.add(line)
            yield self._told

    def kill(self) -> Told:
        """Kill it, and return what it had told by then. May be called twice, and after it has ended."""
        self._process.kill()
        return self._end()

    def _end(self) -> Told:
        if self._process.stdout is not None and not self._process.stdout.closed:
            for _ in self.lines():
                pass
            self._process.communicate()
        return self._told

    def finish(self) -> Told:
        """Let it end by itself, which it does with an empty outbox; AssertionError if it does not."""
        limit = threading.Timer(2 * patience(), self._process.kill)
        limit.start()
        try:
            self._end()
        finally:
            limit.cancel()
            limit.join()
        assert self._process.returncode == 0, f"the publisher ended with {self._process.returncode}"
        return self._told


@contextmanager
def publishing(client: JMqtt, topic: str, qos: int, start: int = 0, count: int = 0) -> Iterator[Publisher]:
    """A publisher with the class and the options of a client that is not connected; killed in the end."""
    publisher = Publisher(client, topic, qos, start, count)
    try:
        yield publisher
    finally:
        publisher.kill()


def kill_at_random(publisher: Publisher, least: int, most: int) -> Told:
    """Kill a publisher at some moment after it has told so many lines."""
    left = random.randint(least, most)  # noqa: S311 - guards nothing
    for _ in publisher.lines():
        left -= 1
        if left <= 0:
            threading.Event().wait(random.random() / 100)  # noqa: S311 - within the writing of a message, too
            break
    return publisher.kill()


def _tell(what: str, number: int) -> None:
    os.write(1, f"{what} {number}\n".encode())  # one write: all of it or nothing


def _publish(client: Any, topic: str, qos: int, number: int) -> None:
    receipt = client.publish(f"{topic}/{number % 3}", str(number), qos=qos)
    if not isinstance(client, JMqtt):  # by asyncio, whose loop does not wait for the disk
        eventually(lambda: receipt.number or receipt.done(), f"message {number} is stored")
    _tell("accepted", number)

    def done(receipt: Any) -> None:
        if receipt.exception() is None:
            _tell("done", number)

    receipt.add_done_callback(done)


def _end_with_the_case() -> None:
    """A case that is killed itself leaves nobody behind who publishes on."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """The process."""
    client, (topic, qos, start, count) = client_and_arguments()
    threading.Thread(target=_end_with_the_case, daemon=True).start()
    pause = threading.Event()
    with client:
        client.connect_to_server()
        client.wait_until_connected()
        client.loop_start()
        for number in range(start, start + count):
            while client.statistics.outbox_messages > _BACKLOG:
                pause.wait(0.001)
            _publish(client, topic, qos, number)
        while client.statistics.outbox_messages:
            pause.wait(0.001)
