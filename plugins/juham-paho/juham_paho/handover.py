"""What a client had accepted as a JMqtt before its application turned to paho's own ``connect()``.

Nothing of it is lost: paho sends the messages and subscribes, and the receipts learn of the broker's answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paho.mqtt.client import MQTTv5
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes

from juham_core.awaiting import SubscribeRequest
from juham_core.errors import JuhamError, NotConnectedError, PublishError, QueueFullError
from juham_core.handlers import Handler
from juham_core.message import PublishReceipt
from juham_core.wire.reasons import UNSPECIFIED_ERROR, ReasonCode
from juham_paho.properties import subscribe_options, to_paho

if TYPE_CHECKING:
    from juham_paho.jpaho2 import JPaho2


class Handover:
    """Takes the queue of one client and its ledger over to paho."""

    def __init__(self, client: JPaho2, paho: Any) -> None:
        self._client = client
        self._paho = paho
        self._published: dict[int, PublishReceipt] = {}
        self._subscribing: dict[int, SubscribeRequest] = {}
        self._subscribed = False
        queue = client._outgoing._queue
        while queue:
            self._publish(queue.popleft())

    @property
    def done(self) -> bool:
        """True once every answer has come."""
        return self._subscribed and not self._published and not self._subscribing

    def wrap(self, event: str, handler: Handler | None) -> Handler | None:
        """The handler of an event, in the shape of version 2, with what the handover wants of it before."""
        before = {
            "on_connect": self._on_connect,
            "on_publish": self._on_publish,
            "on_subscribe": self._on_subscribe,
        }.get(event)
        if before is None:
            return handler

        def both(client: Any, userdata: Any, first: Any, second: Any, third: Any) -> None:
            before(first, second, third)
            if handler is not None:
                handler(client, userdata, first, second, third)

        return both

    def fail(self, error: JuhamError) -> None:
        """Give up what has not been answered."""
        for receipt in self._published.values():
            receipt._resolve(error)
        self._published.clear()
        self._subscribing.clear()
        self._client._ledger.fail_all(error)

    def _publish(self, receipt: PublishReceipt) -> None:
        message = receipt._message
        if message is None or receipt.done():
            return
        properties = to_paho(message.properties, PacketTypes.PUBLISH)
        info = self._paho.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            receipt._resolve(QueueFullError("paho's queue is full (max_queued_messages_set)"))
        else:
            self._published[info.mid] = receipt

    def _on_connect(self, _flags: Any, code: Any, _properties: Any) -> None:
        if self._subscribed or code.value >= UNSPECIFIED_ERROR:
            return
        self._subscribed = True
        five = self._client._protocol == MQTTv5
        for request in self._client._ledger.restore(session_present=False):
            if not isinstance(request, SubscribeRequest):
                continue
            filters = [
                (sub.topic_filter, subscribe_options(sub) if five else sub.qos)
                for sub in request.subscriptions
            ]
            rc, mid = self._paho.subscribe(filters)
            if rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._subscribing[mid] = request
            else:
                error = NotConnectedError(f"paho did not subscribe: {rc.name}")
                self._client._ledger.fail_all(error)

    def _on_publish(self, mid: int, code: Any, _properties: Any) -> None:
        receipt = self._published.pop(mid, None)
        if receipt is None:
            return
        receipt.reason_code = ReasonCode(code.value)
        if code.value < UNSPECIFIED_ERROR:
            receipt._resolve()
        else:
            text = f"the broker refused publish {receipt.mid}: {receipt.reason_code}"
            receipt._resolve(PublishError(text, reason_code=code.value))

    def _on_subscribe(self, mid: int, codes: Any, _properties: Any) -> None:
        request = self._subscribing.pop(mid, None)
        if request is not None:
            self._client._ledger.answered(request, [code.value for code in codes])
