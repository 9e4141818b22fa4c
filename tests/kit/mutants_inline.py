"""Mutants that break a rule about handlers that run inline; see mutants.py."""

from __future__ import annotations

import threading

from mutants import mutant
from toy import JToy

from juham_core.inline import InlineDispatcher
from juham_core.turn import Turn


class JDispatches(JToy):
    """A backend with a dispatcher of its own."""

    dispatcher = InlineDispatcher

    def _set_up(self, name):
        super()._set_up(name)
        delivery = self._delivery
        make = delivery.make_dispatcher

        def make_dispatcher(kind="thread"):
            if kind == "inline":
                return self.dispatcher(f"juham-{name}-handlers", delivery.router.report, delivery.turn)
            return make(kind)

        delivery.make_dispatcher = make_dispatcher


@mutant("inline.where_it_came", "has a thread for the handlers, whatever was asked for")
class JInlineAlwaysThread(JToy):
    def connect_to_server(self, *args, **options):
        result = super().connect_to_server(*args, **options)
        self._delivery.dispatch_by(self._delivery.make_dispatcher("thread"))
        return result


@mutant("inline.order", "has a second line for what comes at a bad moment, and looks there last")
class JInlineOvertakes(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - the attribute of the base class
        held = None

        def deliver_now(self, function, message):
            if self.held is None and message.payload.endswith(b"7"):
                self.held = message
                return True
            done = super().deliver_now(function, message)
            if self.held is not None:
                held, self.held = self.held, None
                super().put_message(function, held)
            return done


@mutant("inline.event_order", "calls on_connect when it has told everything else")
class JInlineConnectsLast(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - as above
        def put_gated(self, function, *args):
            return lambda: threading.Timer(0.1, self.put, (function, *args)).start()


@mutant("inline.one_at_a_time", "calls handlers wherever something happens, without a look around")
class JInlineTrampling(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - as above
        def put(self, function, *args):
            function(*args)

        def put_message(self, function, message):
            function(message)


@mutant("inline.exception", "lets SystemExit through to the thread of the library")
class JInlineLetsThrough(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - as above
        def _contain(self, exc):
            raise exc

    def _read(self, sock):
        try:
            super()._read(sock)
        except SystemExit as exc:
            self._lost(RuntimeError(str(exc)))


@mutant("inline.loop_stop", "hands on what comes although the loop is stopped")
class JInlineHeedless(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - as above
        def put_message(self, function, message):
            function(message)


@mutant("inline.loop_forever", "does not come back from loop_forever")
class JInlineReallyForever(JDispatches):
    class dispatcher(InlineDispatcher):  # noqa: N801 - as above
        def run(self):
            self.start()
            while not self.finished.wait(0.1):
                pass

    finished = dispatcher.finished = threading.Event()

    @classmethod
    def tidy(cls):
        cls.finished.set()


@mutant("inline.wait_in_handler", "waits for itself until the time is over")
class JInlineWaitsForItself(JToy):
    def publish(self, *args, **options):
        return _without_turn(super().publish(*args, **options))

    def subscribe(self, *args, **options):
        return _without_turn(super().subscribe(*args, **options))

    def unsubscribe(self, *args, **options):
        return _without_turn(super().unsubscribe(*args, **options))


def _without_turn(receipt):
    receipt._turn = Turn()
    return receipt


@mutant("inline.requests_in_handler", "has handlers wait for who publishes, who waits for them")
class JInlineEmbraces(JToy):
    _embraced = False

    def _set_up(self, name):
        self._embrace = threading.Lock()
        super()._set_up(name)

    def _publish(self, message):
        # What a lock that is held while writing does, if the reader has it while it reports.
        if self._embraced or not self._embrace.acquire(timeout=0.2):
            self._embraced = True
            raise TimeoutError("a deadlock, but for this timeout")
        try:
            return super()._publish(message)
        finally:
            self._embrace.release()

    def _on_answer(self, packet):
        with self._embrace:
            super()._on_answer(packet)


@mutant("inline.qos_2", "hands a message of QoS 2 on twice: as it comes, and as it is released")
class JInlineTwice(JToy):
    def _on_publish_packet(self, packet):
        self._last = packet
        super()._on_publish_packet(packet)

    def _on_pubrel(self, packet):
        if self._last.qos == 2:
            self._received(self._last.topic, self._last.payload, 2)
        super()._on_pubrel(packet)


@mutant("inline.manual_ack", "acknowledges once the handler has returned, though asked not to")
class JInlineAcknowledgesWhenHandled(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        super()._received(topic, payload, qos, retain, dup, mid, properties)
        if self._options.handlers == "inline":
            self._ack(mid, qos)


@mutant("inline.none_after_close", "goes on with its handlers after it was closed")
class JInlineClosesLater(JToy):
    asked = False

    def disconnect_from_server(self):
        if self.asked:
            super().disconnect_from_server()
        self.asked = True


@mutant("inline.close_in_handler", "closes at once, and loses what was under way")
class JInlineClosesAtOnce(JToy):
    def disconnect_from_server(self):
        if self._delivery.inside_handler:
            self._fail_unfinished()
        super().disconnect_from_server()
