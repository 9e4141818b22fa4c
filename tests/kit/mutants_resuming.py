"""Mutants that break a rule about what was under way when a connection was lost; see mutants.py."""

from __future__ import annotations

import time
from dataclasses import replace

from mutants import mutant
from toy import JToy

from juham_core.wire import Publish, Pubrec, Pubrel

# --- what was in flight -------------------------------------------------------------------------------


@mutant("reconnect.qos_1_cut_at_puback", "sends again without DUP")
class JNoDup(JToy):
    def _send(self, packet):
        super()._send(replace(packet, dup=False) if isinstance(packet, Publish) else packet)


@mutant("reconnect.qos_1_cut_at_publish", "does not send again what was in flight")
class JForgetsInFlight(JToy):
    def _on_connack(self, packet):
        self._exchanges.resume = list
        super()._on_connack(packet)


@mutant("reconnect.qos_2_cut_at_pubrec", "sends in flight messages anew into a session that has them")
class JSendsAnew(JToy):
    def _connack(self, *args, **more):
        super()._connack(*args, **{**more, "resent": False})

    def _on_connack(self, packet):
        self._exchanges.forget()
        super()._on_connack(packet)


@mutant("reconnect.qos_2_cut_at_pubrel", "sends PUBLISH again after PUBREC")
class JBackToPublish(JToy):
    def _on_answer(self, packet):
        if isinstance(packet, Pubrec):
            self._send(Pubrel(packet.packet_id))
        else:
            super()._on_answer(packet)


@mutant("reconnect.stream_out_qos_2", "forgets with the connection that it had released a message")
class JForgetsReleased(JToy):
    def _on_connack(self, packet):
        resume = type(self._exchanges).resume
        self._exchanges.resume = lambda: [
            each for each in resume(self._exchanges) if isinstance(each, Publish)
        ]
        super()._on_connack(packet)


@mutant("reconnect.stream_in_qos_1", "takes a message that comes again for a duplicate")
class JDropsDuplicates(JToy):
    def _received(self, topic, payload, qos, retain, dup, *more):
        if not dup:
            super()._received(topic, payload, qos, retain, dup, *more)


@mutant("reconnect.stream_in_qos_2", "takes each message that comes again for a new one")
class JHandlesTwice(JToy):
    def _on_publish_packet(self, packet):
        if packet.dup:
            self._exchanges._received.discard(packet.packet_id)
        super()._on_publish_packet(packet)


@mutant("reconnect.resent_in_order", "sends the newest message in flight first")
class JResendsReversed(JToy):
    def _on_connack(self, packet):
        resume = type(self._exchanges).resume
        self._exchanges.resume = lambda: resume(self._exchanges)[::-1]
        super()._on_connack(packet)


@mutant("reconnect.anew_qos_1_at_publish", "believes that the broker has what it had sent")
class JBelievesItWasSent(JToy):
    def _connack(self, *args, **more):
        super()._connack(*args, **{**more, "resent": True})


@mutant("reconnect.queue", "sends what waited in the reverse order")
class JQueuesReversed(JToy):
    def _connack(self, *args, **more):
        self._outgoing._queue.reverse()
        super()._connack(*args, **more)


# --- what is never answered ---------------------------------------------------------------------------


@mutant("reconnect.no_puback", "waits for PUBACK for ever")
class JWaitsForEver(JToy):
    def _check_answers(self, now):
        """Nothing."""


@mutant("reconnect.no_answer_but_others", "is content with any answer")
class JContentWithOthers(JToy):
    def _acknowledged(self, *args):
        super()._acknowledged(*args)
        for receipt in self._outgoing._in_flight:
            receipt.sent_at = time.monotonic()
