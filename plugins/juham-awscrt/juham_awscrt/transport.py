"""What lies under MQTT: the event loop, sockets, TLS and the websocket handshake."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awscrt import io

from juham_awscrt import descriptors
from juham_core.errors import NotSupportedError, OptionError
from juham_core.options import Options


class Loop:
    """An event loop of awscrt's: a native thread that Python does not see, and its resolver of host names.

    Each connection has one of its own, so that closing leaves nothing. The loops that awscrt would share by
    default stay until the process ends.
    """

    def __init__(self) -> None:
        group, self.epoll = descriptors.made_with_epoll(lambda: io.EventLoopGroup(1))
        self._ended: threading.Event = group.shutdown_event
        self.bootstrap: Any = io.ClientBootstrap(group, io.DefaultHostResolver(group))

    def close(self, timeout: float) -> bool:
        """End it once nothing uses it any more; False if that takes longer than ``timeout`` seconds."""
        self.release()
        return self._ended.wait(timeout)

    def release(self) -> None:
        """Have it end whenever nothing uses it any more."""
        self.bootstrap = None


def check_options(options: Options) -> None:
    """Raise NotSupportedError for what awscrt's sockets and TLS cannot do."""
    if options.tls and options.ssl_context is not None:
        raise NotSupportedError(
            "awscrt has a TLS of its own and cannot use an ssl.SSLContext: "
            "give the options ca_certs, certfile, keyfile and insecure"
        )
    if options.tls and options.keyfile_password is not None:
        raise NotSupportedError("awscrt cannot read an encrypted key: give a keyfile without a password")


def socket_options(options: Options) -> Any:
    """TCP, or the unix domain; TCP_NODELAY is not among what can be set."""
    made = io.SocketOptions()
    # A little less, so that its failure comes before the wait for it is over.
    made.connect_timeout_ms = max(1, int(options.connect_timeout * 900))
    if options.transport == "unix":
        made.domain = io.SocketDomain.Local
    return made


def tls_context(options: Options) -> Any:
    """The TLS context that the options describe, None without TLS; raises OptionError for unusable files."""
    if not options.tls or options.transport == "unix":
        return None
    try:
        if options.certfile is not None:
            made = io.TlsContextOptions.create_client_with_mtls(
                _parts_of(options.certfile, b"CERTIFICATE"),
                _parts_of(options.keyfile or options.certfile, b"PRIVATE KEY"),
            )
        else:
            made = io.TlsContextOptions()
        if options.ca_certs is not None:
            made.override_default_trust_store_from_path(None, options.ca_certs)
        made.verify_peer = not options.insecure
        return io.ClientTlsContext(made)
    except (OSError, RuntimeError) as exc:
        named = ", ".join(str(p) for p in (options.ca_certs, options.certfile, options.keyfile) if p)
        raise OptionError(f"cannot use the TLS files {named}: {exc}") from exc


def _parts_of(path: str, kind: bytes) -> bytes:
    """The parts of a PEM file that are of one kind: a file may hold certificate and key, a buffer not."""
    begin, end = rb"-----BEGIN [A-Z ]*" + kind + b"-----", rb"-----END [A-Z ]*" + kind + b"-----"
    return b"\n".join(re.findall(begin + b".*?" + end, Path(path).read_bytes(), re.DOTALL)) + b"\n"


def handshake(options: Options) -> Callable[[Any], None] | None:
    """What makes of awscrt's websocket request the one that the options describe; None without websockets."""
    if options.transport != "websockets":
        return None

    def transform(transform_args: Any) -> None:
        request = transform_args.http_request
        request.path = options.path
        for name, value in (options.ws_headers or {}).items():
            request.headers.set(name, value)
        transform_args.set_done()

    return transform
