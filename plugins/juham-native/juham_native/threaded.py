"""The link for programs with threads: one of its own reads, and writes what publishers do not at once."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Final

from juham_core.locks import join
from juham_native.link import FAREWELL, READ, Link

_BURST: Final = 30e-6
"""Seconds between two packets below which they are taken for a burst, and gathered."""


class ThreadedLink(Link):
    """A socket and the thread that polls it.

    A packet on its own is sent by its publisher at once. Packets that follow each other closely are left to
    the link's thread, which is woken once, and sends all that has come until it runs.
    """

    _sock: socket.socket

    # --- opening and closing ------------------------------------------------------------------------

    def _begin(self, sock: socket.socket, early: bytes, _deadline: float) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._early = early
        self._stopping = False
        self._rest = memoryview(b"")  # what the socket did not take
        self._last_flush = 0.0
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)
        self._thread = threading.Thread(
            target=self._run, name=f"juham-native-{self.options.client_id}", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:  # a signal's, perhaps: then the thread may have begun
            self._stopping = True
            join(self._thread)
            self._waker.close()
            self._alarm.close()
            raise
        self.send(self.protocol.connect())

    def close(self, deliberate: bool) -> None:
        """End the connection and its thread. ``deliberate``: send what waits, then DISCONNECT."""
        if not hasattr(self, "_thread"):
            return  # it never came about
        self._close_outgoing(deliberate)
        self._leave_by = time.monotonic() + (self.options.close_timeout if deliberate else 0.0)
        self._stopping = True
        self._wake()
        join(self._thread)

    def _is_closing(self) -> bool:
        return self._stopping

    # --- sending ------------------------------------------------------------------------------------

    def push(self) -> None:
        """On the link's own thread: send what the socket takes; the rest follows as always."""
        with self._lock:
            self._flush()

    def _flush_at_once(self) -> bool:
        if self._rest or time.perf_counter() - self._last_flush < _BURST:
            return False
        return self._flush()

    def _flush(self) -> bool:
        """With the lock held: send what the socket takes; False if that was not all."""
        while True:
            try:
                if not self._rest:
                    data = self._take()
                    self._unsent = len(data)
                    if not data:
                        return True
                    self._rest = memoryview(data)
                sent = self._sock.send(self._rest)
            except BlockingIOError:
                return False
            except OSError:
                # The reader finds out, and tells; what is sent from now on has nowhere to go.
                self._closed = True
                self._packages, self._rest = [], memoryview(b"")
                return True
            self._last_flush = time.perf_counter()
            self._last_sent = time.monotonic()
            self._rest = self._rest[sent:]
            self._unsent -= sent

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: there is nobody to wake
            self._alarm.send(b"\0")

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._early:
                self._arrived(self._early, plain=True)
            self._serve()
            if self._stopping and self._leave_by > time.monotonic() and not self._ended:
                self._say_goodbye()
        finally:
            with self._lock:
                self._closed = True
                self._sock.close()
            self._waker.close()
            self._alarm.close()

    def _serve(self) -> None:
        poll = Poller(self._sock, self._waker)
        while not self._stopping and not self._ended:
            with self._lock:
                self._flush_is_due = False
                all_sent = self._flush()
            pause = self._mind_the_clock()
            reading = not self._held and not self._owes_too_much
            readable, woken = poll.wait(not all_sent, pause, reading=reading)
            if woken:
                with contextlib.suppress(BlockingIOError):
                    self._waker.recv(4096)
            if readable:
                self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._end(exc)
            return
        if data:
            self._arrived(data)
        else:
            self._end(None)

    def _pause_reading(self) -> None:
        """The thread looks whether it is to read before it waits."""

    def _resume_reading(self) -> None:
        self._wake()

    def _cut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._flush()

    def _say_goodbye(self) -> None:
        """Get what waits and DISCONNECT on the wire, and let the broker close the connection."""
        with contextlib.suppress(OSError):  # without the lock, for now the link is this thread's alone
            poll = Poller(self._sock, self._waker)
            while not self._flush() and (left := self._leave_by - time.monotonic()) > 0:
                # What comes meanwhile is thrown away, or a broker might never read what we send.
                readable, _ = poll.wait(True, left)
                if readable and not self._sock.recv(READ):
                    return
            if self._layer is not None:
                self._sock.setblocking(True)
                self._sock.settimeout(FAREWELL)
                self._sock.sendall(self._layer.closing())
            # To close with bytes unread would reset the connection, and the broker might not read DISCONNECT.
            self._sock.shutdown(socket.SHUT_WR)
            leave_by = time.monotonic() + FAREWELL
            while (left := leave_by - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(READ):
                    return


class Poller:
    """Waits for a socket, or for somebody who wants to wake the thread that waits."""

    def __init__(self, sock: socket.socket, waker: socket.socket) -> None:
        self._sock, self._waker = sock, waker
        self._writing, self._reading = False, True
        # poll where there is one: select knows no file descriptor past 1,023.
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._number = sock.fileno()
            self._poll.register(sock, select.POLLIN)
            self._poll.register(waker, select.POLLIN)

    def wait(self, writing: bool, timeout: float | None, *, reading: bool = True) -> tuple[bool, bool]:
        """Block until something comes, or can be sent if ``writing``, for at most ``timeout`` seconds.

        Not ``reading``: what comes is left where it is, and only an error ends the wait. Return whether the
        socket can be read, or has an error to tell, and whether somebody woke us.
        """
        if self._poll is None:
            sockets = [self._sock, self._waker] if reading else [self._waker]
            read, _, _ = select.select(sockets, [self._sock] if writing else [], [], timeout)
            return self._sock in read, self._waker in read
        if writing != self._writing or reading != self._reading:
            self._writing, self._reading = writing, reading
            self._poll.modify(
                self._sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)
            )
        readable = woken = False
        for number, events in self._poll.poll(None if timeout is None else timeout * 1000 + 1):
            if number != self._number:
                woken = True
            elif events & ~select.POLLOUT:
                readable = True
        return readable, woken
