"""Mutants that break a rule about lost connections; see mutants.py."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from dataclasses import replace

from mutants import mutant
from toy import JToy

from juham_core.dial import dial
from juham_core.errors import MalformedPacketError
from juham_core.wire import Subscribe

# --- connections --------------------------------------------------------------------------------------


@mutant("reconnect.half_open", "sends no pings and misses no answer")
class JNoKeepalive(JToy):
    def _make_connect(self, options):
        self._keepalive = 0
        return super()._make_connect(options)


@mutant("reconnect.half_open_busy", "sends no pings while it has something else to send")
class JPingsWhenIdle(JToy):
    def _write(self, sock, packet):
        super()._write(sock, packet)
        self._pinged_at = time.monotonic()


@mutant("reconnect.after_malformed", "stays on a connection that it cannot read any more")
class JDeaf(JToy):
    def _ended(self, sock, error):
        if not isinstance(error, MalformedPacketError):
            super()._ended(sock, error)


@mutant("reconnect.after_restart", "says that it is connected when it was")
class JAlwaysConnected(JToy):
    def is_connected(self):
        return self._statistics.connects > 0


@mutant("reconnect.same_client", "comes back as another client each time")
class JNewName(JToy):
    def _open(self, options):
        super()._open(options.changed(client_id=secrets.token_hex(4)))


@mutant("reconnect.switched_off", "reconnects although it is told not to")
class JReconnectsAnyway(JToy):
    def configure(self, **options):
        super().configure(**{**options, "reconnect": True})


@mutant("reconnect.disconnect_packet", "leaves without DISCONNECT")
class JLeavesWithoutWord(JToy):
    def _close(self, deliberate):
        super()._close(False)


@mutant("reconnect.no_will_on_disconnect", "leaves without DISCONNECT, so that its will is sent")
class JLeavesItsWill(JLeavesWithoutWord):
    pass


@mutant("reconnect.will_after_loss", "brings its will only once")
class JWillOnce(JToy):
    def _open(self, options):
        super()._open(options.changed(will=None) if self._statistics.connects else options)


@mutant("reconnect.will_after_crash", "has no will")
class JDiesIntestate(JToy):
    def _open(self, options):
        super()._open(options.changed(will=None))


# --- subscriptions ------------------------------------------------------------------------------------


@mutant("reconnect.resubscribe_once", "forgets its subscriptions with the connection")
class JForgetsToResubscribe(JToy):
    def _connack(self, *args, **more):
        self._ledger._entries.clear()
        super()._connack(*args, **more)


@mutant("reconnect.resubscribe_once", "subscribes twice after a reconnect")
class JResubscribesTwice(JToy):
    def _subscribe(self, subscriptions):
        if self._statistics.reconnects:
            super()._subscribe(subscriptions)
        return super()._subscribe(subscriptions)


@mutant("reconnect.resubscribe_first", "publishes before it subscribes again")
class JResubscribesLate(JToy):
    held = None

    def _send(self, packet):
        if isinstance(packet, Subscribe) and self._statistics.reconnects:
            self.held = packet
            return
        super()._send(packet)
        held, self.held = self.held, None
        if held:
            super()._send(held)


@mutant("reconnect.resubscribe_cut", "forgets a SUBSCRIBE that was not answered")
class JForgetsUnanswered(JToy):
    def _connack(self, *args, **more):
        self._ledger._entries = {n: e for n, e in self._ledger._entries.items() if e.ever_granted}
        super()._connack(*args, **more)


@mutant("reconnect.subscribe_in_on_connect", "subscribes once for itself and once for on_connect")
class JSubscribesForBoth(JToy):
    def _connack(self, *args, **more):
        super()._connack(*args, **more)
        self._ledger._restored.clear()


@mutant("reconnect.unsubscribed_offline", "takes back only what was unsubscribed on a connection")
class JIgnoresOfflineUnsubscribe(JToy):
    def unsubscribe(self, topic, properties=None):
        entries = dict(self._ledger._entries)
        receipt = super().unsubscribe(topic, properties)
        if not self.is_connected():
            self._ledger._entries = entries
        return receipt


@mutant("reconnect.session_not_resubscribed", "subscribes again although the broker has its session")
class JIgnoresSession(JToy):
    def _connack(self, *args, **more):
        for entry in self._ledger._entries.values():
            entry.granted = None
        super()._connack(*args, **more)


@mutant("reconnect.session_lost", "believes that the broker never forgets a session")
class JTrustsSession(JToy):
    def _connack(self, session_present, *args, **more):
        super()._connack(session_present or self._statistics.connects > 0, *args, **more)


@mutant("reconnect.replay", "drops what comes before it has subscribed")
class JDropsReplay(JToy):
    subscribed = False

    def _open(self, options):
        self.subscribed = False
        super()._open(options)

    def _subscribe(self, subscriptions):
        self.subscribed = True
        return super()._subscribe(subscriptions)

    def _received(self, *message):
        if self.subscribed:
            super()._received(*message)


@mutant("reconnect.replay_before_handlers", "drops what comes before its handlers run")
class JDropsEarly(JToy):
    def _received(self, *message):
        if self._delivery._dispatcher.running:
            super()._received(*message)


# --- when to try again --------------------------------------------------------------------------------


@mutant("reconnect.backoff_grows", "tries again after the same pause each time")
class JConstantPause(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._connection._delay = lambda: 0.02


@mutant("reconnect.backoff_capped", "lets its pauses grow without a limit")
class JUncapped(JToy):
    def _attempt(self, server):
        self._options = self._options.changed(reconnect_max=1e6)
        super()._attempt(server)


@mutant("reconnect.backoff_jitter", "waits exactly as long as every other client")
class JNoJitter(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._connection._delay = lambda: self._options.reconnect_max


@mutant("reconnect.backoff_resets", "does not begin anew after a success")
class JKeepsItsPause(JToy):
    def _connack(self, *args, **more):
        super()._connack(*args, **more)
        self._connection._pace.ended = lambda options: False


@mutant("reconnect.stops_at_bad_password", "tries a wrong password again and again")
class JKnocksOn(JToy):
    def _connack(self, session_present, reason_code=0, *args, **more):
        super()._connack(session_present, 0x88 if reason_code else 0, *args, **more)


@mutant("reconnect.stops_at_takeover", "fights for its client identifier")
class JTugOfWar(JToy):
    def _on_disconnect_packet(self, packet):
        self._lost(None)


@mutant("reconnect.other_disconnects", "does not say why the broker ended the connection")
class JHidesReason(JTugOfWar):
    pass


@mutant("reconnect.transient_refusal", "gives up at any refusal")
class JTakesNoForNever(JToy):
    def _connack(self, session_present, reason_code=0, *args, **more):
        super()._connack(session_present, 0x87 if reason_code else 0, *args, **more)


@mutant("reconnect.fresh_credentials", "keeps the credentials of its first attempt")
class JOldCredentials(JToy):
    first = None

    def _open(self, options):
        self.first = self.first or options
        super()._open(self.first)


@mutant("reconnect.close_in_backoff", "sleeps through being closed")
class JSleeps(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._pauses = threading.Event()
        self._connection._delay = self._sleep

    def _sleep(self):
        self._pauses.set()
        threading.Event().wait(2.5)
        return 0

    def disconnect_from_server(self, *args, **more):
        self._pauses.wait(10)  # closed before the pause has begun, it would not begin
        super().disconnect_from_server(*args, **more)


@mutant("reconnect.close_in_attempt", "gives no attempt up")
class JHangsOn(JToy):
    def _open(self, options):
        super()._open(options.changed(connect_timeout=2.5))

    def _give_up(self):
        """The attempt goes on until its time is over."""


@mutant("reconnect.close_in_upgrade", "gives up a connection that is being made, but no websocket's request")
class JUpgradesOn(JToy):
    capabilities = replace(JToy.capabilities, websockets=True)

    def _open(self, options):
        if options.transport == "websockets":
            with dial(options.host, options.effective_port, "", time.monotonic() + 2.5) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                sock.settimeout(2.5)
                sock.recv(1)
        super()._open(options)


@mutant("connect.close_in_first_upgrade", "lets whoever closes it wait for the answer to its first request")
class JUpgradesFirst(JUpgradesOn):
    pass


@mutant("reconnect.again_after_giving_up", "stays given up once it has been")
class JGivesUpForGood(JToy):
    refused = False

    def _connack(self, session_present, reason_code=0, *args, **more):
        self.refused = self.refused or reason_code == 0x86
        super()._connack(session_present, 0x86 if self.refused else reason_code, *args, **more)


@mutant("reconnect.close_in_handshake", "gives up a connection that is being made, but no handshake")
class JShakesOn(JToy):
    def _open(self, options):
        attempt, known = self._dialling, self._dialling.waits_for
        attempt.waits_for = lambda sock: attempt.over() if isinstance(sock, ssl.SSLSocket) else known(sock)
        super()._open(options.changed(connect_timeout=2.5))
