"""One connection of one client: an ``awscrt.mqtt5.Client`` that is started once, and what it reports.

The library reconnects by itself and JMqtt does so better: hence a client for each attempt, stopped at the
first failure. Its callbacks come on an event loop's thread that other clients share, which knows nothing of
Python's threads: nothing there may block, raise, or log without need.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from awscrt import mqtt5

from juham_awscrt import properties as props
from juham_awscrt.configuring import client_options
from juham_awscrt.verdicts import code_of, is_refusal, plain, transport_stood
from juham_core.errors import ConnectError, ConnectTimeoutError, JuhamError, NotConnectedError, PublishError
from juham_core.message import MqttMsg
from juham_core.options import Options
from juham_core.wire.packets import Subscription
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import IMPLEMENTATION_SPECIFIC, UNSPECIFIED_ERROR

if TYPE_CHECKING:
    from juham_awscrt.backend import JAwsCrt

log = logging.getLogger("juham.awscrt")

STOP_TIMEOUT: Final = 5.0
"""Seconds for the library to end a connection; it takes milliseconds unless an event loop is blocked."""
QOS: Final = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


class Link:
    """One attempt to connect, and the connection if it succeeds."""

    def __init__(self, backend: JAwsCrt, options: Options) -> None:
        self.client: Any = None
        self._backend = backend
        self._options = options
        self._up = False
        self._ended = False
        self._verdict = threading.Event()
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._mourner: threading.Thread | None = None
        self._keys = itertools.count(1)
        self._unacknowledged: dict[int, Any] = {}
        self._unsent = 0
        self._sent = threading.Condition()

    # --- beginning and end --------------------------------------------------------------------------

    def open(self) -> None:
        """Start to connect, and wait for what shows that CONNECT is on its way.

        awscrt does not tell when the transport stands. So this waits for the verdict, at most
        ``connect_timeout`` seconds; past that a TCP connection stands, or its own timeout had struck.
        """
        try:
            self.client = mqtt5.Client(client_options(self, self._options))
            self.client.start()
        except RuntimeError as exc:
            raise ConnectError(f"awscrt does not take the options: {exc}") from exc
        timeout = self._options.connect_timeout
        where = self._options.describe()
        if not self._verdict.wait(timeout) and not plain(self._options):
            raise ConnectTimeoutError(f"no connection to {where} within {timeout} s")
        self._verdict.set()
        if self._error is not None:
            raise ConnectError(f"cannot connect to {where}: {self._error}") from self._error

    def close(self, deliberate: bool) -> None:
        """End the connection and wait until nothing of it is left."""
        if deliberate:
            self._finish()
        self._up = False
        self._ended = True
        client, self.client = self.client, None
        if client is not None:
            # Without a packet to send awscrt just closes the socket.
            client.stop(mqtt5.DisconnectPacket() if deliberate else None)
            if not self._stopped.wait(STOP_TIMEOUT):
                log.error("%s: awscrt has not ended its connection in time", self._backend.name)
        mourner = self._mourner
        if mourner is not None and mourner is not threading.current_thread():
            mourner.join(STOP_TIMEOUT)

    def _finish(self) -> None:
        """Let go out what awscrt would drop: it puts DISCONNECT before all that waits.

        That is QoS 0, and the acknowledgements of messages whose handlers have not run yet.
        """
        bound = self._options.close_timeout / 2
        self._backend._delivery._dispatcher.drain(bound)
        with self._sent:
            self._sent.wait_for(lambda: not self._unsent or not self._up, bound)

    # --- what goes out ------------------------------------------------------------------------------

    def publish(self, message: MqttMsg) -> int:
        """Hand over a message."""
        packet = mqtt5.PublishPacket(
            topic=message.topic,
            payload=message.payload,
            qos=QOS[message.qos],
            retain=message.retain,
            **props.to_library(message.properties, props.PUBLISH, "PUBLISH"),
        )
        if message.qos:
            return self._hand_over("publish", packet, self._on_published)
        with self._sent:
            self._unsent += 1
        try:
            return self._hand_over("publish", packet, self._on_sent)
        except BaseException:
            self._one_sent()
            raise

    def subscribe(self, subscriptions: list[Subscription]) -> int:
        """Send one SUBSCRIBE."""
        packet = mqtt5.SubscribePacket(
            [
                mqtt5.Subscription(
                    one.topic_filter,
                    QOS[one.qos],
                    one.no_local,
                    one.retain_as_published,
                    mqtt5.RetainHandlingType(one.retain_handling),
                )
                for one in subscriptions
            ]
        )
        return self._hand_over("subscribe", packet, partial(self._on_suback, len(subscriptions)))

    def unsubscribe(self, topic_filters: list[str]) -> int:
        """Send one UNSUBSCRIBE."""
        packet = mqtt5.UnsubscribePacket(topic_filters)
        return self._hand_over("unsubscribe", packet, self._on_unsuback)

    def acknowledge(self, mid: int) -> None:
        """Send PUBACK, if that can still be."""
        handle = self._unacknowledged.pop(mid, None)
        client = self.client
        if handle is None or client is None or not self._up:
            return  # the broker will send the message again
        try:
            client.invoke_publish_acknowledgement(handle)
        except Exception as exc:  # noqa: BLE001 - whatever awscrt raises: the broker sends it again
            log.warning("%s: message %d was not acknowledged: %s", self._backend.name, mid, exc)

    def _hand_over(self, what: str, packet: Any, done: Callable[[int, Future[Any]], None]) -> int:
        """Call the client's method; every error of the library that a call can raise is translated here."""
        client = self.client
        if client is None or not self._up:
            raise NotConnectedError("the connection has ended")
        key = next(self._keys)
        try:
            future = getattr(client, what)(packet)
        except JuhamError:
            raise
        except Exception as exc:
            raise PublishError(f"awscrt does not {what}: {exc}") from exc
        future.add_done_callback(partial(done, key))
        return key

    # --- what comes back, on an event loop's thread --------------------------------------------------

    def _on_published(self, key: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            puback = future.result().puback
            self._backend._acknowledged(
                key, code_of(puback.reason_code), props.from_library(puback, props.ANSWER)
            )
        elif is_refusal(error):
            self._backend._acknowledged(key, IMPLEMENTATION_SPECIFIC, Properties(reason_string=str(error)))
        # Any other error: the connection ends, and the next one brings the message again.

    def _on_sent(self, _key: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None and not self._ended:
            self._backend._statistics.dropped["not sent"] += 1
        self._one_sent()

    def _one_sent(self) -> None:
        with self._sent:
            self._unsent -= 1
            if not self._unsent:
                self._sent.notify_all()

    def _on_suback(self, count: int, key: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            suback = future.result()
            codes = [code_of(code) for code in suback.reason_codes]
            self._backend._suback(key, codes, props.from_library(suback, props.ANSWER))
        elif is_refusal(error):
            self._backend._suback(
                key, [IMPLEMENTATION_SPECIFIC] * count, Properties(reason_string=str(error))
            )

    def _on_unsuback(self, key: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            unsuback = future.result()
            codes = [code_of(code) for code in unsuback.reason_codes]
            self._backend._unsuback(key, codes, props.from_library(unsuback, props.ANSWER))
        elif is_refusal(error):
            self._backend._unsuback(key, [IMPLEMENTATION_SPECIFIC], Properties(reason_string=str(error)))

    def on_publish(self, data: Any) -> None:
        """Take a message. QoS 1 is acknowledged once it is handled, or when the application says so."""
        packet = data.publish_packet
        mid = 0
        if data.acquire_publish_acknowledgement_control is not None:
            mid = next(self._keys)
            self._unacknowledged[mid] = data.acquire_publish_acknowledgement_control()
        if self._ended:
            return
        found = None
        if props.has_any(packet, props.RECEIVED.values()):
            found = props.from_library(packet, props.RECEIVED)
        self._backend._received(
            packet.topic, packet.payload, int(packet.qos), packet.retain, mid=mid, properties=found
        )
        if mid and not self._options.manual_ack:
            self._backend._delivery.after(partial(self.acknowledge, mid))

    def on_accepted(self, data: Any) -> None:
        """Take a CONNACK that accepts."""
        if self._ended:
            return
        self._up = True
        connack = data.connack_packet
        self._backend._connack(
            connack.session_present, code_of(connack.reason_code), props.from_library(connack, props.CONNACK)
        )
        self._verdict.set()

    def on_failure(self, data: Any) -> None:
        """Take a CONNACK that refuses, or the end of the attempt for another reason."""
        self.client_stop()
        if self._ended:
            return
        connack, error = data.connack_packet, data.exception
        if connack is not None:
            found = props.from_library(connack, props.CONNACK)
            self._backend._connack(False, code_of(connack.reason_code) or UNSPECIFIED_ERROR, found)
        elif self._verdict.is_set() or transport_stood(error, self._options):
            self._lose(error)
        else:
            self._error = error
        self._verdict.set()

    def on_disconnection(self, data: Any) -> None:
        """Take the end of a connection that stood, for whatever reason."""
        self._up = False
        self.client_stop()
        with self._sent:
            self._sent.notify_all()
        if self._ended:
            return
        packet = data.disconnect_packet
        if packet is None:
            self._lose(data.exception)
        else:
            found = props.from_library(packet, props.DISCONNECT)
            code = UNSPECIFIED_ERROR if packet.reason_code is None else int(packet.reason_code)
            self._lose(None, code, found, from_server=True)

    def on_stopped(self, _data: Any) -> None:
        """Take note that nothing follows any more."""
        self._stopped.set()

    def client_stop(self) -> None:
        """Keep awscrt from trying again by itself."""
        client = self.client
        if client is not None:
            client.stop()

    def _lose(self, *args: Any, **named: Any) -> None:
        """Report the loss from a thread of Python's: logging it would leave a dummy thread behind here."""
        self._mourner = threading.Thread(
            target=self._backend._lost,
            args=args,
            kwargs=named,
            name=f"juham-{self._backend.name}-awscrt",
            daemon=True,
        )
        self._mourner.start()
