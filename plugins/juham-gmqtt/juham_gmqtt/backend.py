"""JGmqtt: an MQTT client over gmqtt, an asyncio library, for programs that need not know asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from juham_core.capabilities import Capabilities
from juham_core.errors import NotConnectedError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.packets import Subscription
from juham_gmqtt import library
from juham_gmqtt.home import CallersLoop, Home, OwnThread
from juham_gmqtt.incoming import Incoming
from juham_gmqtt.link import Link
from juham_gmqtt.session import Session


class JGmqtt(JMqtt):
    """A client that uses gmqtt, in a thread with an event loop of its own for each connection.

    Under :mod:`juham_core.aio` it lives in the program's own event loop, and has no thread while connected.
    """

    capabilities = Capabilities(
        mqtt_311=True,
        mqtt_5=True,
        qos_2=True,
        tcp=True,
        tls=True,
        ssl_context=True,
        bind_address=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        dup_and_mid=True,
        packet_limit=True,
        early_packet_limit=True,
        callers_loop=True,
    )
    library = "gmqtt"

    def __init__(self, name: str = "gmqtt") -> None:
        """Make a client that is not connected."""
        super().__init__(name)

    def _set_up(self, name: str) -> None:
        super()._set_up(name)
        # The loop must not wait for handlers, or it would send no pings: see Incoming.
        self._delivery.blocks = False
        self._callers_loop: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._link: Link | None = None
        self._session: Session | None = None

    @property
    def native(self) -> Any:
        """The ``gmqtt.Client``, or None before the first connection.

        It belongs to the thread of its event loop. Its callbacks are not called: Juham reads what comes.
        """
        return self._session.client if self._session is not None else None

    # --- what JMqtt asks for ------------------------------------------------------------------------

    def _open(self, options: Options) -> None:
        if self._session is None or not self._session.fits(options):
            self._session = Session(options)
        home: Home = OwnThread(f"juham-{self.name}-gmqtt")
        if self._callers_loop is not None:
            home = CallersLoop(*self._callers_loop)
        incoming = Incoming(self, self._session)
        self._link = Link(
            home,
            self._session.client,
            options,
            incoming.packet,
            self._received_many,
            incoming.pubacks,
            self._lost,
            self._dialling,
        )
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
        link, session = self._connected()
        if message.qos == 0:
            link.send(library.build_publish(message, link.protocol)[1], bounded=True)
            return 0
        return session.start(message, link, self._wanted_id, self._sent_before)

    def _publish_many(self, messages: list[MqttMsg]) -> list[int]:
        link, session = self._connected()
        return session.start_many(messages, link)

    def _pubrel(self, key: int, message: MqttMsg) -> None:  # noqa: ARG002 - JMqtt publishes it again
        link, session = self._connected()
        link.send(session.release(key))

    def _subscribe(self, subscriptions: list[Subscription]) -> int:
        link, session = self._connected()
        return session.request(subscriptions, [], link)

    def _unsubscribe(self, topic_filters: list[str]) -> int:
        link, session = self._connected()
        return session.request([], topic_filters, link)

    def _ack(self, mid: int, qos: int) -> None:
        link, session = self._link, self._session
        answer = session.acknowledge(mid, qos) if session is not None else None
        if answer is not None and link is not None:
            with contextlib.suppress(NotConnectedError):  # then the broker sends the message again
                link.send(answer, answer=True)

    def _connected(self) -> tuple[Link, Session]:
        link, session = self._link, self._session
        if link is None or session is None:
            raise NotConnectedError("the connection to the broker has ended")
        return link, session
