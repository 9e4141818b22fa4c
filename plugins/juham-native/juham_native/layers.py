"""What may lie between MQTT and the socket, TLS and a websocket, each without I/O: bytes in, bytes out."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import Final
from typing import Protocol as Interface

from juham_core.options import Options
from juham_native.websocket import WebSocketLayer

_CHUNK: Final = 256 * 1024


class Layer(Interface):
    """Turns what we send into what goes over the wire, and back. Both directions may be used at once."""

    @property
    def ready(self) -> bool:
        """True once the layer's handshake is over."""

    def waiting(self) -> bytes:
        """What the layer itself wants to have sent now."""

    def sending(self, data: bytes) -> bytes:
        """What is to be sent for this, after what was waiting."""

    def received(self, data: bytes) -> bytes:
        """What came in this; OSError if the layer is at its end, and ssl.SSLError is one."""

    def closing(self) -> bytes:
        """What tells the peer that nothing more comes."""


class TlsLayer:
    """TLS over memory (``ssl.SSLObject``), which one thread at a time may enter."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self.ready = False
        self._lock = threading.Lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._unsent = b""
        self._shake_hands()

    def waiting(self) -> bytes:
        """What the layer itself wants to have sent now."""
        with self._lock:
            return self._outgoing.read()

    def sending(self, data: bytes) -> bytes:
        """What is to be sent for this, after what was waiting."""
        with self._lock:
            self._unsent += data
            self._write()
            return self._outgoing.read()

    def received(self, data: bytes) -> bytes:
        """What came in this; b"" while a record is incomplete."""
        with self._lock:
            self._incoming.write(data)
            if not self.ready and not self._shake_hands():
                return b""
            parts = []
            try:
                while part := self._tls.read(_CHUNK):
                    parts.append(part)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                if not parts:
                    raise
            if self._unsent:
                self._write()
        return b"".join(parts)

    def closing(self) -> bytes:
        """The alert that tells the peer that nothing more comes."""
        with self._lock:
            with contextlib.suppress(ssl.SSLError):  # the peer's answer is not waited for
                self._tls.unwrap()
            return self._outgoing.read()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.ready = True
        return True

    def _write(self) -> None:
        try:
            self._tls.write(self._unsent)
        except ssl.SSLWantReadError:
            return  # the peer wants new keys first: it goes out with what comes next
        self._unsent = b""


class Stack:
    """A layer over another one: a websocket over TLS."""

    def __init__(self, upper: Layer, lower: Layer) -> None:
        self._upper = upper
        self._lower = lower

    @property
    def ready(self) -> bool:
        """True once both handshakes are over."""
        return self._lower.ready and self._upper.ready

    def waiting(self) -> bytes:
        """What the layers themselves want to have sent now."""
        if not self._lower.ready:
            return self._lower.waiting()
        data = self._upper.waiting()
        return self._lower.sending(data) if data else self._lower.waiting()

    def sending(self, data: bytes) -> bytes:
        """What is to be sent for this, after what was waiting."""
        return self._lower.sending(self._upper.sending(data))

    def received(self, data: bytes) -> bytes:
        """What came in this."""
        plain = self._lower.received(data)
        return self._upper.received(plain) if plain else b""

    def closing(self) -> bytes:
        """What tells the peer that nothing more comes."""
        data = self._upper.closing()
        return (self._lower.sending(data) if data else b"") + self._lower.closing()


def make_layer(options: Options) -> Layer | None:
    """The layers that these options ask for; None for a bare socket. Raises OptionError and ssl.SSLError."""
    context = options.make_ssl_context() if options.transport in ("tcp", "websockets") else None
    tls = TlsLayer(context, options.host) if context is not None else None
    if options.transport != "websockets":
        return tls
    websocket = WebSocketLayer(options)
    return Stack(websocket, tls) if tls is not None else websocket
