"""A TCP connection within a time limit, name resolution included: the one step that may block for long."""

from __future__ import annotations

import socket
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

from juham_core.errors import ConnectError, ConnectTimeoutError


def dial(host: str, port: int, bind_address: str, deadline: float) -> socket.socket:
    """Connect to the first address of the host that answers; blocks until ``deadline`` (time.monotonic).

    ``bind_address`` is the local address to connect from, "" for any. Raises OSError, and of that
    ConnectTimeoutError when the time is over.
    """
    started = time.monotonic()
    addresses = _resolve(host, port, deadline)
    problem: OSError | None = None
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        # A fair share for each, so that one that swallows packets leaves time for the next.
        share = (deadline - time.monotonic()) / (len(addresses) - tried)
        if share <= 0:
            break
        # With the protocol named, asyncio sets TCP_NODELAY.
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(share)
            if bind_address:
                sock.bind((bind_address, 0))
            sock.connect(address)
        except OSError as exc:
            sock.close()
            problem = exc
        except BaseException:
            sock.close()
            raise
        else:
            sock.setblocking(False)
            return sock
    if problem is None or isinstance(problem, TimeoutError):
        raise _too_late(f"{host}:{port} did not accept a connection", started) from problem
    raise problem


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # no address, hence a name
    # Nothing interrupts a resolver that waits for its servers, so it waits in a thread we can leave behind.
    started = time.monotonic()
    answers: SimpleQueue[list[Any] | OSError] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as exc:
            answers.put(exc)

    threading.Thread(target=look_up, name="juham-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - started))
    except Empty:
        raise _too_late(f"the name {host!r} was not resolved", started) from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _too_late(what: str, started: float) -> ConnectTimeoutError:
    return ConnectTimeoutError(f"{what} within {time.monotonic() - started:.1f} s")


def dial_unix(path: str, deadline: float) -> socket.socket:
    """Connect to a unix socket; blocks until ``deadline`` (time.monotonic).

    Raises OSError, and of that ConnectTimeoutError when the time is over and ConnectError where the platform
    has no unix sockets.
    """
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise ConnectError(f"there are no unix sockets here to reach {path} by")
    started = time.monotonic()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(0.001, deadline - started))
        sock.connect(path)
    except TimeoutError as exc:
        sock.close()
        raise _too_late(f"{path} did not accept a connection", started) from exc
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
