"""A client at a fork, and at the end of a program that has not closed it: programs of their own, for both."""

import os
import signal
import subprocess
import sys

import pytest
from cli_support import network_backends
from documents import programs_in
from observer import Observer

import juham_core as juham

CONNECTED = """
import os, sys
import juham_core as juham

client = juham.connect(sys.argv[1], backend=sys.argv[2])
client.publish("a", "x", qos=1).wait(20)
"""
FORKED = """
child = os.fork()
if child == 0:
    told = [client.is_connected()]
    for asked in (
        lambda: client.publish("a", "x"),
        lambda: client.publish("a", "x", qos=1),
        lambda: client.subscribe("a"),
        lambda: client.unsubscribe("a"),
        lambda: client.connect_to_server(),
        lambda: client.loop_forever(),
    ):
        try:
            asked()
        except juham.NotConnectedError as exc:
            told.append(str(os.getppid()) in str(exc))
    with client:
        pass
    with juham.connect(sys.argv[1], backend=sys.argv[2]) as mine:
        mine.publish("a", "x", qos=1).wait(20)
    os._exit(0 if told == [False] + 6 * [True] else 1)
_, status = os.waitpid(child, 0)
client.publish("a", "x", qos=1).wait(20)
client.disconnect_from_server()
print(os.waitstatus_to_exitcode(status), client.statistics.connects)
"""
STARTED = """
import os, sys
import juham_core as juham

port = int(sys.argv[1].rpartition(":")[2])
client = juham.create(sys.argv[2], host="127.0.0.1", port=port)
client.loop_start()
"""
CONNECTED_LATER = """
client.connect_to_server()
client.wait_until_connected(20)
"""
FORKED_BEFORE = """
import os, sys
import juham_core as juham

port = int(sys.argv[1].rpartition(":")[2])
client = juham.create(sys.argv[2], host="127.0.0.1", port=port)
child = os.fork()
if child == 0:
    client.connect_to_server()
    client.publish("a", "x", qos=1).wait(20)
    client.disconnect_from_server()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def run(program, broker, library="native"):
    if not any(info.name == library for info in juham.backends()):
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", program, broker.url, library],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


@needs_fork
@pytest.mark.parametrize("library", ["native", "paho2", "paho", "gmqtt", "awscrt"])
def test_in_the_child_of_a_fork_a_connected_client_says_so_and_the_parents_goes_on(embedded, library):
    assert run(CONNECTED + FORKED, embedded, library)[:2] == (0, "0 1")


@needs_fork
def test_in_the_child_of_a_fork_a_client_whose_loop_runs_says_so(embedded):
    """Its thread is not there: no handler would ever run."""
    program = STARTED + FORKED.replace("\n_, status", f"\n{CONNECTED_LATER}\n_, status")
    assert run(program, embedded)[:2] == (0, "0 1")


@needs_fork
def test_a_client_that_is_connected_after_a_fork_is_the_childs(embedded):
    assert run(FORKED_BEFORE, embedded)[:2] == (0, "0")


def test_a_program_that_ends_without_closing_its_client_says_what_may_be_lost(embedded):
    program = "import juham_core as juham\nkept = juham.create('native', name='boiler')\n"
    code, _, said = run(program + "kept.publish('a', 'x', qos=1)\n", embedded)
    assert (code, said.count("\n")) == (0, 1)
    assert said.startswith("boiler: the program ends, and the client was not closed: 1 publish ")


def test_a_program_that_has_nothing_to_lose_ends_without_a_word(embedded):
    assert run(CONNECTED, embedded) == (0, "", "")
    assert run(CONNECTED + "client.disconnect_from_server()\n", embedded) == (0, "", "")


@pytest.mark.skipif(not hasattr(signal, "sigwait"), reason="Windows has no sigwait()")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_waits_for_its_end_as_the_pages_tell_closes_its_client(embedded, number, topic):
    (program,) = (each for each in programs_in("operating.md") if "sigwait" in each)
    program = "import signal\nimport juham_core as juham\n" + program.replace("mqtt://broker", embedded.url)
    program = program.replace(
        "    signal.sigwait", f"    mqtt.publish('{topic}/up', '').wait(20)\n    signal.sigwait"
    )
    if not network_backends():
        pytest.skip("no backend for a network is installed")
    observer = Observer(embedded.url)
    observer.subscribe(f"{topic}/#")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program + "print('closed', mqtt.is_connected())\n"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        observer.next(60)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "closed False\n", "")
    observer.close()
