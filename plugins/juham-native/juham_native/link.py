"""One connection to a broker: what is sent, gathered and bounded, what is received, and who is still there.

The two kinds of link, :mod:`~juham_native.threaded` and :mod:`~juham_native.looped`, add where it lives.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from juham_core.dial import Attempt, dial, dial_unix
from juham_core.errors import (
    ConnectTimeoutError,
    MalformedPacketError,
    NotConnectedError,
    QueueFullError,
)
from juham_core.options import Options
from juham_core.wire import MQTT_5, Pingreq, encode
from juham_native.layers import Layer, make_layer
from juham_native.protocol import Client, MqttProtocol
from juham_native.session import Session

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for the network before QoS 0 is refused; QoS 1 and 2 have their window."""
READ: Final = 64 * 1024
"""Bytes that are read at once."""
FAREWELL: Final = 0.5
"""Seconds a broker has to close the connection after DISCONNECT, before we do."""
PONGS: Final = 4096
"""Bytes that a websocket may want to have sent by itself."""
_OVERHEAD: Final = 64
"""What a waiting packet costs beside its bytes, roughly."""
_PING: Final = encode(Pingreq())

log = logging.getLogger("juham.native")


class Link(ABC):
    """What is sent goes out in order, from any thread; what is received is reported by the link's own thread.

    ``lost`` is called once if the connection ends by itself, and nothing once :meth:`close` has been called.
    """

    def __init__(
        self,
        options: Options,
        session: Session,
        client: Client,
        lost: Callable[[Exception | None], None],
        attempt: Attempt,
    ) -> None:
        self.options = options
        self._attempt = attempt
        self.session = session
        self.protocol = MqttProtocol(options, session, client, self.send)
        self._client = client
        self._held = False  # nothing is read until the handlers have caught up
        self._lost = lost
        self._layer: Layer | None = None
        self._lock = threading.Lock()  # guards what goes out
        self._packages: list[bytes] = []
        self._layered: list[bytes] = []  # what the layer itself wants to have sent before those
        self._unsent = 0
        self._owed = 0  # of these, bytes of answers
        self._most_owed = options.most_answer_bytes + PONGS
        self._flush_is_due = False  # somebody is going to flush: nobody needs to be told
        self._closed = False
        self._ended = False
        self._last_sent = self._last_received = time.monotonic()
        self._pinged = 0.0  # when a ping was sent that nothing has answered yet

    # --- opening and closing ------------------------------------------------------------------------

    def open(self) -> None:
        """Connect; return once TLS and the websocket stand and CONNECT is on its way. Raises OSError."""
        options = self.options
        deadline = time.monotonic() + options.connect_timeout
        self._layer = make_layer(options)
        if options.transport == "unix":
            sock = dial_unix(options.host, deadline, self._attempt)
        else:
            sock = dial(options.host, options.effective_port, options.bind_address, deadline, self._attempt)
        try:
            if sock.family != getattr(socket, "AF_UNIX", None):
                # Without it QoS 1 one at a time waits for delayed acknowledgements; we gather ourselves.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            early = self._shake_hands(sock, self._layer, deadline) if self._layer is not None else b""
            self._attempt.check()
            self._begin(sock, early, deadline)
        except BaseException:
            self._attempt.over()
            sock.close()
            raise

    def _shake_hands(self, sock: socket.socket, layer: Layer, deadline: float) -> bytes:
        """Bring the layers up; return what came after that."""
        plain = b""
        try:
            while True:
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                sock.sendall(layer.waiting())
                if layer.ready:
                    break
                data = sock.recv(READ)
                if not data:
                    raise ConnectionResetError("the connection was closed in the handshake")
                plain += layer.received(data)
        except TimeoutError as exc:
            where = self.options.describe()
            raise ConnectTimeoutError(f"the handshake with {where} was not finished in time") from exc
        sock.setblocking(False)
        return plain

    @abstractmethod
    def _begin(self, sock: socket.socket, early: bytes, deadline: float) -> None:
        """Send CONNECT, and report what comes from now on, beginning with ``early``."""

    @abstractmethod
    def close(self, deliberate: bool) -> None:
        """End the connection and all that belongs to it. ``deliberate``: send what waits, then DISCONNECT."""

    # --- sending ------------------------------------------------------------------------------------

    def send(self, package: bytes, bounded: bool = False, answer: bool = False) -> None:
        """Have a packet sent, after those that were handed over before; from any thread.

        ``answer``: it is one that the broker is owed; while too many of them wait, nothing is read.
        Raises NotConnectedError, and QueueFullError if too much waits already and ``bounded`` is set.
        """
        with self._lock:
            if self._closed:
                raise NotConnectedError("the connection to the broker has ended")
            if bounded and self._unsent > MAX_UNSENT:
                raise QueueFullError(
                    f"{self._unsent:,} bytes wait for the network: "
                    "the message was not accepted; publish slower"
                )
            self._packages.append(package)
            self._unsent += len(package) + _OVERHEAD
            if answer:
                self._owed += len(package)
            if self._flush_is_due or self._flush_at_once():
                return
            self._flush_is_due = True
        self._wake()

    @property
    def _owes_too_much(self) -> bool:
        """True if more answers wait than any broker can want that keeps to MQTT, and reads.

        Reading on would let them grow for as long as it sends. It has no excuse for silence, either, as the
        handlers' being slow is one: see :meth:`_mind_the_clock`.
        """
        return self._owed > self._most_owed

    @abstractmethod
    def push(self) -> None:
        """On the link's own thread: send what waits, if others would go on meanwhile."""

    @abstractmethod
    def _flush_at_once(self) -> bool:
        """With the lock held: send what waits right now, if that is wise; False if it is to be done soon."""

    @abstractmethod
    def _wake(self) -> None:
        """Have the link's own thread flush, soon."""

    def _close_outgoing(self, deliberate: bool) -> None:
        """Take nothing more; with ``deliberate``, DISCONNECT is the last."""
        with self._lock:
            if deliberate and not self._closed:
                self._packages.append(self.protocol.disconnect())
            self._closed = True

    def _take(self) -> bytes:
        """With the lock held: all that waits, as the wire gets it."""
        packages = self._packages
        data = packages[0] if len(packages) == 1 else b"".join(packages)
        self._packages = []
        self._owed = 0
        if self._layer is not None:
            data = self._layer.sending(data) if data else self._layer.waiting()
            if self._layered:
                data = b"".join((*self._layered, data))
                self._layered = []
        return data

    # --- receiving, on the link's own thread --------------------------------------------------------

    def _arrived(self, data: bytes, *, plain: bool = False) -> None:
        """Bytes have come; what is sent in answer is to be flushed afterwards. ``plain``: past the layer."""
        self._last_received = time.monotonic()
        self._pinged = 0.0
        with self._lock:
            self._flush_is_due = True
        try:
            if self._layer is not None and not plain:
                data = self._layer.received(data)
                self._count_the_layers_own(self._layer)
            self.protocol.receive(data)
        except (MalformedPacketError, OSError) as exc:
            self._end(exc)
        except Exception as exc:
            if self._ended:
                return  # nothing can be sent any more
            # Whoever failed: a connection that looks alive and is deaf would be worse than none.
            log.exception("a packet could not be dealt with; ending the connection")
            self._end(exc)
        if self.protocol.ended:
            self._end(None, report=False)
        elif not self._held and not self._ended and self._client._is_overfull():
            self._held = True
            self._pause_reading()
            self._client._after_handlers(self._go_on_reading)

    def _count_the_layers_own(self, layer: Layer) -> None:
        """A websocket answers pings by itself: to a broker that reads nothing, that is owed too."""
        with self._lock:
            answers = layer.waiting()
            if answers:
                self._layered.append(answers)
                self._owed += len(answers)

    def _go_on_reading(self) -> None:
        """The handlers have caught up; from any thread."""
        self._pinged = 0.0  # the answer lies among what was not read
        self._held = False
        self._resume_reading()

    @abstractmethod
    def _pause_reading(self) -> None:
        """Read nothing, so that the broker has to wait, until :meth:`_resume_reading`."""

    @abstractmethod
    def _resume_reading(self) -> None:
        """Read again; from any thread."""

    def _end(self, error: Exception | None, *, report: bool = True) -> None:
        """End the connection because of what came, or what did not."""
        if self._ended:
            return
        self._ended = True
        if isinstance(error, MalformedPacketError) and self.protocol.accepted:
            self._complain(error)
        with self._lock:
            self._closed = True
        self._cut()
        if report and not self._is_closing():
            self._lost(error)

    def _complain(self, error: MalformedPacketError) -> None:
        """Tell the broker why it is left, where the protocol has a word for it (MQTT 5 section 4.13)."""
        if self.options.protocol == MQTT_5:
            with self._lock:
                self._packages.append(self.protocol.disconnect(error.reason_code))

    @abstractmethod
    def _is_closing(self) -> bool:
        """True once :meth:`close` has been called."""

    @abstractmethod
    def _cut(self) -> None:
        """Send what can be sent at once, and close."""

    # --- keepalive, on the link's own thread --------------------------------------------------------

    def _mind_the_clock(self) -> float | None:
        """Send a ping if one is due, end the connection if one was not answered; return when to look again.

        In seconds from now; None for never. A ping is due when nothing was sent, or nothing has come, for
        three quarters of the keepalive (section 3.1.2.10), and is answered by whatever comes.
        """
        patience = self.protocol.keepalive * 0.75
        if not patience or self._ended:
            return None
        now = time.monotonic()
        if self._pinged:
            if now - self._pinged < patience:
                return self._pinged + patience - now
            if not self._held:  # else it may well have answered
                silent = now - self._last_received
                self._end(TimeoutError(f"the broker has been silent for {silent:.1f} s"))
                return None
        due = min(self._last_sent, self._last_received) + patience
        if now < due:
            return due - now
        if self.protocol.accepted:
            self._pinged = now
            try:
                self.send(_PING)
            except NotConnectedError:
                return None
        return patience
