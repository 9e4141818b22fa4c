"""The message as coroutines get it: it knows whom to tell that it has been dealt with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from juham_core.errors import NotSupportedError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg


class AsyncMessage(MqttMsg):
    """An :class:`~juham_core.message.MqttMsg` that can be acknowledged by a scope; streams may share one."""

    __slots__ = ("_acknowledged", "_client", "_connection", "_holders")

    def __init__(self, message: MqttMsg, client: JMqtt) -> None:
        """Take over the message of a client, which has just come."""
        self.topic = message.topic
        self.payload = message.payload
        self.qos = message.qos
        self.retain = message.retain
        self.dup = message.dup
        self.mid = message.mid
        self._properties = message._properties
        self._client = client
        self._connection = client._statistics.connects
        self._acknowledged = False
        self._holders = 0  # streams, and the callbacks, that have it for somebody who may acknowledge it

    def _seen_by_nobody(self) -> None:
        """Acknowledge what was given up everywhere: else it would take up the broker's window for good."""
        if self.qos and not self._acknowledged and self._connection == self._client._statistics.connects:
            self._acknowledged = True
            self._client._ack_unseen(self)

    @asynccontextmanager
    async def acknowledging(self) -> AsyncIterator[AsyncMessage]:
        """Acknowledge the message if the body ends well; leave it unacknowledged if the body raises.

        ``async with message.acknowledging():``. Cancelling is raising, too. The broker sends a message that
        was not acknowledged again with the next connection of a persistent session (MQTT 5 section 4.4). One
        that has come over a connection that is gone is not acknowledged: it comes again. Nothing is done at
        QoS 0, and for what has been acknowledged already.

        Raises NotSupportedError, before the body, unless the client is connected with ``manual_ack=True``.
        """
        client = self._client
        client.capabilities.require("manual_ack", client.get_class_id())
        if not client._in_force.manual_ack:
            raise NotSupportedError("messages are acknowledged by themselves: connect with manual_ack=True")
        yield self
        if self.qos and not self._acknowledged and self._connection == client._statistics.connects:
            self._acknowledged = True
            client.ack(self.mid, self.qos)
