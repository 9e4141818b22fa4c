"""The process under test: one client, which does the steps of a scenario and tells what each has cost."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from typing import IO, TYPE_CHECKING, Any

from juham_core.bench.driver import GROUP, Driver, Measured, Task
from juham_core.bench.facts import Facts, Unsuitable, installed_version
from juham_core.bench.pipes import orders, own_output, say
from juham_core.bench.usage import Usage
from juham_core.options import Options
from juham_core.url import parse_url

if TYPE_CHECKING:
    from juham_core.bench.local import LocalOther


def main() -> None:
    """Take orders until there are no more."""
    output = own_output()
    try:
        taken = orders()
        serve(next(taken), taken, output)
    except Unsuitable as exc:
        say(output, unsuitable=str(exc))
    except Exception as exc:  # noqa: BLE001  # told to the process that gave the order
        say(output, error=f"{type(exc).__name__}: {exc}")


def serve(first: dict[str, Any], taken: Iterator[dict[str, Any]], output: IO[str]) -> None:
    """Connect as the first order says, and do the steps of those that follow."""
    make, facts = maker_of(first)
    facts.check(first["qos"])
    options = Options(**parse_url(first["url"])[1]).changed(client_id=first["client_id"])
    protocol = options.protocol if options.protocol in facts.protocols else facts.protocols[0]
    task = Task(
        options.changed(protocol=protocol),
        first["topic"],
        first["pong_topic"],
        b"x" * first["size"],
        first["window"],
        first["uvloop"],
    )
    with ExitStack() as stack:
        driver = make(task)
        stack.callback(driver.close)
        driver.connect()
        if first["filters"]:
            driver.subscribe(first["filters"], first["qos"])
        other = other_of(first, task, stack)
        say(
            output,
            library=facts.library,
            version=facts.version,
            protocol=protocol,
            in_flight=f"{first['window']}, kept by {facts.window}",
        )
        usage = Usage()
        for order in taken:
            if order["do"] == "usage":
                say(output, **usage.so_far())
                continue
            gc.collect()
            usage = Usage()
            step(driver, task, order, other, output)


def other_of(first: dict[str, Any], task: Task, stack: ExitStack) -> LocalOther | None:
    """The other end, where it has to be in this process."""
    if not first["local"]:
        return None
    from juham_core.bench.local import LocalOther  # noqa: PLC0415  # nobody else needs it

    # From publish to handler is what is measured, so these handlers run as the face says, too.
    inline = {"handlers": "inline"} if first["face"] == "inline" else {}
    other = LocalOther(task, first["backend"], **inline)
    stack.callback(other.close)
    if first["scenario"] == "publish":
        other.listen(task.topic, first["qos"])
    elif first["scenario"] == "roundtrip":
        other.echo(task.topic, task.pong_topic, first["qos"])
    return other


def step(
    driver: Measured, task: Task, order: dict[str, Any], other: LocalOther | None, output: IO[str]
) -> None:
    """Do one step, and say when it began and ended and what it brought."""
    messages, qos = order["messages"], order["qos"]
    if order["do"] == "receive":
        task.arrivals.expect(messages)
        if other is None:
            say(output, ready=True)
            begun = {}
        else:
            begun = {"started": other.blast(order["topics"], messages, qos)}
        count = task.arrivals.wait(order["patience"])
        say(output, count=count, last=task.arrivals.last, **begun)
    elif order["do"] == "publish":
        if other is not None:
            other.arrivals.expect(messages)
        started = time.perf_counter()
        count = driver.publish(messages, qos)
        answer: dict[str, Any] = {"count": count, "started": started, "returned": time.perf_counter()}
        if other is not None:
            answer["theirs"] = {"count": other.arrivals.wait(order["patience"]), "last": other.arrivals.last}
        say(output, **answer)
    else:
        started = time.perf_counter()
        seconds = driver.ping_pong(messages, qos)
        say(output, started=started, returned=time.perf_counter(), seconds=seconds)


def maker_of(first: dict[str, Any]) -> tuple[Callable[[Task], Measured], Facts]:
    """What makes the driver, and what there is to know of it."""
    backend, face = first["backend"], first["face"]
    if face == "raw":
        driver = raw_driver(backend)
        if first["uvloop"] and not driver.event_loop:
            raise Unsuitable("it has no event loop that uvloop could replace")
        who = "the library" if driver.window == "library" else "the bench"
        return driver, Facts(
            driver.library, installed_version(driver.library), tuple(driver.protocols), driver.max_qos, who
        )
    from juham_core.bench import faces  # noqa: PLC0415  # a library by itself runs without Juham's modules

    return faces.maker(backend, face, first["outbox"]), faces.facts(backend)


def raw_driver(name: str) -> type[Driver]:
    """The class that uses the library under the backend directly. Raises Unsuitable if there is none."""
    for entry_point in entry_points(group=GROUP, name=name):
        try:
            driver: type[Driver] = entry_point.load()
        except ModuleNotFoundError as exc:
            if entry_point.extras:
                raise Unsuitable(f"{exc.name} is not installed") from exc
            raise
        return driver
    raise Unsuitable(f"no installed plugin has an entry point {name!r} in the group {GROUP}")


if __name__ == "__main__":
    main()
