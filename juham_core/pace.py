"""Where to try next, and after how long: a round goes over all the servers before anybody waits."""

from __future__ import annotations

import random
import time
from typing import Final

from juham_core.errors import ConnectError, ConnectTimeoutError, OptionError
from juham_core.options import Options
from juham_core.servers import Server

SUSPICIOUS: Final = 3
"""So many connections in a row that were accepted and soon closed again are no accident."""


class Pace:
    """The turn, the back-off and the errors of one client; its owner sees to it that calls do not overlap.

    A connection that was accepted counts as a success only once it has lasted: two clients of one client
    identifier whose broker accepts each and cuts the other off must slow down, not fight at full speed.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with the first server, and without a past."""
        self.errors: dict[str, ConnectError] = {}
        """Of the servers that failed in this round, by address."""
        self.short_lived = 0
        """Connections in a row that were accepted and did not last."""
        self.waits = 0
        """How often there was a wait since a connection has lasted."""
        self._turn = 0
        self._failed = 0
        self._wait = 0.0
        self._since = 0.0

    def server(self, options: Options) -> Server:
        """Whose turn it is."""
        targets = options.targets
        return targets[self._turn % len(targets)]

    def accepted(self) -> None:
        """The broker has accepted: from now on the connection may prove itself."""
        self._since = time.monotonic()

    def ended(self, options: Options) -> bool:
        """A connection that was accepted has ended; True if it had lasted, so that a new round begins."""
        lasted = time.monotonic() - self._since >= self._enough(options)
        if lasted:
            self._failed = self.short_lived = self.waits = 0
            self._wait = 0.0
            self.errors.clear()
        else:
            self.short_lived += 1
        return lasted

    def failed(self, where: str, error: ConnectError) -> None:
        """This server did not work out: it is the next one's turn."""
        if not self._failed:
            self.errors.clear()
        self.errors[where] = error
        self._failed += 1
        self._turn += 1

    def prefer(self, reference: str, options: Options) -> None:
        """Make it the turn of a server that the broker has named (section 4.13), if we know it ourselves."""
        known = [options.at(server).describe() for server in options.targets]
        for named in reference.split():
            try:
                server = Server.parse(named)
            except OptionError:
                continue  # a broker may write there what it likes
            where = options.changed(host=server.host, port=server.port).describe()
            if where in known:
                self._turn = known.index(where)
                return

    def round_over(self, options: Options) -> bool:
        """True if every server has had its turn."""
        return self._failed >= len(options.targets)

    def pause(self, options: Options) -> float:
        """Seconds to wait before the next attempt: none within a round.

        Exponential, capped, with jitter: a thousand clients are not to come back at the same instant.
        """
        if not self.round_over(options):
            return 0.0
        self._failed = 0
        self._wait = min(options.reconnect_max, options.reconnect_min * 2.0 ** min(self.waits, 30))
        self.waits += 1
        return self._wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def summary(self) -> ConnectError:
        """What the servers said in this round, in one error."""
        errors = list(self.errors.values())
        if len(errors) == 1:
            return errors[0]
        kind = ConnectError
        if all(isinstance(error, ConnectTimeoutError) for error in errors):
            kind = ConnectTimeoutError
        listed = "; ".join(map(str, errors))
        last = errors[-1]
        error = kind(
            f"none of {len(errors)} servers let us in: {listed}",
            reason_code=last.reason_code,
            errors=self.errors,
        )
        error.__cause__ = last
        return error

    def _enough(self, options: Options) -> float:
        # Of two clients that fight, each lasts as long as the other waits: being better than that is needed.
        return max(options.reconnect_reset, 2 * self._wait) if options.reconnect_reset else 0.0
