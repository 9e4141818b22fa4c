"""The life of one client's connection: attempts, the broker's verdict, back-off, and the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from juham_core.errors import AuthError, ConnectError, ConnectTimeoutError
from juham_core.locks import Condition, Event, join
from juham_core.options import Options
from juham_core.pace import SUSPICIOUS, Pace
from juham_core.servers import Server
from juham_core.verdicts import FINAL, STOPPING, as_connect_error, reason, refusal, suspicion
from juham_core.wire import reasons

log = logging.getLogger("juham.connection")


class State(Enum):
    """Where a connection is."""

    CLOSED = "closed"
    OPENING = "waiting for the broker's verdict"
    TURNING = "turning to the next server"
    CONNECTED = "connected"
    WAITING = "waiting to try again"
    CLOSING = "being closed"
    STOPPED = "given up"


CONNECTED: Final = State.CONNECTED
"""For the way of each message: an enumeration takes its time to look a member up."""


class Connection:
    """Drives a backend's ``_open`` and ``_close``.

    ``open`` makes one attempt and raises; ``close`` releases whatever an attempt has left; neither is ever
    called twice at once. While no connection stands, and only then, a thread looks after it: it waits for
    the verdict, backs off and tries again.
    """

    def __init__(
        self,
        name: str,
        attempt: Callable[[Server], None],
        release: Callable[[bool], None],
        options: Callable[[], Options],
        attempted: Callable[[], Options],
    ) -> None:
        self.state = State.CLOSED
        self.error: ConnectError | None = None
        self.ending: ConnectError | None = None
        """Why the last connection ended by itself, which ``error`` soon tells no more."""
        self.watch: Callable[[State], None] | None = None
        """Told of every new state, from any thread, with locks held: it must not wait for anything."""
        self._name = name
        self._attempt = attempt
        self._release = release
        self._options = options
        self._attempted = attempted  # those of the last attempt
        self._pace = Pace()
        self._was_up = False
        self._changed = Condition()
        self._closing = Event()
        self._opening = threading.RLock()  # held during the first attempt, which closing waits for
        self._opener: int | None = None
        self._supervisor: threading.Thread | None = None
        self.short_lived = 0
        """How many connections were accepted and did not last."""

    @property
    def closing(self) -> bool:
        """True from the call that closes until a call that connects."""
        return self._closing.is_set()

    @property
    def opening_here(self) -> bool:
        """True on the thread that makes the first attempt, as in what it calls of the application's."""
        return self._opener == threading.get_ident()

    def open(self, prepare: Callable[[], object] = lambda: None) -> None:
        """Make the first attempt on the calling thread, and have the verdict waited for on another.

        Before, ``prepare()`` is called, once nobody else can connect or close meanwhile. Where one server
        cannot be reached it is the next one's turn; what is raised tells of all.
        """
        self._let_go()
        with self._changed:
            idle = self.state is State.CLOSED or (self.state is State.STOPPED and not self.closing)
            if not idle:
                advice = "disconnect_from_server() comes first"
                if self.state is State.CLOSING:
                    advice = "connect once disconnect_from_server() has returned"
                raise ConnectError(f"the client {self._name!r} is {self.state.value}: {advice}")
            stopped = self.state is State.STOPPED
            self.state = State.OPENING
            self.error = None
            self._pace.begin()
            self._was_up = False
            self._closing.clear()
        with self._opening:
            self._opener = threading.get_ident()
            try:
                if stopped:
                    self._release(False)
                prepare()
                self._check_not_closed()
                self._reach_one()
                self._check_not_closed()
            except BaseException:
                self._release(False)
                with self._changed:
                    if not self.closing:  # else whoever closes it says so
                        self._set(State.CLOSED)
                raise
            finally:
                self._opener = None
            with self._changed:
                if self.state is not State.CONNECTED:
                    self._supervise()

    def _let_go(self) -> None:
        """Wait until the thread that looked after a connection given up has released it."""
        with self._changed:
            supervisor = self._supervisor if self.state is State.STOPPED else None
        join(supervisor)

    def _reach_one(self) -> None:
        """Make attempts until a server is reached, and raise if none is."""
        while True:
            options = self._options()
            try:
                self._attempt(self._pace.server(options))
            except ConnectError as exc:
                with self._changed:
                    # The library may have reported the end already, with more to say.
                    state = self._after(exc) if self.state is State.OPENING else self.state
                    error = self.error or exc
                if state is not State.TURNING:
                    if error is exc:
                        raise
                    raise error from exc
                self._release(False)
                self._check_not_closed()
                log.warning("%s: %s; trying the next server", self._name, exc)
                with self._changed:
                    self.state = State.OPENING
            else:
                return

    def _check_not_closed(self) -> None:
        if self.closing:
            raise ConnectError(f"the client {self._name!r} was closed while it was connecting")

    def accepted(self) -> bool:
        """Take note of a CONNACK that accepts; False if it comes too late to matter."""
        with self._changed:
            if self.state is not State.OPENING or self._closing.is_set():
                return False
            self._pace.accepted()
            self._was_up = True
            self.error = None
            self._set(State.CONNECTED)
            return True

    def refused(self, code: int, why: str | None = None, reference: str | None = None) -> bool:
        """Take note of a CONNACK that refuses; False if it comes too late to matter."""
        with self._changed:
            if self.state is not State.OPENING:
                return False
            self._set(self._after(refusal(code, self._where(), why, reference), reference))
        return True

    def lost(
        self, error: Exception | None, code: int, why: str | None = None, reference: str | None = None
    ) -> bool:
        """Take note that the connection ended by itself; True if it had been accepted before."""
        with self._changed:
            was = self.state
            if was not in (State.OPENING, State.CONNECTED) or self._closing.is_set():
                return False
            if code >= reasons.UNSPECIFIED_ERROR:
                how = reason(code, why, reference)
            else:
                how = f"{type(error).__name__}: {error}" if error else "the broker closed it"
            before = "" if was is State.CONNECTED else " before it was accepted"
            contested = was is State.CONNECTED and self._is_contested(code)
            text = f"the connection to {self._where()} ended{before}: {how}"
            if contested:
                text += suspicion(self._pace.short_lived, self._attempted().client_id)
            lost = ConnectError(text, reason_code=code or None)
            lost.__cause__ = error
            self.ending = lost
            self._set(self._after(lost, reference))
            if was is State.CONNECTED:
                self._supervise()
        if code == reasons.SESSION_TAKEN_OVER:
            log.error(
                "%s: another client has connected with the same client_id; not reconnecting", self._name
            )
        else:
            loud = contested and self._pace.short_lived == SUSPICIOUS
            log.log(logging.ERROR if loud else logging.WARNING, "%s: %s", self._name, lost)
        return was is State.CONNECTED

    def _is_contested(self, code: int) -> bool:
        """Take note how long an accepted connection has lasted; True if something must be wrong with it."""
        if self._pace.ended(self._options()):
            return False
        self.short_lived += 1
        return code < reasons.UNSPECIFIED_ERROR and self._pace.short_lived >= SUSPICIOUS

    def wait(self, timeout: float) -> None:
        """Block until the broker has accepted.

        Raises AuthError or ConnectError as soon as it refuses or the connection ends, and
        ConnectTimeoutError after ``timeout`` seconds.
        """
        with self._changed:
            under_way = (State.OPENING, State.TURNING)
            longest = min(timeout, threading.TIMEOUT_MAX)
            done = self._changed.wait_for(lambda: self.state not in under_way, longest)
            if self.state is State.CONNECTED:
                return
            if self.error is not None:
                raise self.error
            if done:
                raise ConnectError(f"the client {self._name!r} is {self.state.value}")
            raise ConnectTimeoutError(f"{self._where()} did not answer CONNECT within {timeout} s")

    def begin_close(self) -> bool:
        """Start to close: no further attempt is made. False if there is nothing to close."""
        with self._changed:
            if self.state is State.CLOSED or self._closing.is_set():
                return False
            self._closing.set()
            self._changed.notify_all()
            return True

    def begin_clearing(self) -> bool:
        """Where there is nothing to close: let nobody connect before :meth:`closed`. False if there is."""
        with self._changed:
            if self.state is not State.CLOSED:
                return False
            self._closing.set()
            self.state = State.CLOSING
            return True

    def leave(self) -> None:
        """After :meth:`begin_close`: be connected no longer, but let what is under way be finished."""
        with self._changed:
            if self.state is State.CONNECTED:
                self._set(State.CLOSING)

    def finish_close(self) -> None:
        """Release the connection; on return no attempt runs and nothing is left of the last one.

        Nobody can connect anew before :meth:`closed`: what is still to be ended would be the new one's.
        """
        with self._opening, self._changed:  # a supervisor is entered and started while these are held
            deliberate = self.state in (State.CONNECTED, State.CLOSING)
            supervisor = self._supervisor
        join(supervisor)  # whatever it waits for ends with _closing, an attempt by being given up
        self._release(deliberate)
        self._set(State.CLOSING)

    def closed(self) -> None:
        """After :meth:`finish_close` or :meth:`begin_clearing`: all that belonged to the client has ended."""
        self._set(State.CLOSED)

    def wait_closed(self, timeout: float) -> None:
        """Block until another thread has finished closing, for at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.state is State.CLOSED, timeout)

    def _set(self, state: State) -> None:
        with self._changed:
            self.state = state
            self._changed.notify_all()
            if self.watch is not None:
                self.watch(state)

    def _where(self) -> str:
        return self._attempted().describe()

    def _after(self, error: ConnectError, reference: str | None = None) -> State:
        """Take note of the error, and tell what follows a connection that ended or did not come about."""
        options, pace = self._options(), self._pace
        self.error = error
        if isinstance(error, AuthError) or error.reason_code in STOPPING:
            return State.STOPPED
        pace.failed(self._where(), error)
        if reference is not None:
            pace.prefer(reference, options)
        if self._was_up and not options.reconnect:
            return State.STOPPED
        if not pace.round_over(options):
            return State.TURNING
        self.error = pace.summary()
        final = all(each.reason_code in FINAL for each in pace.errors.values())
        return State.STOPPED if final or not options.reconnect else State.WAITING

    def _supervise(self) -> None:
        previous = self._supervisor
        self._supervisor = threading.Thread(
            target=self._look_after, args=(previous,), name=f"juham-{self._name}-connection", daemon=True
        )
        self._supervisor.start()

    def _look_after(self, previous: threading.Thread | None) -> None:
        join(previous)
        with self._opening:  # an attempt that has come and gone may not have returned yet
            previous = None
        while self._failed():
            self._release(False)
            with self._changed:
                if self.state is State.STOPPED:
                    return
            if self._closing.wait(self._delay()):
                return
            with self._changed:
                self.state = State.OPENING
            try:
                self._attempt(self._pace.server(self._options()))
            except Exception as exc:  # noqa: BLE001 - an attempt that fails is followed by the next one
                with self._changed:
                    if self.state is State.OPENING:
                        self._set(self._after(as_connect_error(exc)))
                log.warning("%s: %s", self._name, exc)

    def _failed(self) -> bool:
        """Wait for the verdict; True if there is no connection and none is being closed."""
        timeout = self._options().connect_timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.state is State.OPENING and not self._closing.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    text = f"{self._where()} did not answer CONNECT within {timeout} s"
                    log.warning("%s: %s", self._name, text)
                    self._set(self._after(ConnectTimeoutError(text)))
                    break
                self._changed.wait(left)
            between = (State.TURNING, State.WAITING, State.STOPPED)
            return self.state in between and not self._closing.is_set()

    def _delay(self) -> float:
        return self._pace.pause(self._options())
