"""A TCP connection within a time limit, name resolution included: the one step that may block for long.

An :class:`Attempt` lets another thread give it up, and what follows until CONNECT is sent.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from juham_core.errors import ConnectError, ConnectTimeoutError


class Attempt:
    """One attempt to connect, which :meth:`give_up` ends from another thread, whatever it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._end: Callable[[], object] | None = None

    def waits_for(self, sock: socket.socket) -> None:
        """From now on the attempt waits for this socket. Raises ConnectError if it has been given up.

        To be called again where TLS wraps it, for the first socket object is an empty shell then.
        """
        # Past SSLSocket, whose own shutdown would take its state away from under the waiting thread.
        self.is_ended_by(partial(socket.socket.shutdown, sock, socket.SHUT_RDWR))

    def is_ended_by(self, end: Callable[[], object]) -> None:
        """From now on it is this call that ends the wait. Raises ConnectError if it has been given up."""
        with self._lock:
            self._end = end
        self.check()

    def check(self) -> None:
        """Raise ConnectError if the attempt has been given up."""
        if self._given_up:
            raise ConnectError("the client was closed while it was connecting")

    def over(self) -> None:
        """The attempt waits no longer: giving it up ends nothing from now on."""
        with self._lock:
            self._end = None

    def give_up(self) -> None:
        """End the wait of the thread that connects, which then raises. From any thread."""
        with self._lock:  # nobody closes the socket meanwhile, and another gets its number
            self._given_up = True
            if self._end is not None:
                with contextlib.suppress(OSError):  # it was connected no longer, or not yet
                    self._end()


def dial(
    host: str, port: int, bind_address: str, deadline: float, attempt: Attempt | None = None
) -> socket.socket:
    """Connect to the first address of the host that answers; blocks until ``deadline`` (time.monotonic).

    ``bind_address`` is the local address to connect from, "" for any. Raises OSError, and of that
    ConnectTimeoutError when the time is over and ConnectError once ``attempt`` has been given up.
    """
    attempt = attempt or Attempt()
    started = time.monotonic()
    addresses = _resolve(host, port, deadline, attempt)
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
            attempt.waits_for(sock)
            sock.connect(address)
            attempt.check()
        except OSError as exc:
            attempt.over()
            sock.close()
            attempt.check()
            problem = exc
        except BaseException:
            attempt.over()
            sock.close()
            raise
        else:
            sock.setblocking(False)
            return sock
    if problem is None or isinstance(problem, TimeoutError):
        raise _too_late(f"{host}:{port} did not accept a connection", started) from problem
    raise problem


def _resolve(host: str, port: int, deadline: float, attempt: Attempt) -> list[Any]:
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

    attempt.is_ended_by(partial(answers.put, ConnectError("given up")))
    threading.Thread(target=look_up, name="juham-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - started))
    except Empty:
        raise _too_late(f"the name {host!r} was not resolved", started) from None
    finally:
        attempt.over()
    attempt.check()
    if isinstance(answer, OSError):
        raise answer
    return answer


def _too_late(what: str, started: float) -> ConnectTimeoutError:
    return ConnectTimeoutError(f"{what} within {time.monotonic() - started:.1f} s")


def dial_unix(path: str, deadline: float, attempt: Attempt | None = None) -> socket.socket:
    """Connect to a unix socket; blocks until ``deadline`` (time.monotonic).

    Raises OSError, and of that ConnectTimeoutError when the time is over and ConnectError where the platform
    has no unix sockets, or once ``attempt`` has been given up.
    """
    attempt = attempt or Attempt()
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
