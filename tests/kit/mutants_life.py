"""Mutants that break a rule about packaging, life, threads or endurance; see mutants.py."""

from __future__ import annotations

import os
import threading
from typing import ClassVar

from mutants import mutant
from toy import JToy

from juham_core.capabilities import Capabilities
from juham_core.message import MqttMsg

# --- packaging --------------------------------------------------------------------------------------




@mutant("packaging.import_quiet", "prints when it is imported")
class JPrints(JToy):
    __module__ = "noisy"


@mutant("packaging.import_harmless", "sets up logging when it is imported")
class JSetsUpLogging(JToy):
    __module__ = "noisy"


@mutant("packaging.constructor", "cannot be made without arguments")
class JAsksForMore(JToy):
    def __init__(self, name="toy", *, host="localhost", port):
        super().__init__(name)


@mutant("packaging.capabilities", "declares no transport")
class JWithoutTransport(JToy):
    capabilities = Capabilities(mqtt_311=True)


@mutant("packaging.contract_version", "was written for a contract that is yet to come")
class JFromTheFuture(JToy):
    contract_version = 99


@mutant("packaging.independent", "keeps what is set on one client for all")
class JShares(JToy):
    _of_all: ClassVar = []

    @property
    def options(self):
        return self._of_all[-1] if self._of_all else self._options

    @options.setter
    def options(self, options):
        self._of_all[:] = [options]

    @classmethod
    def tidy(cls):
        cls._of_all.clear()


@mutant("packaging.saved", "saves the password")
class JSavesPassword(JToy):
    def to_dict(self):
        data = super().to_dict()
        data["_object"]["options"]["password"] = self.options.password
        return data


@mutant("packaging.saved", "forgets the will")
class JForgetsWill(JToy):
    def to_dict(self):
        data = super().to_dict()
        data["_object"]["options"].pop("will", None)
        return data


# --- lifecycle --------------------------------------------------------------------------------------


@mutant("lifecycle.reused", "leaks a thread")
class JLeaksThread(JToy):
    _enough = threading.Event()

    def _open(self, options):
        threading.Thread(target=self._enough.wait, name="forgotten", daemon=True).start()
        super()._open(options)

    @classmethod
    def tidy(cls):
        cls._enough.set()


@mutant("lifecycle.quiet_after_close", "runs a handler after it is closed")
class JRunsAfterClose(JToy):
    def disconnect_from_server(self):
        was_connected = self.is_connected()
        super().disconnect_from_server()
        handler = self._get_handler("on_disconnect")
        if was_connected and handler:
            handler(self, None, 0)


@mutant("lifecycle.told_of_close", "does not tell of a deliberate close")
class JClosesSilently(JToy):
    def _get_handler(self, event):
        quiet = event == "on_disconnect" and self._connection.closing
        return None if quiet else super()._get_handler(event)


@mutant("lifecycle.lost_for_good", "says it is connected when it no longer is")
class JFalseConnected(JToy):
    _claims = False

    def _connack(self, *verdict, **named):
        self._claims = True
        super()._connack(*verdict, **named)

    def is_connected(self):
        return self._claims


@mutant("lifecycle.loop_stop", "does not stop its loop")
class JNeverStops(JToy):
    def loop_stop(self):
        return 0


@mutant("lifecycle.no_loop", "runs handlers before it is told to")
class JLoopsUnasked(JToy):
    def _open(self, options):
        super()._open(options)
        self.loop_start()


@mutant("lifecycle.loop_forever", "runs handlers in a thread of its own in loop_forever()")
class JForeverElsewhere(JToy):
    def loop_forever(self):
        thread = threading.Thread(target=super().loop_forever)
        thread.start()
        thread.join()
        return 0


@mutant("lifecycle.close_without_verdict", "waits for CONNACK before it closes")
class JWaitsBeforeClosing(JToy):
    def disconnect_from_server(self):
        if self._sock is not None:
            self._connection._changed.acquire()
            self._connection._changed.wait_for(self.is_connected, self.options.connect_timeout)
            self._connection._changed.release()
        super().disconnect_from_server()


