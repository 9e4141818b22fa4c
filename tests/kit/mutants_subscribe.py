"""Mutants that subscribe wrongly, or bring messages to the wrong handlers."""

from __future__ import annotations

from dataclasses import replace

from mutants import mutant
from toy import JToy

from juham_core.errors import SubscribeError
from juham_core.wire import Suback


def _renamed(subscription, old, new):
    return replace(subscription, topic_filter=subscription.topic_filter.replace(old, new))


@mutant("subscribe.refused", "swallows a refused subscription")
class JSwallowsRefusal(JToy):
    def _on_suback(self, packet):
        super()._on_suback(Suback(packet.packet_id, [min(code, 2) for code in packet.reason_codes]))


@mutant("subscribe.refused_partly", "takes the first code of SUBACK for all of them")
class JFirstCodeOnly(JToy):
    def _on_suback(self, packet):
        codes = packet.reason_codes
        super()._on_suback(Suback(packet.packet_id, [codes[0]] * len(codes)))


@mutant("subscribe.refused_reason", "loses why a subscription was refused")
class JUnspecified(JToy):
    def _suback(self, key, reason_codes, properties=None):
        super()._suback(key, [min(code, 0x80) for code in reason_codes], properties)


@mutant("subscribe.refused_once", "never again asks for what was refused once")
class JResentful(JToy):
    _refused = ()

    def subscribe(self, topic, *more, **named):
        receipt = super().subscribe(topic, *more, **named)
        if topic in self._refused:
            receipt._resolve(SubscribeError("not again"))
        return receipt

    def _suback(self, key, reason_codes, properties=None):
        if 0x80 in reason_codes:
            self._refused = list(self._ledger.subscriptions())
        super()._suback(key, reason_codes, properties)


@mutant("subscribe.granted_less", "shows the QoS that was asked for as the one granted")
class JOptimist(JToy):
    def _subscribe(self, subscriptions):
        self._asked = [each.qos for each in subscriptions]
        return super()._subscribe(subscriptions)

    def _suback(self, key, reason_codes, properties=None):
        super()._suback(key, self._asked, properties)


@mutant("subscribe.receipt_on_suback", "calls a subscription done when it is sent")
class JImpatient(JToy):
    def _subscribe(self, subscriptions):
        key = super()._subscribe(subscriptions)
        self._suback(key, [each.qos for each in subscriptions])
        return key


