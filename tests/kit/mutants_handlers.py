"""Mutants that break a rule about handlers; see mutants.py."""

from __future__ import annotations

import threading
from contextlib import suppress

from mutants import mutant
from toy import JToy

from juham_core.errors import NotConnectedError
from juham_core.message import MqttMsg
from juham_core.wire import Pubcomp


@mutant("handlers.exception", "keeps to itself that a handler raised")
class JSwallowsErrors(JToy):
    def _get_handler(self, event):
        handler = super()._get_handler(event)

        def quiet(*args):
            with suppress(Exception):
                handler(*args)

        return handler and quiet


@mutant("handlers.system_exit", "ends its thread when a handler calls sys.exit")
class JEndsAtSystemExit(JToy):
    def _get_handler(self, event):
        handler = super()._get_handler(event)

        def mortal(*args):
            try:
                handler(*args)
            except SystemExit:
                self.loop_stop()
                raise

        return handler and mortal


@mutant("handlers.event_exception", "loses its connection when a handler of an event raises")
class JDiesOfEvents(JToy):
    def _suback(self, *args):
        super()._suback(*args)
        self._get_handler("on_subscribe")(self, None, 0, ())


@mutant("handlers.order", "handles every second message before the first")
class JSwaps(JToy):
    held = None

    def _received(self, *message):
        if self.held is None:
            self.held = message
            return
        held, self.held = self.held, None
        super()._received(*message)
        super()._received(*held)


@mutant("handlers.one_at_a_time", "starts a thread for each message")
class JThreadPerMessage(JToy):
    def _received(self, *message):
        handlers = self._delivery.router.routes.match(message[0]) or [self._get_handler("on_message")]
        for handler in handlers:
            threading.Thread(target=handler, args=(self, None, MqttMsg(*message))).start()


@mutant("handlers.slow_and_keepalive", "runs handlers on the thread that sends the pings")
class JHandlesOnNetworkThread(JToy):
    def _received(self, *message):
        self._get_handler("on_message")(self, None, MqttMsg(*message))


@mutant("handlers.not_before_loop", "runs handlers before it is asked to")
class JStartsByItself(JToy):
    def connect_to_server(self, *args, **options):
        super().connect_to_server(*args, **options)
        return self.loop_start()


@mutant("handlers.loop_stop", "goes on with its handlers after loop_stop")
class JCannotStop(JToy):
    def loop_stop(self):
        return 0


@mutant("handlers.loop_forever", "returns from loop_forever at once and leaves the handlers to a thread")
class JForeverIsShort(JToy):
    def loop_forever(self):
        return self.loop_start()


@mutant("handlers.none_after_close", "goes on after disconnect_from_server has returned")
class JClosesLater(JToy):
    asked = False

    def disconnect_from_server(self):
        if self.asked:
            super().disconnect_from_server()
        self.asked = True


@mutant("handlers.none_after_close_in_handler", "handles what waits after a handler has disconnected")
class JForgetsToEmpty(JToy):
    def disconnect_from_server(self):
        if not self._delivery.inside_handler:
            super().disconnect_from_server()
        elif self._connection.begin_close():
            self._connection.finish_close()
            self._connection.closed()


@mutant("handlers.on_connect_new", "gives every handler the old arguments")
class JOldShapes(JToy):
    def _get_handler(self, event):
        handler = super()._get_handler(event)

        def old(*args):
            handler(*args)

        return handler and old


@mutant("handlers.on_disconnect_old", "reports a deliberate disconnect as a lost connection")
class JAlwaysLost(JToy):
    def _close(self, deliberate):
        if deliberate:
            self._delivery.disconnected(from_server=False, reason_code=0x80, properties=None)
        super()._close(deliberate)


@mutant("handlers.on_publish_old", "gives on_publish the packet identifier in the place of the receipt's mid")
class JOtherMids(JToy):
    def _get_handler(self, event):
        handler = super()._get_handler(event)
        if event != "on_publish":
            return handler
        return lambda client, userdata, mid: handler(client, userdata, mid + 1000)