@mutant("lifecycle.other_options", "keeps the options of its first connection")
class JKeepsOptions(JToy):
    _first = None

    def _make_connect(self, options):
        self._first = self._first or options
        return super()._make_connect(self._first)


@mutant("lifecycle.will_not_at_close", "closes without DISCONNECT")
class JJustGoes(JToy):
    def _close(self, deliberate):
        super()._close(False)


@mutant("lifecycle.will_at_crash", "takes the payload of a will for text")
class JTextWill(JToy):
    def _make_connect(self, options):
        packet = super()._make_connect(options)
        if packet.will is not None:
            packet.will.payload = packet.will.payload.decode(errors="replace").encode()
        return packet


@mutant("lifecycle.will_cleared", "keeps a will that was taken back")
class JKeepsWill(JToy):
    _will = None

    def _make_connect(self, options):
        packet = super()._make_connect(options)
        self._will = packet.will = packet.will or self._will
        return packet


# --- threads ----------------------------------------------------------------------------------------


@mutant("threads.off_the_network", "runs handlers on the thread that reads the socket")
class JOnTheNetwork(JToy):
    def _received(self, *parts):
        self._delivery.router.deliver(MqttMsg(*parts))


@mutant("threads.one_handler_at_a_time", "runs each handler in a thread of its own")
class JManyAtOnce(JToy):
    def _get_handler(self, event):
        handler = super()._get_handler(event)

        def elsewhere(client, userdata, *more):
            threading.Thread(target=handler, args=(client, userdata, *more)).start()

        return handler and elsewhere


@mutant("threads.in_handler", "cannot subscribe inside a handler")
class JNotInside(JToy):
    def subscribe(self, *args, **named):
        if self._delivery.inside_handler:
            raise RuntimeError("not here")
        return super().subscribe(*args, **named)


# --- endurance --------------------------------------------------------------------------------------


@mutant("endurance.refused", "leaks the socket of a connection that was refused")
class JLeaksSocket(JToy):
    _leaked: ClassVar = []

    def _close(self, deliberate):
        if self._sock is not None:
            self._leaked.append(os.dup(self._sock.fileno()))
        super()._close(deliberate)

    @classmethod
    def tidy(cls):
        while cls._leaked:
            os.close(cls._leaked.pop())


@mutant("endurance.new_clients", "keeps every client that was ever made")
class JKeepsClients(JToy):
    _kept: ClassVar = []

    def _set_up(self, name):
        super()._set_up(name)
        self._kept.append(self)

    @classmethod
    def tidy(cls):
        cls._kept.clear()


@mutant("endurance.qos_2", "keeps something of every message")
class JKeepsMessages(JToy):
    def _received(self, topic, *more):
        self.__dict__.setdefault("_seen", []).append([topic])
        super()._received(topic, *more)


@mutant("endurance.qos_1", "loses one message in a thousand")
class JLosesOne(JToy):
    def _received(self, topic, payload, *more):
        if not payload.startswith(b"0000000333"):
            super()._received(topic, payload, *more)


@mutant("endurance.reconnects", "keeps the reader of every connection")
class JKeepsReaders(JToy):
    def _open(self, options):
        super()._open(options)
        self.__dict__.setdefault("_readers", []).append([bytes(100) for _ in range(40)])


@mutant("endurance.stalled_qos_0", "takes as much as comes, whether the broker reads or not")
class JTakesAll(JToy):
    def _publish(self, message):
        if message.qos == 0:
            self.__dict__.setdefault("_unsent", []).append((bytes(2000), message))
            return super()._publish(message) if len(self._unsent) == 1 else 0
        return super()._publish(message)


@mutant("endurance.stalled_qos_1", "has a queue without a bound")
class JEndlessQueue(JToy):
    def _apply_bounds(self):
        super()._apply_bounds()
        self._outgoing.max_queued = 1 << 40
