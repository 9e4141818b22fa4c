"""A proxy that cuts connections at random, mostly in the middle of packets, and knows what went over them."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter

from proxy import Proxy

from juham_core.wire import Decoder, Puback, Pubcomp, Publish, Pubrec

LOW, HIGH = 0.15, 0.45
"""Seconds between cuts."""
_REACH = {True: 3000, False: 500}
"""Bytes that may still pass before a cut, to the broker and to the client: PUBACKs are small."""
_IMPATIENCE = 0.15
"""Seconds after which it cuts although nothing passes."""


class Stream:
    """One direction of one connection, decoded to tell where its packets begin and end."""

    def __init__(self, proxy, to_broker):
        self._proxy = proxy
        self._decoder = Decoder()
        self.to_broker = to_broker

    def feed(self, data, protocol=None):
        if self._decoder.protocol is None:
            self._decoder.protocol = protocol
        self._decoder.feed(data)
        for packet in self._decoder.packets():
            self._proxy.passed(self, packet)

    @property
    def protocol(self):
        return self._decoder.protocol

    @property
    def inside_packet(self):
        decoder = self._decoder
        return bool(decoder._arrived) or decoder._position < len(decoder._data)


class CuttingProxy(Proxy):
    """Cuts each 0.15 to 0.45 s, after a random number of bytes in a random direction, by RST or by FIN.

    Before each cut it is *armed*: whoever sends then, is hit while sending.
    """

    def __init__(self, target, seed=None):
        self._random = random.Random(seed)
        self._streams: dict[socket.socket, Stream] = {}
        self._armed = None  # (to the broker?, bytes left)
        self._due = None
        self._changed = threading.Condition()
        self.armings = 0
        self.cuts = 0
        self.inside_packets = 0
        """Of the cuts, those that split a packet."""
        self.counts: Counter[tuple[str, bool]] = Counter()
        """Packets that passed whole, by kind and whether to the broker."""
        self.promised: set[tuple[str, bytes]] = set()
        """Topic and payload of the messages for which the broker has answered, on the wire."""
        self._named: dict[int, tuple[str, bytes]] = {}
        super().__init__(target)

    def storm(self):
        """Begin to cut."""
        with self._lock:
            self._due = time.monotonic() + self._random.uniform(LOW, HIGH)
        self._wake_up()

    def calm(self):
        """Cut no more."""
        with self._lock:
            self._due = self._armed = None

    def wait_armed(self, seen, timeout=30.0):
        """Block until there have been more armings than ``seen``; return how many."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.armings > seen, timeout), "the proxy does not cut"
            return self.armings

    def passed(self, stream, packet):
        self.counts[packet.kind, stream.to_broker] += 1
        if stream.to_broker:
            if isinstance(packet, Publish):
                self._named[packet.packet_id] = (packet.topic, packet.payload)
        elif isinstance(packet, Puback | Pubrec | Pubcomp) and packet.packet_id in self._named:
            self.promised.add(self._named[packet.packet_id])

    def _pause(self):
        with self._lock:
            if self._due is None:
                return None
            now = time.monotonic()
            if now >= self._due:
                if self._armed is None:
                    to_broker = self._random.random() < 0.5
                    self._armed = (to_broker, self._random.randint(1, _REACH[to_broker]))
                    self._due = now + _IMPATIENCE
                    with self._changed:
                        self.armings += 1
                        self._changed.notify_all()
                else:
                    self._cut_one()
            return max(0.0, self._due - now)

    def _accept(self):
        before = set(self._pairs)
        super()._accept()
        for sock in set(self._pairs) - before:
            self._streams[sock] = Stream(self, sock in self._near)

    def _pass_on(self, sock, other, data):
        stream = self._streams[sock]
        hit = False
        if self._armed is not None and self._armed[0] == stream.to_broker:
            left = self._armed[1] - len(data)
            hit = left <= 0
            data = data[: self._armed[1]] if hit else data
            self._armed = (stream.to_broker, left)
        stream.feed(data, self._streams[other].protocol)
        super()._pass_on(sock, other, data)
        if hit:
            self._cut_one()

    def _cut_one(self):
        if self._pairs:
            self.cuts += 1
            self.inside_packets += any(self._streams[sock].inside_packet for sock in self._pairs)
            end = _finish if self._random.random() < 0.5 else None
            for sock in list(self._pairs):
                self._drop(sock, end)
        self._armed = None
        self._due = time.monotonic() + self._random.uniform(LOW, HIGH)

    def _drop(self, sock, end=None):
        self._streams.pop(sock, None)
        super()._drop(sock, end)


def _finish(sock):
    """End a connection as a process does that closes it: with FIN."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    sock.close()
