"""The socket of a connection, closed once: uvloop may close the descriptor and not tell the object."""

from __future__ import annotations

import contextlib
import os
import socket


class Dialled:
    """A socket that stands, for an event loop to make a transport of."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._identity = _identity(sock)

    def close(self) -> None:
        """Close what neither the transport has closed nor is about to.

        Of a transport that ends while it is made, uvloop closes the descriptor but not the object. That would
        close the number once more some time, and by then another connection or file may have it.
        """
        if self.sock.fileno() == -1:
            return
        if self._identity is not None and _identity(self.sock) != self._identity:
            self.sock.detach()
        else:
            self.sock.close()


def _identity(sock: socket.socket) -> tuple[int, int] | None:
    """What tells the open socket from all others; None where the system has nothing of the kind."""
    with contextlib.suppress(OSError):
        found = os.fstat(sock.fileno())
        return found.st_dev, found.st_ino
    return None
