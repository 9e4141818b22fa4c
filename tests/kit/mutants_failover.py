"""Mutants that break a rule about several servers, or about two clients of one name; see mutants.py."""

from __future__ import annotations

from mutants import mutant
from toy import JToy


@mutant("failover.refused", "knows only the first server")
class JFirstServerOnly(JToy):
    def _attempt(self, server):
        super()._attempt(self._options.targets[0])


@mutant("failover.black_hole", "gives each server six times its time")
class JTooPatient(JToy):
    def _attempt(self, server):
        options = self._options
        self._options = options.changed(connect_timeout=options.connect_timeout * 6)
        super()._attempt(server)
        self._options = options


@mutant("failover.closed_at_once", "turns to the next server only where there is no transport")
class JStaysWhereItIs(JToy):
    def _attempt(self, server):
        super()._attempt(getattr(self, "reached", server))
        self.reached = server


@mutant("failover.mute", "asks the same server for ever once it has a transport")
class JStaysWithTheMute(JStaysWhereItIs):
    pass


@mutant("failover.unavailable", "takes every refusal for the last word")
class JTakesNoForAnswer(JToy):
    def _connack(self, session_present, reason_code=0, *args, **more):
        super()._connack(session_present, 0x87 if reason_code else 0, *args, **more)


@mutant("failover.all_refuse", "tells of the last server only, when all have refused")
class JLastWord(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        pace = self._connection._pace
        pace.summary = lambda: list(pace.errors.values())[-1]


@mutant("failover.none", "tells of the last server only")
class JLastWordOfNone(JLastWord):
    pass


@mutant("failover.runs_out", "goes on for ever, whatever it was told")
class JRunsOn(JToy):
    def _require(self, options):
        super()._require(options)
        self._connection._options = lambda: self._options.changed(reconnect=True, reconnect_min=0.01)


@mutant("failover.stops_at_credentials", "tries a wrong password on every server")
class JKnocksEverywhere(JToy):
    def _connack(self, session_present, reason_code=0, *args, **more):
        super()._connack(session_present, 0x88 if reason_code else 0, *args, **more)


@mutant("failover.after_loss", "waits before it turns to the next server")
class JTakesABreak(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._connection._delay = lambda: self._options.reconnect_min


@mutant("failover.in_turn", "goes back to the first server after every loss")
class JHomesick(JToy):
    def _attempt(self, server):
        super()._attempt(server)
        self._connection._pace._turn = -1


@mutant("failover.pause_after_round", "never pauses")
class JRestless(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._connection._delay = lambda: 0.0


@mutant("failover.credentials", "keeps the credentials of the first attempt")
class JKeepsCredentials(JToy):
    def _open(self, options):
        first = self.__dict__.setdefault("first", options)
        super()._open(options.changed(username=first.username, password=first.password))


@mutant("failover.server_reference", "does not listen to where the broker sends it")
class JDeafToReferences(JToy):
    def _lost(self, error=None, reason_code=0x80, properties=None, **more):
        super()._lost(error, reason_code, None, **more)


@mutant("failover.reference_named", "goes wherever a broker sends it")
class JFollowsAnybody(JToy):
    def _connack(self, session_present, reason_code=0, properties=None, **more):
        if properties and properties.server_reference:
            self._options = self._options.changed(servers=[self.server[7:], properties.server_reference])
        super()._connack(session_present, reason_code, properties, **more)


@mutant("failover.two_clients", "fights for its client identifier at full speed")
class JEasilyPleased(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        pace = self._connection._pace

        def ended(options):
            pace.waits = 0
            pace.short_lived += 1
            return False

        pace.ended = ended


@mutant("failover.short_lived", "takes every accepted connection for a success")
class JNoticesNothing(JEasilyPleased):
    pass
