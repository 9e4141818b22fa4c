"""An independent client in a thread: it keeps its session, acknowledges, and remembers what it was sent."""

from __future__ import annotations

import threading
from collections import defaultdict

from juham_core.testing.observer import SocketObserver
from juham_core.wire import Publish, Pubrel, Subscription

_SOON = 0.02
"""Seconds between attempts to connect."""
_LOST = (OSError, AssertionError)
"""What the kit's observer raises when its connection has ended."""


class Record:
    """Which numbers came on which topic, in order of arrival; written by one thread, read by any."""

    def __init__(self):
        self._changed = threading.Condition()
        self._arrivals: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        self._distinct: dict[str, set[int]] = defaultdict(set)

    def add(self, message):
        number = int(message.payload.split()[0])
        topic = message.topic
        with self._changed:
            self._arrivals[topic].append((number, message.dup))
            self._distinct[topic].add(number)
            self._changed.notify_all()

    def wait_for(self, topic, numbers, timeout):
        """Block until all these numbers have come, or nothing new has for ``timeout`` seconds."""
        numbers = set(numbers)
        with self._changed:
            seen = -1
            while not numbers <= self._distinct[topic] and seen != len(self._arrivals[topic]):
                seen = len(self._arrivals[topic])
                self._changed.wait_for(lambda: numbers <= self._distinct[topic], timeout)
            return numbers <= self._distinct[topic]

    def arrivals(self, topic):
        """Each number with the DUP flag it came with."""
        with self._changed:
            return list(self._arrivals[topic])


class _Connection(SocketObserver):
    """Follows the rules of a receiver of QoS 2 (MQTT 5 section 4.3.3) across connections."""

    def __init__(self, host, port, unreleased, record, **settings):
        self._unreleased = unreleased
        self._record = record
        try:
            super().__init__(host, port, **settings)
        except _LOST:
            if hasattr(self, "_socket"):
                self.vanish()
            raise

    def _take(self, packet):
        if isinstance(packet, Publish):
            content = (packet.topic, packet.payload)
            # Not the identifier alone: a broker that was killed may have forgotten that it had used it.
            known = packet.qos == 2 and self._unreleased.get(packet.packet_id) == content
            if packet.qos == 2:
                self._unreleased[packet.packet_id] = content
            if not known:
                self._record.add(packet)
            super()._take(packet)
            self._messages.clear()
            return
        if isinstance(packet, Pubrel):
            self._unreleased.pop(packet.packet_id, None)
        super()._take(packet)


class Witness:
    """Subscribes to ``{topic}/#`` at QoS 2 with a persistent session, and connects again when it must."""

    def __init__(self, host, port, topic):
        self.record = Record()
        self.sessions_lost = 0
        self._where = (host, port)
        self._topic = topic
        self._client_id = f"witness-{topic.replace('/', '-')}"
        self._unreleased: dict[int, tuple[str, bytes]] = {}
        self._closing = threading.Event()
        self._connection = self._connect()
        self._thread = threading.Thread(target=self._run, name="witness")
        self._thread.start()

    def close(self):
        """Leave, and have the broker forget the session."""
        self._closing.set()
        self._thread.join()
        self._connection.close()
        SocketObserver(*self._where, client_id=self._client_id).close()

    def _connect(self):
        connection = _Connection(
            *self._where, self._unreleased, self.record, client_id=self._client_id, clean_start=False
        )
        try:
            if not connection.connack.session_present:
                self.sessions_lost += 1
                self._unreleased.clear()
                assert connection.subscribe(Subscription(f"{self._topic}/#", 2)) == [2]
        except BaseException:
            connection.vanish()
            raise
        return connection

    def _run(self):
        while not self._closing.is_set():
            if not self._listen():
                self._connection.vanish()
                self._come_back()

    def _listen(self):
        """Take what comes within a moment; False if the connection has ended."""
        try:
            for packet in self._connection._read(0.1):
                self._connection._take(packet)
        except _LOST:
            return False
        return True

    def _come_back(self):
        while not self._closing.wait(_SOON):
            try:
                self._connection = self._connect()
            except _LOST:
                continue
            return


class Source:
    """Publishes numbers, one at a time."""

    def __init__(self, host, port):
        self._observer = SocketObserver(host, port)

    def publish(self, topic, number, qos):
        assert self._observer.publish(topic, payload_of(number), qos=qos) == 0

    def close(self):
        self._observer.close()


def payload_of(number):
    """A number and some text behind it, so that packets have a middle to be cut in."""
    return f"{number} {'x' * (number % 97)}"
