"""awscrt's MQTT 5 client without Juham, for ``juham bench --raw``: its callbacks, on its own event loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from awscrt import mqtt5

from juham_awscrt import transport
from juham_awscrt.configuring import connect_packet
from juham_core.bench import PingPong, Task, Window
from juham_core.bench.driver import PATIENCE
from juham_core.errors import ConnectError

QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)


class AwsCrtDriver:
    """Implements :class:`juham_core.bench.Driver`."""

    library: ClassVar[str] = "awscrt"
    event_loop: ClassVar[bool] = False
    protocols: ClassVar[Sequence[int]] = (5,)
    max_qos: ClassVar[int] = 1
    window: ClassVar[str] = "driver"

    def __init__(self, task: Task) -> None:
        self._task = task
        self._accepted = threading.Event()
        self._stopped = threading.Event()
        self._loop = transport.Loop()
        self._qos = -1
        options = task.options
        self._on_publish: Any = None
        self._client: Any = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=options.host,
                port=options.effective_port,
                bootstrap=self._loop.bootstrap,
                socket_options=transport.socket_options(options),
                tls_ctx=transport.tls_context(options),
                connect_options=connect_packet(options),
                on_publish_callback_fn=self._received,
                on_lifecycle_event_connection_success_fn=lambda _data: self._accepted.set(),
                on_lifecycle_event_stopped_fn=lambda _data: self._stopped.set(),
                # Else awscrt puts its name and version into the user name, which brokers refuse.
                disable_metrics=True,
            )
        )

    def _received(self, data: Any) -> None:
        self._on_publish(data)

    def connect(self) -> None:
        """Return once the broker has accepted."""
        self._client.start()
        if not self._accepted.wait(PATIENCE):
            raise ConnectError("the broker does not accept awscrt")

    def subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """Return once the broker has granted these; awscrt has one callback for all."""
        arrived = self._task.arrivals.arrived

        def on_publish(_data: Any) -> None:
            arrived()

        self._on_publish = on_publish
        self._subscribe(topic_filters, qos)

    def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        wanted = [mqtt5.Subscription(topic_filter, QOS[qos]) for topic_filter in topic_filters]
        self._client.subscribe(mqtt5.SubscribePacket(subscriptions=wanted)).result(PATIENCE)

    def publish(self, messages: int, qos: int) -> int:
        """Publish so many times; return how many are handed over or acknowledged."""
        publish, topic, payload = self._client.publish, self._task.topic, self._task.payload
        if qos == 0:
            for _ in range(messages):
                publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=QOS[0]))
            return messages
        window = Window(self._task.window, messages)

        def on_puback(future: Any) -> None:
            if future.exception() is None:
                window.acknowledged()

        for number in range(messages):
            if not window.enter():
                return number - self._task.window
            publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=QOS[qos])).add_done_callback(
                on_puback
            )
        return messages - window.wait()

    def ping_pong(self, messages: int, qos: int) -> list[float]:
        """Make round trips, each begun by the callback of the one before."""
        publish, topic, payload = self._client.publish, self._task.topic, self._task.payload
        pinging = PingPong(messages)

        def on_pong(_data: Any) -> None:
            if pinging.pong():
                pinging.ping()
                publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=QOS[qos]))

        self._on_publish = on_pong
        if qos != self._qos:
            self._qos = qos
            self._subscribe([self._task.pong_topic], qos)
        pinging.ping()
        publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=QOS[qos]))
        return pinging.wait()

    def close(self) -> None:
        """Disconnect, and end the event loop."""
        self._client.stop()
        self._stopped.wait(PATIENCE)
        self._client = None
        self._loop.close(PATIENCE)
