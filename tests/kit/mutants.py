"""Mutants: backends that each break one rule, in a few lines, on top of the correct toy.

How to add one: derive from JToy, override what it takes to break the rule, and decorate with
``@mutant("case.id", "what it does wrong")``. ``tests/kit/test_mutants.py`` sees to it that the case named
catches it. Break the rule as a real backend would, not by name of the case.
"""

from __future__ import annotations

from toy import JToy

from juham_core.wire import Suback

MUTANTS = {}
"""Name of the class -> (class, case that must catch it, what it does wrong)."""


def mutant(case_id, does):
    def enter(cls):
        MUTANTS[cls.__name__] = (cls, case_id, does)
        return cls

    return enter


@mutant("subscribe.refused", "swallows a refused subscription")
class JSwallowsRefusal(JToy):
    def _on_suback(self, packet):
        super()._on_suback(Suback(packet.packet_id, [min(code, 2) for code in packet.reason_codes]))


@mutant("publish.receipt_on_puback", "reports a publish as acknowledged when it is sent")
class JAcknowledgesEarly(JToy):
    def _publish(self, message):
        key = super()._publish(message)
        self._acknowledged(key)
        return key


@mutant("publish.payload_empty", "hands an empty payload over as None")
class JEmptyIsNone(JToy):
    def _received(self, topic, payload, *more):
        super()._received(topic, payload or None, *more)
