"""A TCP proxy that cuts: between a client and a real broker, for what networks do to connections."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading


class Proxy:
    """Forwards to ``target``; :meth:`cut` resets what stands, :meth:`refuse` lets nobody in meanwhile."""

    def __init__(self, target):
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.options = {"host": "127.0.0.1", "port": self.port}
        self.accepted = 0
        self._refusing = False
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._near: set[socket.socket] = set()  # those of the pairs that lead to clients
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        for sock in (self._server, self._wake):
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    def cut(self):
        """Reset every connection; how many there were."""
        with self._lock:
            count = len(self._pairs) // 2
            for sock in list(self._pairs):
                self._drop(sock)
        return count

    def refuse(self, refusing=True):
        """Cut, and from now on cut whoever connects at once; ``refuse(False)`` ends it."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def close(self):
        self._waker.close()
        self._thread.join()
        self.cut()
        self._selector.close()
        self._server.close()
        self._wake.close()

    def _run(self):
        while True:
            for key, _ in self._selector.select(self._pause()):
                if key.fileobj is self._wake:
                    if not self._wake.recv(64):
                        return
                    continue
                with self._lock:
                    if key.fileobj is self._server:
                        self._accept()
                    else:
                        self._forward(key.fileobj)

    def _wake_up(self):
        """Have :meth:`_pause` called now."""
        self._waker.send(b"!")

    def _pause(self):
        """Called between looks at the sockets: seconds after which to call it again, None for never."""
        return

    def _accept(self):
        near, _ = self._server.accept()
        self.accepted += 1
        far = None
        if not self._refusing:
            with contextlib.suppress(OSError):
                far = socket.create_connection(self._target)
        if far is None:
            _reset(near)
            return
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._near.add(near)

    def _forward(self, sock):
        other = self._pairs.get(sock)
        if other is None:
            return  # cut between select and here
        try:
            data = sock.recv(65_536)
            self._pass_on(sock, other, data)
        except OSError:
            data = b""
        if not data:
            self._drop(sock)

    def _pass_on(self, sock, other, data):
        other.sendall(data)

    def _drop(self, sock, end=None):
        other = self._pairs.pop(sock, None)
        if other is not None:
            self._selector.unregister(sock)
            self._near.discard(sock)
            (end or _reset)(sock)
            self._drop(other, end)


def _reset(sock):
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
