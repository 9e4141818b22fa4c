"""Mutants whose library tells neither DUP nor packet identifiers, or so they declare; see mutants.py."""

from __future__ import annotations

from dataclasses import replace

from mutants import mutant
from toy import JToy


def own(mid):
    """A number instead of the packet identifier, and back again; 0 stays what it is."""
    return mid and 0x10000 - mid


class JHidden(JToy):
    """Correct: it numbers what it receives by itself, declares so, and acknowledges by these numbers."""

    capabilities = replace(JToy.capabilities, dup_and_mid=False)

    def _received(self, topic, payload, qos, retain, dup, mid, *more):
        super()._received(topic, payload, qos, retain, self._shown(dup), own(mid), *more)

    def _shown(self, dup):
        return False

    def _ack(self, mid, qos):
        super()._ack(own(mid) if self._manual else mid, qos)


@mutant("handlers.qos_1_dup_shown", "shows DUP, and does not declare that it does")
class JShowsDup(JHidden):
    def _shown(self, dup):
        return dup


@mutant("handlers.ack_missing_dup", "shows DUP in later connections, and does not declare that it does")
class JShowsDupLater(JHidden):
    def _shown(self, dup):
        return dup and self._statistics.connects > 1


@mutant("handlers.mid_shown", "shows packet identifiers, and does not declare that it does")
class JShowsMid(JToy):
    capabilities = JHidden.capabilities

    def _received(self, topic, payload, qos, retain, dup, *more):
        super()._received(topic, payload, qos, retain, False, *more)


@mutant("handlers.mid_shown", "acknowledges by the numbers that it shows instead of packet identifiers")
class JAcknowledgesOwn(JHidden):
    def _ack(self, mid, qos):
        JToy._ack(self, mid, qos)
