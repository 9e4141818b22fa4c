"""The transport under paho's client: opened within the time allowed, and closed without losing a byte.

paho opens transports too, but leaves a socket behind where a handshake fails, and closes one with what the
broker has sent still unread: then the system resets the connection, and a DISCONNECT under way is lost.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, _WebsocketWrapper

from juham_core.dial import Attempt, dial, dial_unix
from juham_core.options import Options

LINGER = 1.0
"""Seconds that a broker has to close its end after DISCONNECT."""


def open_transport(
    client: Client, options: Options, context: ssl.SSLContext | None, attempt: Attempt
) -> tuple[Any, Any]:
    """Connect; return what paho reads from and writes to, and the system's socket underneath.

    Raises OSError, with nothing left open.
    """
    deadline = time.monotonic() + options.connect_timeout
    if options.transport == "unix":
        sock = dial_unix(options.host, deadline, attempt)
    else:
        sock = _connect(client, options, deadline, attempt)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(_left(deadline))
    try:
        if context is not None:
            name = None if options.transport == "unix" else options.host
            sock = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            attempt.waits_for(sock)
            sock.settimeout(_left(deadline))
            sock.do_handshake()
        if options.transport != "websockets":
            return sock, sock
        sock.settimeout(_left(deadline))
        wrapped = _WebsocketWrapper(
            socket=sock,
            host=options.host,
            port=options.effective_port,
            is_ssl=context is not None,
            path=options.path,
            extra_headers=_headers(options.ws_headers),
        )
        attempt.check()
    except BaseException:
        attempt.over()
        sock.close()
        raise
    return wrapped, sock


def _connect(client: Client, options: Options, deadline: float, attempt: Attempt) -> socket.socket:
    """Connect by TCP: directly, or as paho does where a proxy or a port to connect from is asked for."""
    if client._get_proxy() is None and not client._bind_port:  # type: ignore[no-untyped-call, unused-ignore]
        return dial(options.host, options.effective_port, options.bind_address, deadline, attempt)
    sock: socket.socket = client._create_socket_connection()  # type: ignore[no-untyped-call, unused-ignore]
    attempt.waits_for(sock)
    return sock


def cut(sock: socket.socket) -> None:
    """End a connection now, whatever thread is reading from it: that thread sees the end of the stream."""
    with contextlib.suppress(OSError):
        # Past SSLSocket, whose own shutdown would take its state away from under the reading thread.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def linger(sock: socket.socket) -> None:
    """Send what is written and wait, at most ``LINGER`` seconds, for the other end to have read it all."""
    deadline = time.monotonic() + LINGER
    with contextlib.suppress(OSError, ValueError):
        socket.socket.shutdown(sock, socket.SHUT_WR)
        while select.select([sock], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not socket.socket.recv(sock, 65_536):
                return


def _headers(headers: Any) -> dict[str, str] | Callable[[dict[str, str]], dict[str, str]] | None:
    if headers is None:
        return None
    return headers if callable(headers) else dict(headers)


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())
