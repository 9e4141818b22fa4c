"""Mutants that publish wrongly, or promise what they do not keep."""

from __future__ import annotations

import threading

from mutants import mutant
from toy import JToy

from juham_core.errors import QueueFullError
from juham_core.message import PublishReceipt
from juham_core.wire import Puback, Pubrec, Pubrel, packets
from juham_core.wire.exchanges import Exchanges


@mutant("publish.payload_empty", "hands an empty payload over as None")
class JEmptyIsNone(JToy):
    def _received(self, topic, payload, *more):
        super()._received(topic, payload or None, *more)


@mutant("publish.payload_bytes", "takes every payload for text")
class JTextOnly(JToy):
    def _publish(self, message):
        message.payload = message.payload.decode(errors="replace").encode()
        return super()._publish(message)


@mutant("publish.payload_memoryview", "sends all of what a memoryview is a view of")
class JWholeView(JToy):
    def publish(self, topic, msg=None, *more, **named):
        return super().publish(topic, bytes(msg.obj) if isinstance(msg, memoryview) else msg, *more, **named)


@mutant("publish.payload_str", "sends text in Latin-1")
class JLatin(JToy):
    def publish(self, topic, msg=None, *more, **named):
        msg = msg.encode("latin-1", "replace") if isinstance(msg, str) else msg
        return super().publish(topic, msg, *more, **named)


@mutant("publish.payload_1_mib", "cuts payloads off at 64 KiB")
class JSmall(JToy):
    def _publish(self, message):
        message.payload = message.payload[:65_536]
        return super()._publish(message)


@mutant("publish.topic_refused", "lets the broker find out what is wrong with a topic")
class JAnyTopic(JToy):
    def _checked(self, message):
        return message


@mutant("publish.receipt_qos_0", "loses what is published at QoS 0, and calls it done")
class JMute(JToy):
    def _publish(self, message):
        return super()._publish(message) if message.qos else 0


@mutant("publish.receipt_on_puback", "reports a publish as acknowledged when it is sent")
class JAcknowledgesEarly(JToy):
    def _publish(self, message):
        key = super()._publish(message)
        self._acknowledged(key)
        return key


@mutant("publish.receipt_on_pubcomp", "takes PUBREC for the end of a QoS 2 exchange")
class JDoneOnPubrec(JToy):
    def _on_answer(self, packet):
        super()._on_answer(packet)
        if isinstance(packet, Pubrec):
            self._acknowledged(packet.packet_id)


@mutant("publish.answers_out_of_order", "takes any PUBACK for that of the oldest message")
class JFirstInFirstOut(JToy):
    def _on_answer(self, packet):
        if isinstance(packet, Puback):
            packet.packet_id = next(iter(self._exchanges._outgoing), packet.packet_id)
        super()._on_answer(packet)


@mutant("publish.negative_puback", "never looks at the reason code of a PUBACK")
class JAlwaysGood(JToy):
    def _acknowledged(self, key, reason_code=0, properties=None):
        super()._acknowledged(key, 0, properties)


@mutant("publish.negative_pubrec", "answers a PUBREC that refuses with PUBREL")
class JReleasesRefused(JToy):
    def _on_answer(self, packet):
        super()._on_answer(packet)
        if isinstance(packet, Pubrec) and packet.reason_code >= 0x80:
            self._send(Pubrel(packet.packet_id))


@mutant("publish.code_no_failure", "takes every reason code but 0 for a failure")
class JStrict(JToy):
    def _acknowledged(self, key, reason_code=0, properties=None):
        super()._acknowledged(key, 0x80 if reason_code else 0, properties)


@mutant("publish.wait_in_handler", "runs handlers on the thread that reads")
class JHandlesWhileReading(JToy):
    def _received(self, topic, payload, *more):
        super()._received(topic, payload, *more)
        function, arguments = self._delivery._dispatcher._tasks.get()
        function(*arguments)

    def loop_start(self):
        return 0


@mutant("publish.on_publish", "calls on_publish twice")
class JPublishedTwice(JToy):
    def _report_published(self, receipt, properties):
        super()._report_published(receipt, properties)
        super()._report_published(receipt, properties)


@mutant("publish.offline_qos_0", "says that a message is sent though there is no connection")
class JFalseSuccess(JToy):
    def _publish_now(self, receipt, message):
        if self.is_connected():
            super()._publish_now(receipt, message)
        else:
            receipt._resolve()


@mutant("publish.offline_in_order", "sends what has waited the wrong way round")
class JLastInFirstOut(JToy):
    def _connack(self, *arguments, **named):
        self._outgoing._queue.reverse()
        super()._connack(*arguments, **named)


@mutant("publish.queue_full", "drops messages at a full queue without a word")
class JDropsSilently(JToy):
    def publish(self, *arguments, **named):
        try:
            return super().publish(*arguments, **named)
        except QueueFullError:
            receipt = PublishReceipt(0)
            receipt._resolve()
            return receipt


@mutant("publish.window", "has no window")
class JNoWindow(JToy):
    def _publish(self, message):
        self._outgoing.window = 65_535
        return super()._publish(message)


@mutant("publish.ids_not_reused", "counts packet identifiers round and round")
class JReusesIds(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._exchanges = Careless()


class Careless(Exchanges):
    def _next_id(self):
        self._last_id = self._last_id % 1000 + 1
        return self._last_id


@mutant("publish.order", "lets one message of QoS 0 overtake another")
class JOvertakes(JToy):
    _kept = None

    def _publish(self, message):
        if message.qos == 0 and self._kept is None:
            self._kept = message
            return 0
        kept, self._kept = self._kept, None
        key = super()._publish(message)
        if kept is not None:
            super()._publish(kept)
        return key


@mutant("publish.threads", "mixes up the topics of messages published at the same time")
class JMixes(JToy):
    _topic = ""

    def publish(self, topic, *more, **named):
        self._topic = topic
        threading.Event().wait(0.001)  # some work in between
        return super().publish(self._topic, *more, **named)


@mutant("publish.retained", "forgets the retain flag")
class JForgetsRetain(JToy):
    def _publish(self, message):
        message.retain = False
        return super()._publish(message)


@mutant("publish.not_retained", "has everything retained")
class JRetainsAll(JToy):
    def _publish(self, message):
        message.retain = True
        return super()._publish(message)


@mutant("publish.first_time_not_dup", "sets DUP from the beginning")
class JAlwaysDup(JToy):
    def _send(self, packet):
        if isinstance(packet, packets.Publish) and packet.qos:
            packet.dup = True
        super()._send(packet)


@mutant("publish.close_fails_receipts", "forgets receipts when it is closed")
class JForgetsReceipts(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._outgoing.fail_all = lambda _error: 0


@mutant("publish.close_flushes", "closes without a word and without waiting for what is under way")
class JHangsUp(JToy):
    def disconnect_from_server(self):
        self._outgoing.wait_empty = lambda _timeout: False
        super().disconnect_from_server()

    def _close(self, deliberate):
        super()._close(False)
