"""One connection of one client, by an ``awscrt.mqtt5.Client``, and the next one in the same session.

The library reconnects by itself and JMqtt does so better: hence a client for each attempt, stopped at the
first failure. But stopped it forgets what is in flight. So where a session is to be kept its event loop waits
in the callback that tells of the failure until JMqtt makes the next attempt. The callbacks (the methods
``on_...``) come on the thread of that event loop; there the state is brought up to date, and the rest is left
to :class:`~juham_awscrt.reports.Reports` on another thread.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import awscrt
from awscrt import mqtt5

from juham_awscrt import malformed, threads
from juham_awscrt.configuring import client_options
from juham_awscrt.descriptors import LOOK, connected, shut_down
from juham_awscrt.direct import messages_for
from juham_awscrt.incoming import Incoming
from juham_awscrt.limit import PacketLimit
from juham_awscrt.reporter import Reporter
from juham_awscrt.reports import Reports
from juham_awscrt.sending import Sending
from juham_awscrt.transport import Loop
from juham_awscrt.verdicts import is_over, plain, transport_stood
from juham_core.errors import ConnectError, ConnectTimeoutError
from juham_core.locks import Event
from juham_core.options import Options
from juham_core.verdicts import unreachable

if TYPE_CHECKING:
    from juham_awscrt.backend import JAwsCrt

log = logging.getLogger("juham.awscrt")

STOP_TIMEOUT: Final = 2.0
"""Seconds for the library to end a connection, and then its event loop; each takes milliseconds."""
PUBACK_GRACE: Final = 0.02
"""Seconds for PUBACKs to go out before DISCONNECT overtakes them: awscrt does not tell when they have."""


class Link:
    """One attempt to connect, and the connection if it succeeds."""

    def __init__(self, backend: JAwsCrt, options: Options) -> None:
        self.backend = backend
        self.options = options
        self.client: Any = None
        self.loop = Loop()
        self.reporter = Reporter(backend.name)
        self.up = False
        self._known: int | None = None
        self.reports = Reports(self)
        self._begun = Event()
        self._verdict = Event()
        self._stopped = Event()
        self._paused = Event()
        self._gate = Event()
        self.accepted = self.resumed = False
        self.complete = True
        """True while awscrt has all that JMqtt takes to be in flight."""
        self._error: Exception | None = None
        self._broken_off: Exception | None = None
        self.keys = itertools.count(1)
        self.messages = messages_for(awscrt.__version__)
        self.loop_thread: int | None = None
        self.task: int | None = None
        """By which number the system knows the event loop's thread."""
        self.limit = PacketLimit(self)
        self.incoming = Incoming(self)
        self.sending = Sending(self)
        self.received = self.incoming.received

    # --- beginning and end --------------------------------------------------------------------------

    def open(self, deadline: float) -> None:
        """Start to connect, and wait until CONNECT is on its way, for as long as ``deadline`` (monotonic).

        That is so once a plain socket is connected. What TLS and websockets send before it awscrt does not
        tell: there only the verdict shows it, as it does where the socket cannot be seen.
        """
        attempt = self.backend._dialling
        attempt.is_ended_by(self._give_up)
        if self.client is None:
            self._start()
        else:
            self._go_on()
        self._begun.wait(STOP_TIMEOUT)  # stopped before it has begun, awscrt would not tell that it has
        where = self.options.describe()
        under_way = self._under_way(deadline)
        attempt.check()
        if not under_way and not plain(self.options):
            hint = "; awscrt tells only later that it refuses a certificate: check ca_certs and the host name"
            raise ConnectTimeoutError(
                f"no connection to {where} within {self.options.connect_timeout} s"
                f"{hint if self.options.tls else ''}"
            )
        self._verdict.set()
        if self._error is not None:
            raise unreachable(self._error, self.options) from self._error

    def _under_way(self, deadline: float) -> bool:
        """Wait for the verdict or a connected socket; False if that took too long.

        Past that, a plain socket that cannot be seen is connected too: or its own timeout had struck.
        """
        pause = 0.001
        while not self._verdict.wait(pause):
            if connected(self.loop.epoll) and self.limit.watch() and plain(self.options):
                return True
            if time.monotonic() >= deadline:
                return False
            pause = min(2 * pause, 0.05)
        connected(self.loop.epoll)
        return True

    def _start(self) -> None:
        self.reporter.begin()
        try:
            self.client = self.messages.make_client(client_options(self, self.options, self.loop), self)
        except RuntimeError as exc:
            raise ConnectError(f"awscrt does not take the options: {exc}") from exc
        self.client.start()

    def _go_on(self) -> None:
        """After :meth:`pause`: have awscrt make its next attempt."""
        self.resumed = True
        self._error = None
        self._verdict.clear()
        self.reports.muted = False
        self._paused.clear()
        self._begun.clear()
        self._gate.set()

    def pause(self) -> bool:
        """End the connection, but for the session: what is in flight will be sent again, with DUP.

        Stopped, awscrt would forget it. False if there is nothing to be kept, or not all of it is there.
        """
        if self.options.clean_start or not self.accepted:
            return False
        self.up = False
        self.reports.muted = True
        self.limit.end()
        deadline = time.monotonic() + STOP_TIMEOUT
        while not self._paused.wait(LOOK):
            shut_down(self.loop.epoll)
            if time.monotonic() > deadline or self._stopped.is_set():
                return False
        reported = Event()
        self.reporter.put(reported.set)
        reported.wait(STOP_TIMEOUT)
        self.incoming.forget()
        return self.complete and not self.sending.held

    def _give_up(self) -> None:
        """End the wait of :meth:`open`; on any thread."""
        shut_down(self.loop.epoll)
        self._verdict.set()

    def close(self, deliberate: bool) -> None:
        """End the connection and wait until nothing of it is left."""
        if deliberate:
            self._finish()
        was_up, self.up = self.up, False
        self.reports.muted = True
        client, self.client = self.client, None
        self.limit.end()
        if client is not None:
            # Without a packet to send awscrt just closes the socket.
            client.stop(mqtt5.DisconnectPacket() if deliberate else None)
            self._gate.set()
            stopped = self._await_stop(hurry=not was_up)
            del client  # not before: awscrt may still be calling on its behalf
            self._await_end(stopped)
        else:
            self.loop.close(STOP_TIMEOUT)
        self.reporter.close()

    def _await_stop(self, *, hurry: bool) -> bool:
        """Wait until awscrt has stopped; ``hurry``: what hangs is ended, be its socket made only now."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            if hurry:
                shut_down(self.loop.epoll)
            if self._stopped.wait(LOOK):
                return True
        return False

    def _await_end(self, stopped: bool) -> None:
        name = self.backend.name
        if not stopped:
            # s2n, its TLS, makes whoever failed a handshake wait, and the socket with it.
            log.warning("%s: awscrt takes up to 30 s to end a connection whose TLS has failed", name)
            self.loop.release()
        elif not self.loop.close(STOP_TIMEOUT):
            log.warning("%s: a thread of awscrt stays while something holds client.native", name)

    def _finish(self) -> None:
        """Let go out what awscrt would drop: it puts DISCONNECT before all that waits.

        That is QoS 0, and the acknowledgements of messages whose handlers have not run yet.
        """
        bound = self.options.close_timeout / 2
        delivery = self.backend._delivery
        if delivery._dispatcher.running and not delivery.inside_handler:
            handled = Event()
            self.reporter.put(delivery.after, handled.set)
            handled.wait(bound)
        self.sending.flush(bound)
        if time.monotonic() - self.incoming.last_puback < PUBACK_GRACE:
            self._stopped.wait(PUBACK_GRACE)

    # --- what happens, on the event loop's thread ----------------------------------------------------

    def on_attempt(self, _data: Any) -> None:
        """Take note that awscrt has begun."""
        if self._known is None:
            self._known = threads.stay_known()
            self.task = threading.get_native_id()
        self._begun.set()

    def on_accepted(self, data: Any) -> None:
        """Take a CONNACK that accepts."""
        self.loop_thread = threading.get_ident()
        self.up = self.accepted = True
        self.limit.heard = True
        self.limit.watch()
        malformed.listen(self.lose)
        self.reporter.put(self.reports.answer_to_connect, data.connack_packet)
        self.reporter.put(self._verdict.set)

    def on_failure(self, data: Any) -> None:
        """Take a CONNACK that refuses, or the end of the attempt for another reason."""
        connack, error = data.connack_packet, data.exception
        pauses = self._may_pause(error)
        if connack is not None:
            self.reporter.put(self.reports.answer_to_connect, connack)
        elif self._verdict.is_set() or transport_stood(error, self.options):
            self.reporter.put(self.reports.lost, self._broken_off or error, None)
        else:
            self._error = self._broken_off or error
        self.reporter.put(self._verdict.set)
        if pauses:
            self._wait_at_gate()

    def on_disconnection(self, data: Any) -> None:
        """Take the end of a connection that stood, for whatever reason."""
        self.up = False
        pauses = self._may_pause(data.exception)
        self.sending.stop()
        self.reporter.put(self.reports.lost, data.exception, data.disconnect_packet)
        if pauses:
            self._wait_at_gate()

    def _may_pause(self, error: Exception) -> bool:
        """Keep awscrt from trying again by itself: stop it, unless it has to remember what is in flight."""
        keeps = self.accepted and not self.options.clean_start
        pauses = keeps and (is_over(error) or self.loop.epoll is not None)
        if pauses:
            shut_down(self.loop.epoll)  # awscrt itself ends what it has given up only when it goes on
            self._paused.set()
        else:
            self._stop_client()
        return pauses

    def _wait_at_gate(self) -> None:
        """Keep the event loop from going on until it is time; without a connection it has nothing to do."""
        self._gate.wait()
        self._gate.clear()

    def lose(self, error: Exception) -> None:
        """Report that the connection is not to go on."""
        self.reporter.put(self.reports.lost, error, None)

    def break_off(self, error: Exception) -> None:
        """Report that the connection is not to go on, nor anything of it: no session is kept in awscrt."""
        self.complete = False
        self._broken_off = error
        if self._verdict.is_set():  # else the attempt fails
            self.lose(error)

    def is_closing(self) -> bool:
        """True once nothing is to be waited for any more."""
        return self.reports.muted or self.backend._connection.closing

    def on_stopped(self, _data: Any) -> None:
        """Take note that nothing follows any more."""
        malformed.ignore()
        threads.forget_this_thread()
        if self._known is not None:
            threads.be_forgotten(self._known)
        self._stopped.set()

    def _stop_client(self) -> None:
        """Keep awscrt from trying again by itself."""
        client = self.client
        if client is not None:
            client.stop()
