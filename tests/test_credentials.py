"""Where user names and passwords come from, and that they go nowhere else."""

import json
import os
import stat
import subprocess
import sys
import traceback

import pytest

import juham_core as juham
from juham_core import credentials, jsonfiles
from juham_core.broker import EmbeddedBroker
from juham_core.credentials import for_attempt, of_environment
from juham_core.errors import BackendNotFoundError, ConnectError, OptionError, OutboxError
from juham_core.factory import create_for
from juham_core.options import Options
from juham_core.outbox import look_into
from juham_core.wire.packets import Connect
from juham_core.wire.properties import Properties

CANARY = "canary-5f3a91"
SECRET_PROPERTIES = {"authentication_method": "plain", "authentication_data": CANARY.encode()}


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv(credentials.USERNAME, "anna")
    monkeypatch.setenv(credentials.PASSWORD, CANARY)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, {"username": "anna", "password": CANARY}),
        ({"username": "otto"}, {"password": CANARY}),
        ({"username": "otto", "password": "p"}, {}),
        ({"username": "otto", "password_file": "f"}, {}),
        ({"credentials": print}, {}),
        ({"transport": "memory"}, {}),
    ],
)
def test_the_environment_speaks_where_nobody_else_does(options, found):
    assert of_environment(options) == found


@pytest.mark.usefixtures("environment")
def test_a_client_for_a_url_takes_them_from_the_environment(backend):
    if backend == "memory":
        pytest.skip("a broker in the process is told nobody's password")
    client = create_for("mqtt://broker", backend=backend)
    assert (client.options.username, client.options.password) == ("anna", CANARY)
    assert CANARY not in repr(client) + repr(client.options) + json.dumps(client.to_dict())


def test_a_client_that_is_made_by_hand_takes_nothing_from_the_environment(environment, backend):
    assert juham.create(backend).options.password is None


@pytest.mark.parametrize(("text", "password"), [("p\r\n", "p"), (" p ", " p "), ("a\nb\n", "a\nb")])
def test_one_line_break_at_the_end_of_a_file_does_not_count(tmp_path, text, password):
    path = tmp_path / "password"
    path.write_bytes(text.encode())
    options = for_attempt(Options(username="u", password_file=str(path)))
    assert (options.username, options.password, options.password_file) == ("u", password, None)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe" + CANARY.encode()])
def test_a_file_without_a_password(tmp_path, content):
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(ConnectError, match="password file") as raised:
        for_attempt(Options(username="u", password_file=str(path)))
    assert CANARY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("returned", [None, "user", ("u", "p", "x"), 7])
def test_a_function_that_returns_something_else(returned):
    with pytest.raises(ConnectError, match="credentials"):
        for_attempt(Options(credentials=lambda options: returned))


def test_there_is_one_source_of_the_password():
    with pytest.raises(OptionError, match="password, password_file"):
        Options(username="u", password="p", password_file="f")
    with pytest.raises(OptionError, match="function"):
        Options(credentials=("u", "p"))
    with pytest.raises(OptionError, match="username"):
        Options(password_file="f")


def test_what_is_a_secret_is_neither_shown_nor_saved():
    shown = [
        Options(username="u", password=CANARY),
        Options(credentials=lambda options: ("u", CANARY)),
        Options(username="u", password=CANARY, protocol=5, servers=["b1", "b2"]),
        Connect("id", username="u", password=CANARY.encode()),
        Connect("id", properties=Properties(SECRET_PROPERTIES), protocol=5),
        Options(protocol=5, properties=SECRET_PROPERTIES),
    ]
    saved = [str(each.to_dict()) for each in shown if isinstance(each, Options)]
    assert CANARY not in "".join([*map(repr, shown), *saved])


URLS = [f"mqtt://anna:{CANARY}@broker", f"mqtts://anna:p%40{CANARY}@broker:8883", f"anna:{CANARY}@broker"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("option", ["host", "bind_address", "outbox"])
def test_a_url_in_the_place_of_something_else_is_not_repeated(url, option, backend):
    value = url if option != "outbox" or "://" in url else f"mqtt://{url}"
    client = juham.create(backend)
    with pytest.raises(OptionError, match="not a URL") as raised:
        client.configure(**{option: value})
    assert CANARY not in shown(raised.value) + repr(client)


@pytest.mark.parametrize("url", URLS)
def test_a_url_in_the_place_of_a_host_or_a_backend_is_not_repeated(url, backend):
    client = juham.create(backend)
    with pytest.raises(OptionError, match="not a URL") as raised:
        client.connect_to_server(url)
    assert CANARY not in shown(raised.value) + repr(client)
    with pytest.raises(BackendNotFoundError, match="not a URL") as wrong:
        juham.create(url)
    assert CANARY not in shown(wrong.value)


def test_a_url_in_the_place_of_an_outbox_s_path_is_not_repeated():
    with pytest.raises(OutboxError, match="not a URL") as raised:
        look_into(URLS[0])
    assert CANARY not in shown(raised.value)


def shown(error):
    """What a program that catches an error may show of it, and of what has led to it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "".join(texts)


@pytest.mark.parametrize("command", [["doctor"], ["backends", "--json"], ["demo"]])
def test_the_command_shows_no_password(command, tmp_path):
    with EmbeddedBroker(users={"anna": "another"}) as broker:
        url = f"mqtt://anna:p%40%2F{CANARY}@127.0.0.1:{broker.port}"
        where = [] if "backends" in command else ["--url", url]
        done = subprocess.run(
            [sys.executable, "-m", "juham_core.cli", *command, *where],
            env={**os.environ, "HOME": str(tmp_path), "JUHAM_URL": url, "JUHAM_PASSWORD": CANARY},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stdout, done.stderr
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_files_are_their_owners_whatever_the_umask_and_whatever_was_there(tmp_path, before):
    path = tmp_path / "deep" / "down" / "file.json"
    mask = os.umask(0)
    try:
        if before is None:
            assert jsonfiles.create_file(path, "{}")
        else:
            path.parent.mkdir(parents=True)
            path.touch(before)
            jsonfiles.replace_file(path, "{}")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if before is None:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