# --- duplicates and acknowledgements ------------------------------------------------------------------


@mutant("handlers.qos_2_once", "delivers a QoS 2 message each time it comes")
class JDeliversDuplicates(JToy):
    def _on_publish_packet(self, packet):
        self._exchanges._received.discard(packet.packet_id)
        super()._on_publish_packet(packet)


@mutant("handlers.qos_2_id_again", "takes an identifier that is used again for a duplicate")
class JNeverForgets(JToy):
    def _on_pubrel(self, packet):
        self._send(Pubcomp(packet.packet_id))


@mutant("handlers.qos_2_cut_at_pubrec", "forgets with the connection which QoS 2 messages it has received")
class JForgetsReceived(JToy):
    def _on_connack(self, packet):
        self._exchanges._received.clear()
        super()._on_connack(packet)


@mutant("handlers.qos_1_dup_shown", "loses DUP")
class JLosesDup(JToy):
    def _received(self, topic, payload, qos, retain, dup, *more):
        super()._received(topic, payload, qos, retain, False, *more)


@mutant("handlers.mid_shown", "numbers what it receives by itself")
class JNumbersItself(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, *more):
        self._count = getattr(self, "_count", 0) + 1
        super()._received(topic, payload, qos, retain, dup, self._count, *more)


@mutant("handlers.ack_missing_dup", "loses DUP in later connections")
class JLosesDupLater(JToy):
    def _received(self, topic, payload, qos, retain, dup, *more):
        dup = dup and self._statistics.connects == 1
        super()._received(topic, payload, qos, retain, dup, *more)


@mutant("handlers.ack_missing", "acknowledges although the application is to do so")
class JAcknowledgesAnyway(JToy):
    def _open(self, options):
        super()._open(options)
        self._manual = False


@mutant("handlers.ack_missing_qos_2", "takes QoS 2 over from the broker before the application has it")
class JTakesOver(JToy):
    def _on_publish_packet(self, packet):
        if packet.qos == 2:
            super()._ack(packet.packet_id, 2)
        super()._on_publish_packet(packet)


@mutant("handlers.ack_given", "does not pass the application's acknowledgement on")
class JKeepsAcknowledgement(JToy):
    def _ack(self, mid, qos):
        """Nothing."""


@mutant("handlers.ack_too_late", "raises where the connection that brought the message has ended")
class JAcknowledgesOrRaises(JToy):
    def ack(self, mid, qos):
        if not self.is_connected():
            raise NotConnectedError(f"message {mid} came by a connection that has ended")
        return super().ack(mid, qos)


@mutant("handlers.ack_of_dropped", "knows a message only once it has been handed over")
class JKnowsLater(JToy):
    known = 0

    def _received(self, topic, payload, qos, retain, dup, mid, *more):
        super()._received(topic, payload, qos, retain, dup, mid, *more)
        self.known = mid

    def _ack(self, mid, qos):
        if mid == self.known:
            super()._ack(mid, qos)


@mutant("handlers.ack_of_replaced", "acknowledges by what the handler has, which is not what came")
class JAcknowledgesByContent(JToy):
    came = None

    def _received(self, topic, payload, *more):
        self.came = payload
        super()._received(topic, payload, *more)

    def _get_handler(self, event):
        handler = super()._get_handler(event)
        if event != "on_message" or handler is None:
            return handler

        def numbered(client, userdata, message):
            message.mid = message.mid if message.payload == self.came else 0
            handler(client, userdata, message)

        return numbered


@mutant("handlers.ack_unasked", "acknowledges a second time where it was done already")
class JAcknowledgesTwice(JToy):
    def ack(self, mid, qos):
        self._ack(mid, qos)
        return 0


@mutant("handlers.ack_by_itself", "acknowledges the last message first")
class JAcknowledgesReversed(JToy):
    held = None

    def _ack(self, mid, qos):
        held, self.held = self.held, None if self.held else mid
        if held:
            super()._ack(mid, qos)
            super()._ack(held, qos)
