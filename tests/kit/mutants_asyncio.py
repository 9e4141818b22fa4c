"""Mutants of the asyncio face, which break a rule that a case tries there, too; see mutants.py.

Those that derive from AsyncMqtt stand in its place before the correct toy.
"""

from __future__ import annotations

import asyncio

from mutants import MUTANTS, load_all
from toy import JToy

from juham_core.aio import AsyncMqtt
from juham_core.aio.dispatcher import LoopDispatcher
from juham_core.aio.life import Life
from juham_core.errors import ConnectError
from juham_core.message import PublishReceipt

ASYNCIO = {}
"""Name of the class -> (class, case that must catch it through asyncio, what it does wrong)."""


def asyncio_mutant(case_id, does):
    def enter(cls):
        ASYNCIO[cls.__name__, case_id] = (cls, case_id, does)
        return cls

    return enter


def load_asyncio():
    """Those of this module, and those of others that break their rule through asyncio as they are."""
    load_all()
    for name in _AS_THEY_ARE.split():
        cls, case_id, does = MUTANTS[name]
        ASYNCIO[name, case_id] = (cls, case_id, does)
    return {f"{name}-{case_id}": entry for (name, case_id), entry in ASYNCIO.items()}


_AS_THEY_ARE = """
    JPrints JSetsUpLogging JShares JFirstCodeOnly JWildAnyway JEndsAtSystemExit JDropsEarly JLeavesSockets
    JEveryConnack JQuietRefusal JNoticesNothing JTakesAll JInlineWaitsForItself JInlineTwice
    JInlineAcknowledgesWhenHandled JLosesDup JNumbersItself JLosesDupLater JShowsDup JShowsDupLater JShowsMid
"""

# --- its life -----------------------------------------------------------------------------------------


@asyncio_mutant("lifecycle.connect_by_threads", "is content if somebody else connects")
class Content(AsyncMqtt):
    async def connect(self, timeout=None):
        try:
            await super().connect(timeout)
        except ConnectError as exc:
            if "AsyncMqtt connects it itself" not in str(exc):
                raise


@asyncio_mutant("failover.runs_out", "forgets what waits when it has failed to connect")
class Forgets(AsyncMqtt):
    async def connect(self, timeout=None):
        try:
            await super().connect(timeout)
        except ConnectError:
            asyncio.get_running_loop().call_later(0.05, self.client._fail_unfinished)
            raise


@asyncio_mutant("packaging.shown", "shows all options")
class ShowsAll(AsyncMqtt):
    def __repr__(self):
        return f"<{self.client!r}: {self.client.options.password}>"


@asyncio_mutant("endurance.qos_0", "loses a message of QoS 0 now and then")
class LosesOne(AsyncMqtt):
    published = 0

    async def publish(self, *args, **named):
        self.published += 1
        return PublishReceipt() if self.published == 100 else await super().publish(*args, **named)


@asyncio_mutant("inline.close_in_handler", "does not tell on_disconnect of a close within a handler")
class ClosesSilently(AsyncMqtt):
    async def _tell_of_end(self):
        pass


# --- its handlers -------------------------------------------------------------------------------------


@asyncio_mutant("handlers.loop_stop", "goes on with its handlers after loop_stop")
@asyncio_mutant("lifecycle.loop_stop", "goes on with its handlers after loop_stop")
@asyncio_mutant("lifecycle.loop_stop_in_handler", "goes on with its handlers after loop_stop")
@asyncio_mutant("inline.loop_stop", "goes on with its handlers after loop_stop")
@asyncio_mutant("handlers.not_before_loop", "runs handlers though they are to wait")
@asyncio_mutant("lifecycle.no_loop", "runs handlers though they are to wait")
class JGoesOn(JToy):
    def loop_stop(self):
        return 0


class Dispatches(AsyncMqtt):
    """An AsyncMqtt with a dispatcher of its own."""

    def _move_in(self):
        super()._move_in()
        self._dispatcher.__class__ = self.dispatcher


@asyncio_mutant("inline.order", "has a second line for what comes at a bad moment, and looks there last")
class Overtakes(Dispatches):
    class dispatcher(LoopDispatcher):  # noqa: N801 - the attribute of the base class
        held = None

        def put_message(self, function, message):
            if self.held is None and message.payload.endswith(b"7"):
                self.held = message
                return True
            done = super().put_message(function, message)
            if self.held is not None:
                held, self.held = self.held, None
                super().put_message(function, held)
            return done


@asyncio_mutant("inline.event_order", "calls on_connect when it has told everything else")
class ConnectsLast(Dispatches):
    class dispatcher(LoopDispatcher):  # noqa: N801 - as above
        def put_gated(self, function, *args):
            def later():
                self._loop.call_later(0.1, self.put, function, *args)

            return lambda: self._loop.call_soon_threadsafe(later)


@asyncio_mutant("inline.one_at_a_time", "calls handlers wherever something happens, without a look around")
class Tramples(Dispatches):
    class dispatcher(LoopDispatcher):  # noqa: N801 - as above
        def put(self, function, *args):
            function(*args)

        def put_message(self, function, message):
            function(message)
            return True


@asyncio_mutant("inline.none_after_close", "goes on with its handlers on any thread after a close")
class TramplesOn(Tramples):
    async def close(self):
        asked, self.asked = self.__dict__.get("asked", False), True
        if asked:
            await Life.close(self)


@asyncio_mutant("inline.exception", "makes no further call after one that raised what is no Exception")
class StopsAtSystemExit(Dispatches):
    class dispatcher(LoopDispatcher):  # noqa: N801 - as above
        def _contain(self, exc):
            super()._contain(exc)
            if not isinstance(exc, Exception):
                self.stop()
