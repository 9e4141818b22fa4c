"""A connection's socket, found among the process's descriptors: awscrt shows neither it nor when it stands.

Two things need it: to return from connecting once CONNECT is on its way, before the broker answers; and
TCP_NODELAY, without which a small packet that follows another waits for the other side's delayed
acknowledgement, 40 ms on Linux. Where a system lists no descriptors (Windows), both are done without. Nothing
else is ever done to a socket here: were it mistaken for another's that leads to the same port, no harm came
of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from juham_core.options import Options

FOLDER: Final = next((path for path in (Path("/proc/self/fd"), Path("/dev/fd")) if path.is_dir()), None)

# A number, and the inode that tells its present bearer from those before and after.
Descriptor = tuple[int, int]

# Several clients may connect to one broker at once: each socket is one client's.
_claims: set[Descriptor] = set()
_claims_lock = threading.Lock()


def sockets() -> set[Descriptor]:
    """All open sockets; none where the system does not tell."""
    found: set[Descriptor] = set()
    for entry in FOLDER.iterdir() if FOLDER is not None else ():
        with contextlib.suppress(OSError):  # closed meanwhile
            status = os.fstat(int(entry.name))
            if stat.S_ISSOCK(status.st_mode):
                found.add((int(entry.name), status.st_ino))
    return found


class Search:
    """Looks for the socket of a connection that is about to be made; made before it is."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._before = sockets()
        self._claim: Descriptor | None = None

    def found(self) -> bool:
        """True once there is a connection to where the options lead; its packets then go out at once."""
        if self._claim is None:
            for descriptor in sockets() - self._before:
                with contextlib.suppress(OSError), _borrowed(descriptor) as candidate:
                    if self._leads_there(candidate) and self._take(descriptor):
                        if self._options.transport != "unix":
                            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        break
        return self._claim is not None

    def close(self) -> None:
        """Forget the socket, which is the library's to close."""
        with _claims_lock:
            if self._claim is not None:
                _claims.discard(self._claim)

    def _leads_there(self, candidate: socket.socket) -> bool:
        there = candidate.getpeername()  # raises while the connection does not stand
        if self._options.transport == "unix":
            return bool(there == self._options.host)
        inet = (socket.AF_INET, socket.AF_INET6)
        return candidate.family in inet and bool(there[1] == self._options.effective_port)

    def _take(self, claim: Descriptor) -> bool:
        with _claims_lock:
            if claim in _claims:
                return False
            _claims.add(claim)
            self._claim = claim
            return True


@contextlib.contextmanager
def _borrowed(descriptor: Descriptor) -> Iterator[socket.socket]:
    """Somebody else's socket, which is not closed; raises OSError if it is gone."""
    borrowed = socket.socket(fileno=descriptor[0])
    try:
        yield borrowed
    finally:
        borrowed.detach()
