"""A connection's sockets, which awscrt does not show: those that its event loop watches.

Each connection has an event loop of its own, and Linux tells which descriptors an epoll instance watches.
They are needed for what awscrt has no option for: to return from connecting once CONNECT is on its way, and
not only when the broker answers; TCP_NODELAY, without which a small packet that follows another waits for the
other end's delayed acknowledgement, 40 ms; to end an attempt that hangs; to see that a broker reads nothing;
to see how much of what the broker sends is read. Other systems do without.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")
LISTED: Final = Path("/proc/self/fdinfo").is_dir()
"""True where the system tells."""
LOOK: Final = 0.02
"""Seconds between two looks at what is watched."""
_TRIES: Final = 10

_making = threading.Lock()


class Descriptor(NamedTuple):
    """A socket that is awscrt's: its number may become that of another file at any time, its inode not."""

    number: int
    inode: int

    @contextlib.contextmanager
    def opened(self) -> Iterator[socket.socket | None]:
        """The socket, for as long as it is dealt with; None if it is closed."""
        try:
            copy = os.dup(self.number)  # it stays what it is, whatever becomes of the number
        except OSError:
            yield None
            return
        status = os.fstat(copy)
        if stat.S_ISSOCK(status.st_mode) and status.st_ino == self.inode:
            with socket.socket(fileno=copy) as sock:
                yield sock
        else:
            os.close(copy)
            yield None


def made_with_epoll(make: Callable[[], T]) -> tuple[T, int | None]:
    """What ``make`` makes, and the number of the epoll instance that has come with it; None if not sure.

    Where another thread makes or closes one just then, it is made again.
    """
    with _making:
        for _ in range(_TRIES if LISTED else 1):
            before = _epolls()
            made = make()
            new = _epolls() - before
            if len(new) == 1 and not any(_watched(*new)):
                return made, new.pop()
        return made, None


def connected(epoll: int | None) -> bool:
    """True once an epoll instance watches a socket that is connected; its packets then go out at once."""
    found = False
    for sock in _watched(epoll):
        with contextlib.suppress(OSError):
            sock.getpeername()  # raises while the connection does not stand
            found = True
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # raises in the unix domain
    return found


def writable(epoll: int | None, timeout: float) -> bool:
    """False if a socket that an epoll instance watches has taken nothing for so many seconds."""
    for sock in _watched(epoll):
        room = select.poll()
        room.register(sock, select.POLLOUT)
        if not room.poll(timeout * 1000):
            return False
    return True


def shut_down(epoll: int | None) -> None:
    """End the connections of all sockets that an epoll instance watches, and those that are being made."""
    for sock in _watched(epoll):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _epolls() -> set[int]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir() if LISTED else ():
        with contextlib.suppress(OSError):  # closed meanwhile
            if str(entry.readlink()) == "anon_inode:[eventpoll]":
                found.add(int(entry.name))
    return found


def _watched(epoll: int | None) -> Iterator[socket.socket]:
    """The sockets that an epoll instance watches, each for as long as the loop over them deals with it."""
    for descriptor in watched(epoll):
        with descriptor.opened() as sock:
            if sock is not None:
                yield sock


def watched(epoll: int | None) -> list[Descriptor]:
    """What an epoll instance watches: sockets, and others that cannot be opened as such."""
    if epoll is None:
        return []
    try:
        told = Path(f"/proc/self/fdinfo/{epoll}").read_text()
    except OSError:  # closed meanwhile
        return []
    found = re.findall(r"tfd: *(\d+) .* ino:([0-9a-f]+)", told)
    return [Descriptor(int(number), int(inode, 16)) for number, inode in found]