@mutant("subscribe.no_suback", "leaves subscriptions waiting for ever when it is closed")
class JNeverTells(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._ledger.fail_all = lambda _error: None


@mutant("subscribe.on_subscribe", "calls on_subscribe without the codes")
class JNoCodes(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        answered = self._delivery.answered
        self._delivery.answered = lambda event, mid, codes, props: answered(event, mid, codes[:1], props)


@mutant("subscribe.filter_refused", "lets the broker find out what is wrong with a filter")
class JAnyFilter(JToy):
    def subscribe(self, topic, *more, **named):
        if isinstance(topic, list):
            topic = [each for each in topic if each[0]]
        return super().subscribe(topic, *more, **named)


@mutant("subscribe.before_connecting", "forgets what was subscribed to before connecting")
class JForgetsBefore(JToy):
    def _connack(self, *arguments, **named):
        self._ledger._entries.clear()
        super()._connack(*arguments, **named)


@mutant("subscribe.once_in_on_connect", "subscribes twice after a reconnect")
class JSubscribesTwice(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._ledger.was_restored = lambda _subscriptions: False


@mutant("subscribe.inside_handler", "cannot subscribe while a handler runs")
class JNotNow(JToy):
    def subscribe(self, *arguments, **named):
        if self._delivery.inside_handler:
            raise RuntimeError("a handler is running")
        return super().subscribe(*arguments, **named)


@mutant("subscribe.many", "sends no more than a hundred filters of a list, and says that all were granted")
class JHundred(JToy):
    def _subscribe(self, subscriptions):
        return super()._subscribe(subscriptions[:100])

    def _suback(self, key, reason_codes, *more):
        left_out = 900 if len(reason_codes) == 100 else 0  # of the thousand that the case asks for
        super()._suback(key, reason_codes + [0] * left_out, *more)


@mutant("subscribe.again_with_other_qos", "sees no need to subscribe again to what it has")
class JOnceIsEnough(JToy):
    def subscribe(self, topic, qos=0, *more, **named):
        known = self.subscriptions.get(topic) if isinstance(topic, str) else None
        return super().subscribe(topic, qos if known is None else known, *more, **named)


@mutant("subscribe.unsubscribe", "never tells the broker that it has unsubscribed")
class JStaysSubscribed(JToy):
    def _unsubscribe(self, topic_filters):
        with self._state:
            key = self._exchanges.take_id()
        self._unsuback(key)
        return key


@mutant("subscribe.unsubscribe_on_unsuback", "calls an unsubscribe done when it is sent")
class JUnsubscribesEarly(JToy):
    def _unsubscribe(self, topic_filters):
        key = super()._unsubscribe(topic_filters)
        self._unsuback(key)
        return key


@mutant("subscribe.unsubscribe_unknown", "fails to unsubscribe from what it does not know")
class JStumbles(JToy):
    def unsubscribe(self, topic, *more):
        del self._ledger._entries[topic]
        return super().unsubscribe(topic, *more)


@mutant("subscribe.overlapping", "delivers a message once for each filter that it matches")
class JOncePerFilter(JToy):
    def _received(self, topic, *more):
        for _ in self.subscriptions:
            super()._received(topic, *more)


@mutant("subscribe.two_handlers", "removes all handlers of a filter when one is removed")
class JRemovesAll(JToy):
    def message_callback_remove(self, sub, callback=None):
        super().message_callback_remove(sub)


@mutant("subscribe.on_message_gets_the_rest", "calls on_message for every message")
class JOnMessageToo(JToy):
    def message_callback_add(self, sub, callback):
        super().message_callback_add(sub, callback)
        super().message_callback_add(sub, self._also)

    def _also(self, *arguments):
        self._get_handler("on_message")(*arguments)


@mutant("subscribe.hash_not_dollar", "lets # match topics that begin with $")
class JSeesAll(JToy):
    def message_callback_add(self, sub, callback):
        super().message_callback_add(sub, callback)
        if sub == "#":
            super().message_callback_add("$kit/#", callback)


@mutant("subscribe.hash_parent", "does not see that a/# matches a")
class JNoParent(JToy):
    def _received(self, topic, *more):
        if f"{topic}/#" not in self.subscriptions:
            super()._received(topic, *more)


@mutant("subscribe.plus", "has + match several levels")
class JGreedyPlus(JToy):
    def message_callback_add(self, sub, callback):
        super().message_callback_add(sub.replace("+/c", "#") if "+" in sub else sub, callback)

    def _subscribe(self, subscriptions):
        return super()._subscribe([_renamed(each, "+/c", "#") for each in subscriptions])


@mutant("subscribe.message_attributes", "loses the packet identifier of a message")
class JNoMid(JToy):
    def _received(self, topic, payload, qos, retain, dup, mid, properties):
        super()._received(topic, payload, qos, retain, dup, 0, properties)


@mutant("subscribe.qos_is_lowered", "shows the QoS subscribed to, whatever a message came with")
class JAlwaysQos1(JToy):
    def _received(self, topic, payload, qos, *more):
        super()._received(topic, payload, 1, *more)


@mutant("subscribe.retain_flag", "loses the retained flag")
class JLosesRetain(JToy):
    def _received(self, topic, payload, qos, retain, *more):
        super()._received(topic, payload, qos, False, *more)


@mutant("subscribe.shared", "looks for messages of the topic $share/...")
class JLiteralShare(JToy):
    def message_callback_add(self, sub, callback):
        if not sub.startswith("$share/"):
            super().message_callback_add(sub, callback)


@mutant("subscribe.shared_groups", "has one group for all")
class JOneGroup(JToy):
    def _subscribe(self, subscriptions):
        return super()._subscribe([_renamed(each, "$share/two/", "$share/one/") for each in subscriptions])


@mutant("subscribe.shared_ends", "unsubscribes from the plain filter of a shared subscription")
class JStaysInGroup(JToy):
    def _unsubscribe(self, topic_filters):
        return super()._unsubscribe([each.removeprefix("$share/group/") for each in topic_filters])
