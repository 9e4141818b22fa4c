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
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import awscrt
from awscrt import mqtt5

from juham_awscrt import threads
from juham_awscrt.configuring import client_options, receive_maximum
from juham_awscrt.direct import messages_for
from juham_awscrt.messages import QOS
from juham_awscrt.reporter import Collected, Reporter
from juham_awscrt.reports import Reports
from juham_awscrt.transport import Loop
from juham_awscrt.verdicts import is_over, plain, transport_stood
from juham_core.errors import (
    ConnectError,
    ConnectTimeoutError,
    JuhamError,
    NotConnectedError,
    PublishError,
    QueueFullError,
)
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.verdicts import unreachable
from juham_core.wire.packets import Subscription
from juham_core.wire.properties import Properties

if TYPE_CHECKING:
    from juham_awscrt.backend import JAwsCrt

log = logging.getLogger("juham.awscrt")

STOP_TIMEOUT: Final = 2.0
"""Seconds for the library to end a connection, and then its event loop; each takes milliseconds."""
LOOK: Final = 0.02
"""Seconds between two looks for sockets that hang."""
PUBACK_GRACE: Final = 0.02
"""Seconds for PUBACKs to go out before DISCONNECT overtakes them: awscrt does not tell when they have."""
LITTLE: Final = 500
"""PUBACKs that are not worth a look whether the network takes them."""
MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that messages of QoS 0 may take before they are on the wire; awscrt itself has no bound."""
BURST: Final = 0.00005
"""Seconds: a message that comes so soon after the last ones were passed on has others behind it."""
MOST_ARRIVED: Final = 100
"""Messages that may have come and not been reported, of which no bound knows yet; streams seldom reach it."""
OVERHEAD: Final = 2_500
"""What awscrt keeps of each of them beside its payload, as measured: a future, packets in C and in Python."""


class Link:
    """One attempt to connect, and the connection if it succeeds."""

    def __init__(self, backend: JAwsCrt, options: Options) -> None:
        self.backend = backend
        self.options = options
        self.client: Any = None
        self._loop = Loop()
        self._reporter = Reporter(backend.name)
        self._up = False
        self._reports = Reports(self)
        self._begun = threading.Event()
        self._verdict = threading.Event()
        self._stopped = threading.Event()
        self._paused = threading.Event()
        self._gate = threading.Event()
        self.accepted = self.resumed = False
        self.complete = True
        """True while awscrt has all that JMqtt takes to be in flight."""
        self._error: Exception | None = None
        self._keys = itertools.count(1)
        self._unacknowledged: dict[int, Any] = {}
        self._last_puback = 0.0
        self._messages = messages_for(awscrt.__version__)
        self._loop_thread: int | None = None
        self._owed = 0  # PUBACKs, since the network was last seen to take what is sent
        self._window = receive_maximum(options)
        self._most_owed = max(LITTLE, self._window)
        self._handling = 0
        self._held: deque[tuple[Callable[[], None], Callable[[JuhamError], None]]] = deque()
        self._pubacks: Collected[int] = Collected(self._reporter, self._reports.acknowledged)
        self._arrived: Collected[MqttMsg] = Collected(self._reporter, self._reports.received_many, BURST)
        self._delivery = backend._delivery
        self._dispatcher = self._delivery._dispatcher
        self._inline = self._delivery._inline
        self._unsent = 0
        self._sent = threading.Condition()

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
            if self._loop.connected() and plain(self.options):
                return True
            if time.monotonic() >= deadline:
                return False
            pause = min(2 * pause, 0.05)
        self._loop.connected()
        return True

    def _start(self) -> None:
        try:
            self.client = self._messages.make_client(client_options(self, self.options, self._loop), self)
        except RuntimeError as exc:
            raise ConnectError(f"awscrt does not take the options: {exc}") from exc
        self.client.start()
        self._begun.wait(STOP_TIMEOUT)  # stopped before it has begun, awscrt would not tell that it has

    def _go_on(self) -> None:
        """After :meth:`pause`: have awscrt make its next attempt."""
        self.resumed = True
        self._error = None
        self._verdict.clear()
        self._reports.muted = False
        self._paused.clear()
        self._gate.set()

    def pause(self) -> bool:
        """End the connection, but for the session: what is in flight will be sent again, with DUP.

        Stopped, awscrt would forget it. False if there is nothing to be kept, or not all of it is there.
        """
        if self.options.clean_start or not self.accepted:
            return False
        self._up = False
        self._reports.muted = True
        deadline = time.monotonic() + STOP_TIMEOUT
        while not self._paused.wait(LOOK):
            self._loop.shut_down()
            if time.monotonic() > deadline or self._stopped.is_set():
                return False
        reported = threading.Event()
        self._reporter.put(reported.set)
        reported.wait(STOP_TIMEOUT)
        self._unacknowledged.clear()
        return self.complete and not self._held

    def _give_up(self) -> None:
        """End the wait of :meth:`open`; on any thread."""
        self._loop.shut_down()
        self._verdict.set()

    def close(self, deliberate: bool) -> None:
        """End the connection and wait until nothing of it is left."""
        if deliberate:
            self._finish()
        was_up, self._up = self._up, False
        self._reports.muted = True
        client, self.client = self.client, None
        if client is not None:
            # Without a packet to send awscrt just closes the socket.
            client.stop(mqtt5.DisconnectPacket() if deliberate else None)
            self._gate.set()
            stopped = self._await_stop(hurry=not was_up)
            del client  # not before: awscrt may still be calling on its behalf
            self._await_end(stopped)
        else:
            self._loop.close(STOP_TIMEOUT)
        self._reporter.close()

    def _await_stop(self, *, hurry: bool) -> bool:
        """Wait until awscrt has stopped; ``hurry``: what hangs is ended, be its socket made only now."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            if hurry:
                self._loop.shut_down()
            if self._stopped.wait(LOOK):
                return True
        return False

    def _await_end(self, stopped: bool) -> None:
        name = self.backend.name
        if not stopped:
            # s2n, its TLS, makes whoever failed a handshake wait, and the socket with it.
            log.warning("%s: awscrt takes up to 30 s to end a connection whose TLS has failed", name)
            self._loop.release()
        elif not self._loop.close(STOP_TIMEOUT):
            log.warning("%s: a thread of awscrt stays while something holds client.native", name)

    def _finish(self) -> None:
        """Let go out what awscrt would drop: it puts DISCONNECT before all that waits.

        That is QoS 0, and the acknowledgements of messages whose handlers have not run yet.
        """
        bound = self.options.close_timeout / 2
        delivery = self.backend._delivery
        if delivery._dispatcher.running and not delivery.inside_handler:
            handled = threading.Event()
            self._reporter.put(delivery.after, handled.set)
            handled.wait(bound)
        with self._sent:
            self._sent.wait_for(lambda: not self._unsent or not self._up, bound)
        if time.monotonic() - self._last_puback < PUBACK_GRACE:
            self._stopped.wait(PUBACK_GRACE)

    # --- what goes out ------------------------------------------------------------------------------

    def publish(self, message: MqttMsg) -> int:
        """Hand over a message."""
        if self.client is None or not self._up:
            raise NotConnectedError("the connection has ended")
        key = 0
        if message.qos:
            key = next(self._keys)
        else:
            with self._sent:
                if self._unsent >= MAX_UNSENT:
                    raise QueueFullError(
                        f"awscrt has not sent what takes {self._unsent:,} bytes of memory: "
                        "the message was not accepted; publish slower"
                    )
                self._unsent += len(message.payload) + OVERHEAD
        if self._has_to_wait():
            self._wait_in_line(
                partial(self._pass_on, key, message), partial(self._reports.not_passed_on, key)
            )
        else:
            self._pass_on(key, message)
        return key

    def _has_to_wait(self) -> bool:
        """True where awscrt must not be told at once.

        What it is told on its own thread it prefers to what others have told it before.
        """
        return bool(self._held) or threading.get_ident() == self._loop_thread

    def _wait_in_line(self, call: Callable[[], None], failed: Callable[[JuhamError], None]) -> None:
        self._held.append((call, failed))
        self._reporter.put(self._pass_on_held)

    def _pass_on_held(self) -> None:
        """Tell awscrt what it was to be told on its own thread, and what has come after that."""
        held = self._held
        while held:
            call, failed = held[0]
            try:
                call()
            except JuhamError as exc:
                failed(exc)
            held.popleft()  # only now: until then it keeps others from overtaking it

    def _pass_on(self, key: int, message: MqttMsg) -> None:
        client, size = self.client, len(message.payload) + OVERHEAD
        answered = partial(self._on_puback, key) if key else partial(self._on_sent, size)
        try:
            self._messages.publish(client, message, answered)
        except Exception as exc:
            if not key:
                self._one_sent(size)
            if client is None:
                raise NotConnectedError("the connection has ended") from exc
            raise PublishError(f"awscrt does not publish: {exc}") from exc

    def subscribe(self, subscriptions: list[Subscription]) -> int:
        """Send one SUBSCRIBE."""
        packet = mqtt5.SubscribePacket(
            [
                mqtt5.Subscription(
                    one.topic_filter,
                    QOS[one.qos],
                    one.no_local,
                    one.retain_as_published,
                    mqtt5.RetainHandlingType(one.retain_handling),
                )
                for one in subscriptions
            ],
            subscriptions[0].identifier or None,
        )
        return self._hand_over("subscribe", packet, partial(self._reports.subscribed, len(subscriptions)))

    def unsubscribe(self, topic_filters: list[str]) -> int:
        """Send one UNSUBSCRIBE."""
        packet = mqtt5.UnsubscribePacket(topic_filters)
        return self._hand_over("unsubscribe", packet, self._reports.unsubscribed)

    def acknowledge(self, mid: int) -> None:
        """Send PUBACK, if that can still be; if not, the broker will send the message again."""
        if mid == self._handling and threading.get_ident() == self._loop_thread:
            self._handling = 0  # awscrt does so, as soon as it knows that the message is taken
            return
        handle = self._unacknowledged.pop(mid, None)
        client = self.client
        if handle is not None and client is not None and self._up:
            self._last_puback = time.monotonic()
            try:
                self._messages.acknowledge(client, handle)
            except RuntimeError as exc:
                log.warning("%s: message %d was not acknowledged: %s", self.backend.name, mid, exc)

    def _hand_over(self, what: str, packet: Any, report: Callable[[int, Future[Any]], None]) -> int:
        """Make a request; its answer will be reported with the key that this returns."""
        key = next(self._keys)
        call = partial(self._request, what, packet, partial(self._reporter.put, report, key))
        if self._has_to_wait():
            self._wait_in_line(call, lambda exc: report(key, _failed(exc)))
        else:
            call()
        return key

    def _request(self, what: str, packet: Any, answered: Callable[[Future[Any]], None]) -> None:
        self._call(what, packet).add_done_callback(answered)

    def _call(self, what: str, packet: Any) -> Future[Any]:
        """Call the client's method; whatever error of the library that raises is translated here."""
        client = self.client
        if client is None or not self._up:
            raise NotConnectedError("the connection has ended")
        try:
            answer: Future[Any] = getattr(client, what)(packet)
        except Exception as exc:
            raise PublishError(f"awscrt does not {what}: {exc}") from exc
        return answer

    # --- what happens, on the event loop's thread ----------------------------------------------------

    def on_attempt(self, _data: Any) -> None:
        """Take note that awscrt has begun."""
        self._begun.set()

    def on_accepted(self, data: Any) -> None:
        """Take a CONNACK that accepts."""
        self._loop_thread = threading.get_ident()
        self._up = self.accepted = True
        self._reporter.put(self._reports.accepted, data.connack_packet)
        self._reporter.put(self._verdict.set)

    def on_failure(self, data: Any) -> None:
        """Take a CONNACK that refuses, or the end of the attempt for another reason."""
        connack, error = data.connack_packet, data.exception
        pauses = self._may_pause(error, connack)
        if connack is not None:
            self._reporter.put(self._reports.refused, connack)
        elif self._verdict.is_set() or transport_stood(error, self.options):
            self._reporter.put(self._reports.lost, error, None)
        else:
            self._error = error
        self._reporter.put(self._verdict.set)
        if pauses:
            self._wait_at_gate()

    def on_disconnection(self, data: Any) -> None:
        """Take the end of a connection that stood, for whatever reason."""
        self._up = False
        pauses = self._may_pause(data.exception, data.disconnect_packet)
        with self._sent:
            self._sent.notify_all()
        self._reporter.put(self._reports.lost, data.exception, data.disconnect_packet)
        if pauses:
            self._wait_at_gate()

    def _may_pause(self, error: Exception, packet: Any) -> bool:
        """Keep awscrt from trying again by itself: stop it, unless it has to remember what is in flight."""
        keeps = self.accepted and not self.options.clean_start
        pauses = keeps and packet is None and is_over(error)
        if pauses:
            self._paused.set()
        else:
            self._stop_client()
        return pauses

    def _wait_at_gate(self) -> None:
        """Keep the event loop from going on until it is time; without a connection it has nothing to do."""
        self._gate.wait()
        self._gate.clear()

    def received(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None, handle: Any
    ) -> bool:
        """Take a message and its handle for PUBACK; False if it is handled, and PUBACK may go."""
        mid = 0
        if handle is not None:
            mid = next(self._keys)
            self._unacknowledged[mid] = handle
            self._owed += 1
            if self._owed >= self._most_owed:
                self._wait_for_reader()
            if len(self._unacknowledged) > self._window or self._delivery.overweight:
                self._wait_for_handlers()
        if len(self._arrived.things) >= MOST_ARRIVED:
            self._wait_for_reporter()
        if not self._inline or not self._reporter.idle:  # what came before is still to be reported
            self._arrived.add(MqttMsg(topic, payload, qos, retain, False, mid, properties))
            return True
        self._handling = mid
        try:
            self._reports.received(topic, payload, qos, retain, mid, properties)
        except Exception:  # there is nobody above who could catch it
            log.exception("%s: cannot take a message", self.backend.name)
        if not mid or self._handling:
            self._handling = 0
            return True
        del self._unacknowledged[mid]
        self._last_puback = time.monotonic()
        return False

    def _wait_for_handlers(self) -> None:
        """Read no further than handlers keep up, where the broker sends more than CONNECT has allowed.

        Until they have, neither pings nor anything else can be sent.
        """
        delivery, arrived, dispatcher = self._delivery, self._arrived.things, self._dispatcher

        def has_room() -> bool:
            waiting = dispatcher.waiting + len(arrived)
            return waiting < delivery.limit and not delivery.overweight

        while not self._is_closing() and not has_room():
            self._wait_for_reporter()
            dispatcher.wait_for_room(has_room, self._is_closing)

    def _wait_for_reporter(self) -> None:
        """Let what has arrived be reported first: a hook may be slow."""
        while self._arrived.things and not self._is_closing():
            reported = threading.Event()
            self._reporter.put(reported.set)
            reported.wait(LOOK)

    def _wait_for_reader(self) -> None:
        """Read no further while the broker reads nothing: awscrt keeps all the PUBACKs that it is owed.

        Nor are there pings meanwhile, so this has to end the connection of one that never does.
        """
        patience = 1.5 * self.options.keepalive or float("inf")
        given_up = time.monotonic() + patience
        while not self._is_closing() and not self._loop.writable(LOOK):
            if time.monotonic() > given_up:
                error = TimeoutError(f"the broker has read nothing for {patience:g} s")
                self._reporter.put(self._reports.lost, error, None)
                given_up = float("inf")
        self._owed = 0

    def _is_closing(self) -> bool:
        return self._reports.muted or self.backend._connection.closing

    def on_stopped(self, _data: Any) -> None:
        """Take note that nothing follows any more."""
        threads.forget_this_thread()
        self._stopped.set()

    def _on_sent(self, size: int, error_code: int, *_nothing: Any) -> None:
        if error_code and not self._reports.muted:
            self.backend._statistics.dropped["not sent"] += 1
        self._one_sent(size)

    def _on_puback(self, key: int, error_code: int, _qos: int, code: Any, reason: Any, pairs: Any) -> None:
        if error_code or code or reason is not None or pairs:
            self._reporter.put(self._reports.answered, key, error_code, code, reason, pairs)
            return
        self._pubacks.add(key)

    def _one_sent(self, size: int) -> None:
        with self._sent:
            self._unsent -= size
            if not self._unsent:
                self._sent.notify_all()

    def _stop_client(self) -> None:
        """Keep awscrt from trying again by itself."""
        client = self.client
        if client is not None:
            client.stop()


def _failed(error: JuhamError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
