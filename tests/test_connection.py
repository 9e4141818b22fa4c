"""The life of a connection, with attempts and releases that the test makes succeed, fail or take time."""

import threading

import pytest
from waiting import PATIENCE, Recorder, eventually

from juham_core.connection import Connection, State, refusal
from juham_core.errors import AuthError, ConnectError, ConnectTimeoutError
from juham_core.options import Options

UNAVAILABLE, BAD_PASSWORD, TAKEN_OVER = 0x88, 0x86, 0x8E


class Driven:
    """A Connection whose attempts are recorded; ``on_attempt`` decides how the next ones end."""

    def __init__(self, **options):
        self.options = Options(**{"reconnect_min": 0.001, "reconnect_max": 0.01, **options})
        self.attempts = Recorder()
        self.releases = Recorder()
        self.on_attempt = lambda: None
        self.attempted = self.options
        self.connection = Connection(
            "driven", self._attempt, self.releases, lambda: self.options, lambda: self.attempted
        )

    def _attempt(self, server):
        self.attempted = self.options.at(server)
        self.attempts(threading.current_thread())
        self.on_attempt()

    def open_and_accept(self):
        self.connection.open()
        self.attempts.next()
        assert self.connection.accepted()

    def close(self):
        if self.connection.begin_close():
            self.connection.finish_close()
            self.connection.closed()


@pytest.fixture
def driven(closing_all):
    return closing_all(Driven())


@pytest.fixture
def closing_all():
    made = []

    def keep(driven):
        made.append(driven)
        return driven

    yield keep
    for driven in made:
        driven.close()


def in_thread(function):
    """Run the function in a thread; its outcome comes to the recorder."""
    outcome = Recorder()

    def run():
        try:
            outcome(function())
        except Exception as exc:  # noqa: BLE001 - it is what the test asks about
            outcome(exc)

    threading.Thread(target=run, name="helper").start()
    return outcome


def test_nothing_is_released_while_the_first_attempt_has_not_returned(driven):
    """A broker may accept and close before the backend's ``_open`` has returned."""
    go_on = threading.Event()

    def come_and_go():
        driven.on_attempt = lambda: None
        assert driven.connection.accepted()
        assert driven.connection.lost(None, 0)
        assert not go_on.wait(0.1)
        assert driven.releases.count == 0, "released under the hands of the attempt"

    driven.on_attempt = come_and_go
    driven.connection.open()
    driven.releases.next()
    driven.attempts.next()
    driven.attempts.next()
    assert driven.connection.accepted()


def test_the_first_attempt_is_made_by_the_caller(driven):
    driven.connection.open()
    assert driven.attempts.next() == (threading.current_thread(),)
    assert driven.connection.state is State.OPENING
    assert driven.connection.accepted()
    driven.connection.wait(0)
    assert driven.connection.state is State.CONNECTED


def test_a_first_attempt_that_fails_raises_and_leaves_it_closed(driven):
    def fail():
        raise ConnectError("no")

    driven.on_attempt = fail
    with pytest.raises(ConnectError, match="no"):
        driven.connection.open()
    assert driven.connection.state is State.CLOSED
    assert driven.releases.next() == (False,)
    driven.on_attempt = lambda: None
    driven.connection.open()


def test_opening_twice_says_what_comes_first(driven):
    driven.connection.open()
    with pytest.raises(ConnectError, match="disconnect_from_server"):
        driven.connection.open()


def test_a_verdict_that_comes_too_late_is_ignored(driven):
    driven.open_and_accept()
    assert not driven.connection.accepted()
    assert not driven.connection.refused(UNAVAILABLE)
    driven.close()
    assert not driven.connection.accepted()
    assert not driven.connection.lost(None, 0)
    assert driven.connection.state is State.CLOSED


def test_waiting_raises_the_refusal(driven):
    driven.connection.open()
    driven.connection.refused(BAD_PASSWORD)
    with pytest.raises(AuthError, match=r"mqtt://localhost:1883.*username"):
        driven.connection.wait(1)
    assert driven.connection.state is State.STOPPED


def test_waiting_for_a_client_that_was_never_connected(driven):
    with pytest.raises(ConnectError, match="closed"):
        driven.connection.wait(0)


def test_no_verdict_within_connect_timeout(closing_all):
    driven = closing_all(Driven(connect_timeout=0.02))
    driven.connection.open()
    driven.attempts.next()
    with pytest.raises(ConnectTimeoutError):
        driven.connection.wait(PATIENCE)
    driven.attempts.next()


def test_lost_connections_come_back_released_first(driven):
    driven.open_and_accept()
    assert driven.connection.lost(OSError("reset"), 0)
    assert driven.releases.next() == (False,)
    thread = driven.attempts.next()[0]
    assert thread is not threading.current_thread()
    assert driven.connection.accepted()


def test_attempts_that_raise_are_followed_by_others(driven):
    driven.open_and_accept()

    def fail():
        raise OSError("unreachable")

    driven.on_attempt = fail
    driven.connection.lost(None, 0)
    for _ in range(3):
        driven.attempts.next()
    driven.on_attempt = lambda: None
    assert eventually(driven.connection.accepted)
    assert driven.connection.error is None


