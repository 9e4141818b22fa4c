"""Mutants that take in more than the application can take."""

from __future__ import annotations

import select
from collections import deque

from mutants import mutant
from toy import JToy

from juham_core.wire.properties import Properties


@mutant("hostile.window_ignored", "reads whatever comes, however many messages wait already")
class JInsatiable(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._delivery.blocks = False


@mutant("hostile.window_ignored_manual_ack", "bounds what waits only if it acknowledges by itself")
class JInsatiableByHand(JToy):
    def _open(self, options):
        self._delivery.blocks = not options.manual_ack
        super()._open(options)


@mutant("hostile.window_ignored_bytes", "waits for handlers if there are many messages, however large")
class JInsatiableByWeight(JToy):
    def _apply_bounds(self):
        super()._apply_bounds()
        self._delivery.limit_bytes = 2**53


@mutant("handlers.bounded_bytes", "drops messages if there are many, however large")
class JCountsButDoesNotWeigh(JInsatiableByWeight):
    pass


@mutant("hostile.answers_unread", "keeps what it owes for later, however much that is")
class JOwesWithoutBound(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._owed = deque()

    def _ack(self, mid, qos):
        self._owed.append((mid, qos))
        sock = self._sock
        while sock is not None and self._owed and select.select([], [sock], [], 0)[1]:
            super()._ack(*self._owed.popleft())


@mutant("hostile.answers_unread_v3", "keeps what it owes for later under MQTT 3.1.1")
class JOwesAsBefore(JOwesWithoutBound):
    pass


@mutant("reconnect.flapping_behind_handler", "tells of each connection, however late")
class JTellsOfEach(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        line = self._delivery

        def disconnected(from_server, reason_code, properties):
            line._dispatcher.put(line._disconnected, from_server, reason_code, properties or Properties())

        line.disconnected = disconnected
        line.connected = lambda *verdict: line._dispatcher.put_gated(line._connected, *verdict)


@mutant("subscribe.bounded", "takes any number of requests")
class JPatientWithSuback(JToy):
    def _apply_bounds(self):
        super()._apply_bounds()
        self._open_requests.most = 2**31


@mutant("subscribe.bounded_offline", "counts the filters that wait, and not the requests")
class JCountsFilters(JToy):
    def subscribe(self, topic, qos=0, options=None, properties=None):
        room = self._options.max_requests - len(self.subscriptions)
        self._open_requests.most = len(self._open_requests) + max(1, room)
        return super().subscribe(topic, qos, options, properties)


@mutant("handlers.on_publish_bounded", "takes any number of publishes, told or not")
class JNeverTold(JToy):
    def _apply_bounds(self):
        super()._apply_bounds()
        self._most_untold = 2**31
