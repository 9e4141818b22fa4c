"""What the tests of the window share: libraries that take what they are given, and Outgoing over them."""

import itertools

from juham_core.awaiting import SubscribeRequest
from juham_core.errors import JuhamError
from juham_core.message import MqttMsg, PublishReceipt, SubscribeReceipt
from juham_core.outgoing import Outgoing
from juham_core.wire import Subscription


class Library:
    """Takes what it is given; ``before`` is called with each request first, and may raise or answer it."""

    def __init__(self):
        self.taken = []
        self.pushed = 0
        self.keys = itertools.count(1)
        self.before = lambda what, key: None

    def _take(self, what):
        key = next(self.keys)
        self.before(what, key)
        self.taken.append(what)
        return key

    def _publish(self, message):
        return self._take(message.payload.decode())

    def _push(self):
        self.pushed = len(self.taken)

    def _subscribe(self, subscriptions):
        return self._take([each.topic_filter for each in subscriptions])

    def _unsubscribe(self, topic_filters):
        return self._take(topic_filters)


class Taker(Library):
    """Takes several publishes at once, too; ``before`` may raise for one of them, and then none is taken."""

    def __init__(self):
        super().__init__()
        self.together = []

    def _publish_many(self, messages):
        texts = [message.payload.decode() for message in messages]
        keys = [next(self.keys) for _ in texts]
        for text, key in zip(texts, keys, strict=True):
            self.before(text, key)
        self.together.append(texts)
        self.taken += texts
        return keys


class Sender:
    """Outgoing over such a library."""

    def __init__(self, *, max_queued=100, window=20, together=False):
        self.library = Taker() if together else Library()
        self.finished = []
        self.outgoing = Outgoing(self.library, self._acknowledged, self._subscribed, together)
        self.outgoing.max_queued = max_queued
        self.outgoing.window = window
        self._numbers = itertools.count(1)

    def _acknowledged(self, receipts, answer):
        for receipt in receipts:
            self.finished.append((receipt.mid, answer))
            receipt._resolve()

    def _subscribed(self, request, answer):
        if isinstance(answer, JuhamError):
            for receipt in request.receipts:
                receipt._resolve(answer)
            return
        self.finished.append((type(request), answer))

    def publish(self, text):
        receipt = PublishReceipt(next(self._numbers), MqttMsg("a", text.encode(), 1))
        self.outgoing.offer(receipt)
        return receipt

    def up(self, resent=False, requests=()):
        self.outgoing.up(resent, list(requests))


def request(sender, what):
    sender.outgoing.enter(what)
    sender.outgoing.hand_over()


def subscribing(*names):
    return SubscribeRequest([Subscription(name) for name in names], [SubscribeReceipt(1, names)])
