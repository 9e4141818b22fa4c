"""The life of one client's connection: attempts, the broker's verdict, back-off, and the end."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from juham_core.errors import AuthError, ConnectError, ConnectTimeoutError
from juham_core.options import Options
from juham_core.wire import reasons
from juham_core.wire.reasons import ReasonCode

log = logging.getLogger("juham.connection")

CREDENTIALS: Final = frozenset(
    {
        reasons.CLIENT_IDENTIFIER_NOT_VALID,
        reasons.BAD_USER_NAME_OR_PASSWORD,
        reasons.NOT_AUTHORIZED,
        reasons.BANNED,
        reasons.BAD_AUTHENTICATION_METHOD,
    }
)
"""Refusals that say who asks is not welcome: an AuthError, and no further attempt."""
FINAL: Final = CREDENTIALS | {
    reasons.UNSUPPORTED_PROTOCOL_VERSION,
    reasons.SESSION_TAKEN_OVER,
    reasons.USE_ANOTHER_SERVER,
    reasons.SERVER_MOVED,
}
"""What trying again cannot mend."""


class State(Enum):
    """Where a connection is."""

    CLOSED = "closed"
    OPENING = "waiting for the broker's verdict"
    CONNECTED = "connected"
    WAITING = "waiting to try again"
    STOPPED = "given up"


def refusal(code: int, where: str, why: str | None = None) -> ConnectError:
    """The error for a CONNACK that refuses (MQTT 5 section 3.2.2.2); ``why``: the broker's reason string."""
    text = f"{where} refused the connection: {_reason(code, why)}"
    if code in CREDENTIALS:
        return AuthError(f"{text}; check username, password and client_id", reason_code=code)
    return ConnectError(text, reason_code=code)


def _reason(code: int, why: str | None) -> str:
    return f"{ReasonCode(code)} ({why})" if why else str(ReasonCode(code))


