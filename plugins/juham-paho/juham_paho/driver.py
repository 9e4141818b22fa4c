"""The driver: the primitives of a backend over paho's client, whichever way that client came to be.

JPaho drives a client of its own, JPaho2 drives itself: so the driver takes the client, and beside it paho's
own methods (``paho``: the client again, or ``super()``). While a connection is open, some of the client's
private methods are replaced on the instance; closing puts them back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from paho.mqtt.client import MQTTv5, mqtt_ms_resend_pubrel, mqtt_ms_wait_for_pubcomp
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes

from juham_core.errors import ConnectError, NotConnectedError
from juham_core.locks import join
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.subscribing import properties_of
from juham_core.wire.terms import Subscription
from juham_paho import sockets
from juham_paho.network import Network
from juham_paho.properties import subscribe_options, to_paho

if TYPE_CHECKING:
    import asyncio

    from juham_paho.resident import Resident


class Driver(Network):
    """Opens, closes and uses one paho client for one backend."""

    def open(self, options: Options) -> None:
        """See :meth:`juham_core.primitives.Backend._open`; the client is set up already."""
        self._options = options
        self._closing = self._lingers = False
        self._verdict = self._ending = None
        self._client._largest_packet = options.largest_packet  # type: ignore[attr-defined]  # the fast client looks for it
        self._messages.begin(options)
        resident = self._resident = self._make_resident()
        self._replace()
        self._keep_released()
        try:
            rc = self._paho.reconnect()
        except ValueError as exc:
            raise ConnectError(f"cannot connect to {options.describe()}: {exc}") from exc
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectError(f"cannot connect to {options.describe()}: the connection ended before CONNECT")
        if resident is not None:
            self._client._resident = self._messages.resident = resident  # type: ignore[attr-defined]  # as above
            self._messages.home = resident.home
            resident.begin()
            return
        self._paho.loop_start()
        thread = self._client._thread
        if thread is not None:  # it may have reported its end, and been closed, already
            self._thread = thread

    def close(self, deliberate: bool) -> None:
        """See :meth:`juham_core.primitives.Backend._close`."""
        self._closing = True
        # The second, where a signal has struck between its start and the note of it.
        thread, resident = self._thread or self._client._thread, self._resident
        own = thread is threading.current_thread()
        if resident is not None:
            self._lingers = deliberate
            resident.leave(self._paho.disconnect if deliberate else None, self._options.close_timeout)
            self._resident, self._lingers = None, False  # the loop's part is over
        elif own:
            # A receipt's callback or a hook: the thread ends once they have returned.
            if deliberate:
                self._paho.disconnect()
                self._paho.loop_write()
        elif thread is not None:
            if deliberate:
                self._lingers = True
                self._paho.disconnect()
                if thread.is_alive():
                    thread.join(self._options.close_timeout)
            sock = self._socket
            if thread.is_alive() and sock is not None:
                sockets.cut(sock)
            join(thread)
        # paho's own thread may hold a lock of paho's that whoever hands something over waits for.
        with self._messages.handing_over():
            self._client._reset_sockets()
            self._client._thread = self._thread = self._messages.home = None
            self._messages.resident = None
            self._client._resident = None  # type: ignore[attr-defined]  # as above
        if self._backend._connection.closing:
            self._forget()
        self._put_back()

    def run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """See :meth:`juham_core.primitives.Backend._run_in`."""
        self._callers_loop = None if loop is None else (loop, threading.get_ident())

    def _make_resident(self) -> Resident | None:
        """What runs the connection in the event loop; None if paho's thread is to.

        As for websockets, where paho masks each byte by itself, which a loop has no time for.
        """
        if self._callers_loop is None or self._options.transport == "websockets":
            return None
        from juham_paho.resident import Resident, can_host  # noqa: PLC0415  # asyncio is there, and only now

        loop, home = self._callers_loop
        if not (can_host(loop) and hasattr(self._client, "_resident")):
            return None
        resident = Resident(loop, home, self._client, self._messages.owes_too_much, self._ended)
        resident.check_may_open()
        return resident

    def publish(self, message: MqttMsg) -> int:
        """See :meth:`juham_core.primitives.Backend._publish`."""
        return self._messages.publish(message)

    def release(self, mid: int, message: MqttMsg) -> None:
        """See :meth:`juham_core.primitives.Backend._pubrel`."""
        self._messages.release(mid, message)

    def subscribe(self, subscriptions: list[Subscription]) -> int:
        """See :meth:`juham_core.primitives.Backend._subscribe`."""
        five = self._client._protocol == MQTTv5
        filters = [(sub.topic_filter, subscribe_options(sub) if five else sub.qos) for sub in subscriptions]
        properties = to_paho(properties_of(subscriptions), PacketTypes.SUBSCRIBE)
        with self._messages.handing_over():
            return self._sent(self._paho.subscribe(filters, properties=properties), "subscribe")

    def unsubscribe(self, topic_filters: list[str]) -> int:
        """See :meth:`juham_core.primitives.Backend._unsubscribe`."""
        with self._messages.handing_over():
            return self._sent(self._paho.unsubscribe(topic_filters), "unsubscribe")

    def ack(self, mid: int, qos: int) -> None:
        """See :meth:`juham_core.primitives.Backend._ack`."""
        self._messages.ack(mid, qos)

    @staticmethod
    def _sent(result: tuple[MQTTErrorCode, int | None], what: str) -> int:
        rc, mid = result
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise NotConnectedError(f"paho did not {what}: {rc.name}")
        return mid

    def _keep_released(self) -> None:
        """At QoS 2, keep paho from publishing again what the broker has taken note of (section 4.3.3).

        It does so where a connection breaks before PUBREL has gone out again.
        """
        with self._client._out_message_mutex:
            for message in self._client._out_messages.values():
                if message.state == mqtt_ms_resend_pubrel:
                    message.state = mqtt_ms_wait_for_pubcomp

    def _forget(self) -> None:
        """Drop what paho would send again: its receipts have failed, or are about to."""
        with self._client._out_message_mutex:
            for message in self._client._out_messages.values():
                message.info.rc = MQTTErrorCode.MQTT_ERR_CONN_LOST
                message.info._set_as_published()
            self._client._out_messages.clear()
            self._client._inflight_messages = 0
