"""Mutants that take copies for messages, or messages for copies; see mutants.py."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from mutants import mutant
from toy import JToy


class JByRule(JToy):
    """Decides by a rule of its own whether a message is a copy."""

    def _set_up(self, name):
        super()._set_up(name)
        self._seen = set()
        self._copies.received = self._judge

    def _judge(self, message, manual):
        identifiers = message.properties.pop("subscription_identifier", [0])
        wanted = self._wanted(message, identifiers)
        if wanted:
            self._delivery.received(message)
        return wanted

    @abstractmethod
    def _wanted(self, message, identifiers):
        """True for what is to be delivered."""


@mutant("mqtt5.copies_in_any_order", "takes every copy for a message")
class JCopies(JByRule):
    def _wanted(self, message, identifiers):
        return True


@mutant("mqtt5.copies", "takes an equal message for a copy")
class JNoRepetition(JByRule):
    def _wanted(self, message, identifiers):
        new = (message.topic, message.payload) not in self._seen
        self._seen.add((message.topic, message.payload))
        return new


@mutant("mqtt5.copies_missing", "wants what comes for its first subscription only")
class JFirstOnly(JByRule):
    def _wanted(self, message, identifiers):
        return 0 in identifiers or len(self._ledger.expected(message.topic)) < 2


@mutant("mqtt5.copies_on_message", "gives no subscription an identifier, and takes one of two for a copy")
class JEverySecond(JByRule):
    _count = 0

    def _subscribe(self, subscriptions):
        return super()._subscribe([replace(each, identifier=0) for each in subscriptions])

    def _wanted(self, message, identifiers):
        self._count += 1
        return self._count % 2 == 1


@mutant("mqtt5.copies_after_reconnect", "gives new identifiers in each connection")
class JFickle(JToy):
    _offset = 0

    def _open(self, options):
        self._offset += 1
        super()._open(options)

    def _subscribe(self, subscriptions):
        first = subscriptions[0]
        if first.identifier:
            subscriptions = [replace(first, identifier=first.identifier % 1000 + self._offset)]
        return super()._subscribe(subscriptions)


@mutant("mqtt5.copies_of_a_session", "forgets with the connection what was delivered")
class JForgetsCopies(JToy):
    def _open(self, options):
        self._copies.clear()
        super()._open(options)


@mutant("mqtt5.copies_not_shared", "takes what comes by a shared subscription for a copy")
class JSharesNothing(JByRule):
    def _wanted(self, message, identifiers):
        names = self._ledger._filters.match(message.topic)
        first = self._ledger._entries[names[0]].identifier if names else 0
        return identifiers == [first]


@mutant("mqtt5.copies_acknowledged", "leaves copies unacknowledged")
class JLeavesCopies(JToy):
    def _received(self, *arguments):
        self._ack = lambda _mid, _qos: None
        super()._received(*arguments)
        del self._ack


@mutant("mqtt5.replays_are_no_copies", "takes a replay for a copy")
class JOneReplay(JByRule):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        if retain and topic in self._seen:
            return
        self._seen.add(topic)
        super()._received(topic, payload, qos, retain, dup, mid, properties)

    def _wanted(self, message, identifiers):
        return True


@mutant("mqtt5.identifiers_sparingly", "gives every subscription an identifier")
class JIdentifiesAll(JToy):
    def _subscribe(self, subscriptions):
        return super()._subscribe([replace(each, identifier=each.identifier or 7) for each in subscriptions])


@mutant("mqtt5.identifiers_unavailable", "sends identifiers to a broker that has none")
class JStubborn(JToy):
    def _takes_identifiers(self, connack):
        return True


@mutant("mqtt5.on_subscribe_once", "calls on_subscribe for each SUBACK of a list")
class JTellsEach(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        answered = self._ledger.answered

        def with_codes(request, codes, *more):
            for receipt in request.receipts:
                self._delivery.answered("on_subscribe", receipt.mid, codes, None)
            return answered(request, codes, *more)

        self._ledger.answered = with_codes