class Connection:
    """Drives a backend's ``_open`` and ``_close``.

    ``open`` makes one attempt and raises; ``close`` releases whatever an attempt has left; neither is ever
    called twice at once. While no connection stands, and only then, a thread looks after it: it waits for
    the verdict, backs off and tries again.
    """

    def __init__(
        self,
        name: str,
        attempt: Callable[[], None],
        release: Callable[[bool], None],
        options: Callable[[], Options],
    ) -> None:
        self.state = State.CLOSED
        self.error: ConnectError | None = None
        self.watch: Callable[[State], None] | None = None
        """Told of every new state, from any thread, with locks held: it must not wait for anything."""
        self._name = name
        self._attempt = attempt
        self._release = release
        self._options = options
        self._changed = threading.Condition(threading.RLock())
        self._closing = threading.Event()
        self._opening = threading.RLock()  # held during the first attempt, which closing waits for
        self._supervisor: threading.Thread | None = None
        self._failures = 0

    @property
    def closing(self) -> bool:
        """True from the call that closes until a call that connects."""
        return self._closing.is_set()

    def open(self) -> None:
        """Make the first attempt on the calling thread, and have the verdict waited for on another."""
        with self._changed:
            idle = self.state is State.CLOSED or (self.state is State.STOPPED and not self.closing)
            if not idle:
                raise ConnectError(
                    f"the client {self._name!r} is {self.state.value}: disconnect_from_server() comes first"
                )
            stopped = self.state is State.STOPPED
            self.state = State.OPENING
            self.error = None
            self._failures = 0
            self._closing.clear()
        with self._opening:
            try:
                if stopped:
                    self._release(False)
                self._attempt()
                self._check_not_closed()
            except BaseException:
                self._release(False)
                with self._changed:
                    if not self.closing:  # else whoever closes it says so
                        self._set(State.CLOSED)
                raise
            with self._changed:
                if self.state is not State.CONNECTED:
                    self._supervise()

    def _check_not_closed(self) -> None:
        if self.closing:
            raise ConnectError(f"the client {self._name!r} was closed while it was connecting")

    def accepted(self) -> bool:
        """Take note of a CONNACK that accepts; False if it comes too late to matter."""
        with self._changed:
            if self.state is not State.OPENING or self._closing.is_set():
                return False
            self._failures = 0
            self.error = None
            self._set(State.CONNECTED)
            return True

    def refused(self, code: int, why: str | None = None) -> bool:
        """Take note of a CONNACK that refuses; False if it comes too late to matter."""
        with self._changed:
            if self.state is not State.OPENING:
                return False
            self.error = refusal(code, self._options().describe(), why)
            self._set(self._after(code))
        return True

    def lost(self, error: Exception | None, code: int, reason: str | None = None) -> bool:
        """Take note that the connection ended by itself; True if it had been accepted before."""
        with self._changed:
            was = self.state
            if was not in (State.OPENING, State.CONNECTED) or self._closing.is_set():
                return False
            where = self._options().describe()
            if code >= reasons.UNSPECIFIED_ERROR:
                why = _reason(code, reason)
            else:
                why = f"{type(error).__name__}: {error}" if error else "the broker closed it"
            before = "" if was is State.CONNECTED else " before it was accepted"
            text = f"the connection to {where} ended{before}: {why}"
            self.error = ConnectError(text, reason_code=code or None)
            self.error.__cause__ = error
            self._set(self._after(code))
            if was is State.CONNECTED:
                self._supervise()
        if code == reasons.SESSION_TAKEN_OVER:
            log.error(
                "%s: another client has connected with the same client_id; not reconnecting", self._name
            )
        else:
            log.warning("%s: %s", self._name, self.error)
        return was is State.CONNECTED

    def wait(self, timeout: float) -> None:
        """Block until the broker has accepted.

        Raises AuthError or ConnectError as soon as it refuses or the connection ends, and
        ConnectTimeoutError after ``timeout`` seconds.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: self.state is not State.OPENING, timeout)
            if self.state is State.CONNECTED:
                return
            if self.error is not None:
                raise self.error
            if done:
                raise ConnectError(f"the client {self._name!r} is {self.state.value}")
            where = self._options().describe()
            raise ConnectTimeoutError(f"{where} did not answer CONNECT within {timeout} s")

    def begin_close(self) -> bool:
        """Start to close: no further attempt is made. False if there is nothing to close."""
        with self._changed:
            if self.state is State.CLOSED or self._closing.is_set():
                return False
            self._closing.set()
            self._changed.notify_all()
            return True

    def finish_close(self) -> None:
        """Release the connection; on return no attempt runs and nothing is left of the last one."""
        with self._opening, self._changed:  # a supervisor is entered and started while these are held
            deliberate = self.state is State.CONNECTED
            supervisor = self._supervisor
        if supervisor is not None and supervisor is not threading.current_thread():
            supervisor.join()  # it is bounded: an attempt by connect_timeout, the rest by _closing
        self._release(deliberate)
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

    def _after(self, code: int = 0) -> State:
        """What follows a connection that ended, or did not come about, with this reason code."""
        return State.STOPPED if code in FINAL or not self._options().reconnect else State.WAITING

    def _supervise(self) -> None:
        previous = self._supervisor
        self._supervisor = threading.Thread(
            target=self._look_after, args=(previous,), name=f"juham-{self._name}-connection", daemon=True
        )
        self._supervisor.start()

    def _look_after(self, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
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
                self._attempt()
            except Exception as exc:  # noqa: BLE001 - an attempt that fails is followed by the next one
                with self._changed:
                    self.error = exc if isinstance(exc, ConnectError) else ConnectError(str(exc))
                    if self.state is State.OPENING:
                        self._set(State.WAITING)
                log.warning("%s: %s", self._name, exc)

    def _failed(self) -> bool:
        """Wait for the verdict; True if there is no connection and none is being closed."""
        timeout = self._options().connect_timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.state is State.OPENING and not self._closing.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    where = self._options().describe()
                    self.error = ConnectTimeoutError(f"{where} did not answer CONNECT within {timeout} s")
                    log.warning("%s: %s", self._name, self.error)
                    self._set(self._after())
                    break
                self._changed.wait(left)
            return self.state in (State.WAITING, State.STOPPED) and not self._closing.is_set()

    def _delay(self) -> float:
        """Exponential, capped, with jitter: a thousand clients are not to come back at the same instant."""
        options = self._options()
        delay = min(options.reconnect_max, options.reconnect_min * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
