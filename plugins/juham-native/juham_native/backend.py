"""JNative: an MQTT client of Juham's own, on the core's codec, written to be quick."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from juham_core.capabilities import Capabilities
from juham_core.errors import NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire import Disconnect, Properties, Subscribe, Subscription, Unsubscribe, encode
from juham_native.link import Link
from juham_native.looped import LoopedLink
from juham_native.publishing import PublishEncoder
from juham_native.session import Session, with_dup
from juham_native.threaded import ThreadedLink

_WINDOW: Final = 100
"""Messages that a broker may send unacknowledged, beyond those that may wait, before it is no longer read."""


class JNative(JMqtt):
    """A client with a thread of its own for each connection.

    Under :mod:`juham_core.aio` it lives in the program's own event loop, and has no thread while connected.
    """

    capabilities = Capabilities(
        mqtt_311=True,
        mqtt_5=True,
        qos_2=True,
        tcp=True,
        tls=True,
        ssl_context=True,
        websockets=True,
        unix_sockets=True,
        bind_address=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        dup_and_mid=True,
        packet_limit=True,
        early_packet_limit=True,
        callers_loop=True,
    )
    library = "juham-native"

    def __init__(self, name: str = "native") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        # The link must not wait for handlers, or it would send no pings: see MqttProtocol.
        self._delivery.blocks = False
        self._callers_loop: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._link: Link | None = None
        self._session: Session | None = None
        self._encoder = PublishEncoder(self._options.protocol)

    @property
    def native(self) -> Any:
        """The :class:`~juham_native.link.Link` of the connection, or None without one."""
        return self._link

    # --- what JMqtt asks for ------------------------------------------------------------------------

    def _open(self, options: Options) -> None:
        if self._session is None or not self._session.fits(options):
            self._session = Session(options)
        self._encoder = PublishEncoder(options.protocol)
        arguments = options, self._session, self, self._lost, self._dialling
        if self._callers_loop is not None:
            self._link = LoopedLink(*self._callers_loop, *arguments)
        else:
            self._link = ThreadedLink(*arguments)
        self._link.open()

    def _run_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._callers_loop = None if loop is None else (loop, threading.get_ident())

    def _close(self, deliberate: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(deliberate)
        if self._session is not None:
            self._session.disconnected()

    def _publish(self, message: MqttMsg) -> int:
        link = self._link
        if link is None:
            raise _not_connected()
        if message.qos == 0:
            link.send(self._encoder.encode(message), bounded=True)
            return 0
        session = link.session
        packet_id = session.next_id(self._wanted_id)
        package = self._encoder.encode(message, packet_id)
        if self._sent_before:
            package = with_dup(package)
        session.publishes[packet_id] = package
        try:
            link.send(package)
        except NotConnectedError:
            session.publishes.pop(packet_id, None)  # it keeps its place in JMqtt's queue, for one sending
            raise
        return packet_id

    def _publish_many(self, messages: list[MqttMsg]) -> list[int]:
        link = self._link
        if link is None:
            raise _not_connected()
        session = link.session
        packet_ids = session.next_ids(len(messages))
        packages = self._encoder.encode_many(messages, packet_ids)
        session.publishes.update(zip(packet_ids, packages, strict=True))
        try:
            link.send(b"".join(packages))
        except NotConnectedError:
            for packet_id in packet_ids:
                session.publishes.pop(packet_id, None)
            raise
        return packet_ids

    def _push(self) -> None:
        link = self._link
        if link is not None:
            link.push()

    def _pubrel(self, key: int, message: MqttMsg) -> None:  # noqa: ARG002 - JMqtt publishes it again
        link = self._link
        if link is None:
            raise _not_connected()
        link.send(link.session.release(key))

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        number = subscriptions[0].identifier
        properties = Properties(subscription_identifier=[number]) if number else Properties()
        return self._request(lambda packet_id: Subscribe(packet_id, subscriptions, properties))

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        return self._request(lambda packet_id: Unsubscribe(packet_id, topic_filters))

    def _request(self, make: Callable[[int], Subscribe | Unsubscribe]) -> int:
        link = self._link
        if link is None:
            raise _not_connected()
        packet_id = link.session.request()
        try:
            link.send(encode(make(packet_id), link.options.protocol))
        except BaseException:
            link.session.requested(packet_id)
            raise
        return packet_id

    def _ack(self, mid: int, qos: int) -> None:
        link = self._link
        if link is not None:
            link.protocol.acknowledge(mid, qos)

    # --- what the protocol reports beside JMqtt's own ------------------------------------------------

    def _said_goodbye(self, packet: Disconnect) -> None:
        self._lost(None, packet.reason_code, packet.properties, from_server=True)

    def _has_room(self, count: int) -> bool:
        return self._delivery.has_room(count)

    def _is_overfull(self) -> bool:
        """True if the broker's window is larger than what may wait, or it does not keep to one."""
        limit = self._delivery.limit
        return self._delivery.waiting >= limit + max(limit, _WINDOW) or self._delivery.overweight

    def _after_handlers(self, function: Callable[[], None]) -> None:
        self._delivery.after(function)


def _not_connected() -> NotConnectedError:
    return NotConnectedError("the connection to the broker has ended")