@pytest.mark.parametrize("code", [TAKEN_OVER, BAD_PASSWORD])
def test_what_trying_again_cannot_mend_ends_it(driven, code):
    driven.open_and_accept()
    assert driven.connection.lost(None, code)
    assert driven.connection.state is State.STOPPED
    assert driven.releases.next() == (False,)
    with pytest.raises(ConnectError):
        driven.connection.wait(1)
    driven.connection.open()
    assert driven.attempts.count == 1


def test_without_reconnect_a_lost_connection_is_the_end(closing_all):
    driven = closing_all(Driven(reconnect=False))
    driven.open_and_accept()
    driven.connection.lost(None, 0)
    assert driven.connection.state is State.STOPPED
    driven.releases.next()
    assert driven.attempts.count == 0


def test_what_was_given_up_is_released_before_it_is_opened_anew(closing_all):
    """Else the release of the last connection would take the new one down."""
    driven = closing_all(Driven(reconnect=False))
    driven.open_and_accept()
    releasing, opened, order = threading.Event(), threading.Event(), []

    def release(deliberate):
        if not releasing.is_set():
            releasing.set()
            opened.wait(0.2)
            order.append("released")

    def attempt():
        order.append("opened")
        opened.set()

    driven.connection._release, driven.on_attempt = release, attempt
    driven.connection.lost(None, 0)
    assert releasing.wait(PATIENCE)
    driven.connection.open()
    assert order == ["released", "opened"]


def test_without_reconnect_a_refusal_is_the_end(closing_all):
    driven = closing_all(Driven(reconnect=False))
    driven.connection.open()
    driven.connection.refused(UNAVAILABLE)
    driven.releases.next()
    assert driven.connection.state is State.STOPPED
    assert driven.attempts.count == 1


def test_without_reconnect_a_missing_verdict_is_the_end(closing_all):
    driven = closing_all(Driven(reconnect=False, connect_timeout=0.01))
    driven.connection.open()
    driven.releases.next()
    assert driven.connection.state is State.STOPPED
    assert driven.attempts.count == 1




def test_closing_ends_the_wait_for_the_next_attempt(closing_all):
    driven = closing_all(Driven(reconnect_min=60, reconnect_max=60))
    driven.open_and_accept()
    driven.connection.lost(None, 0)
    driven.releases.next()
    outcome = in_thread(driven.close)
    assert outcome.next(2) == (None,)
    assert driven.connection.state is State.CLOSED


def test_closing_releases_deliberately_only_what_was_connected(driven):
    driven.open_and_accept()
    driven.close()
    assert driven.releases.next() == (True,)
    driven.connection.open()
    driven.close()
    assert driven.releases.next() == (False,)
    assert not driven.connection.begin_close()


def test_another_thread_may_wait_for_the_close(driven):
    driven.open_and_accept()
    assert driven.connection.begin_close()
    assert not driven.connection.begin_close()
    outcome = in_thread(lambda: driven.connection.wait_closed(PATIENCE))
    driven.connection.finish_close()
    assert outcome.count == 0
    with pytest.raises(ConnectError, match="once disconnect_from_server"):
        driven.connection.open()
    driven.connection.closed()
    assert outcome.next() == (None,)


def test_closing_while_the_supervisor_is_being_started(driven, monkeypatch):
    """The library's thread reports a loss while the application's closes."""
    driven.open_and_accept()
    starting, closed = threading.Event(), threading.Event()
    start = threading.Thread.start

    def slow_start(thread):
        if thread.name.endswith("-connection"):
            starting.set()
            closed.wait(0.1)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slow_start)
    loss = in_thread(lambda: driven.connection.lost(None, 0))
    assert starting.wait(PATIENCE)
    driven.close()
    closed.set()
    assert loss.next() == (True,)
    assert driven.connection.state is State.CLOSED


def test_closing_while_the_first_attempt_is_made(driven):
    """The attempt succeeds after all: nothing of it may be left."""
    attempting, go_on = threading.Event(), threading.Event()

    def slowly():
        attempting.set()
        go_on.wait(PATIENCE)

    driven.on_attempt = slowly
    opening = in_thread(driven.connection.open)
    assert attempting.wait(PATIENCE)
    closing = in_thread(driven.close)
    assert eventually(lambda: driven.connection.closing)
    assert driven.releases.count == 0, "released while the attempt still ran"
    go_on.set()
    assert closing.next() == (None,)
    assert isinstance(opening.next()[0], ConnectError)
    assert driven.releases.count >= 1
    assert driven.connection.state is State.CLOSED


def test_refusals_name_the_broker_and_the_reason():
    error = refusal(0x87, "mqtts://broker:8883")
    assert isinstance(error, AuthError)
    assert str(error).startswith("mqtts://broker:8883 refused")
    assert error.reason_code == 0x87
    assert not isinstance(refusal(UNAVAILABLE, "x"), AuthError)
