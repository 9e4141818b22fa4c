"""The live view in a terminal of 80 columns, which is a pseudo-terminal here."""

import os
import re
import struct
import subprocess

import pytest
from cli_support import COMMAND, Installed, environment

pty = pytest.importorskip("pty", reason="needs a system with pseudo-terminals")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(installed, *arguments, columns=80, **variables):
    """Run the command in a terminal; return its exit code and everything it wrote there."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(installed, **{"TERM": "xterm-256color", **variables}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        slave = None
        output = b"".join(iter(lambda: _read(master), b""))
        return process.wait(60), output.decode()
    finally:
        os.close(master)
        if slave is not None:
            os.close(slave)


def _read(master):
    try:
        return os.read(master, 65_536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_person_sees_the_rooms_and_then_the_table(tmp_path):
    code, output = in_terminal(Installed(tmp_path), "demo", "--backend", "memory", "--rounds", "50")
    assert code == 0, output
    text = ESCAPE.sub("", output)
    for seen in ("hall", "kitchen", "°C", "heating", "garden", "offline", "juham-core"):
        assert seen in text
    assert len(set(re.findall(r"round +(\d+)/50", text))) > 2  # it moves
    table = text[text.rindex("backend ") :]
    assert "600 messages, none lost" in " ".join(table.split())
    assert max(map(len, table.splitlines())) <= 80


def test_what_went_wrong_stays_on_the_screen(tmp_path):
    installed = Installed(tmp_path).add("acme-broken", {"broken": "acme_broken:JBroken"}, acme_broken="1/0")
    code, output = in_terminal(installed, "demo", "--rounds", "5", JUHAM_BACKENDS_ALLOW="broken,memory")
    assert code == 1, output
    table = ESCAPE.sub("", output[output.rindex("backend ") :])
    assert "ZeroDivisionError" in table
    assert "Something is wrong with broken" in table


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--plain"], {}), ([], {"TERM": "dumb"})], ids=["plain", "dumb"]
)
def test_a_terminal_can_have_plain_text(tmp_path, arguments, variables):
    code, output = in_terminal(
        Installed(tmp_path), "demo", "--backend", "memory", "--rounds", "5", *arguments, **variables
    )
    assert code == 0, output
    assert "\x1b" not in output
    assert "60 messages, none lost" in output
