"""paho-mqtt without Juham, for ``juham bench --raw``: its network thread, its callbacks, its queues."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from juham_core.bench import PingPong, Task
from juham_core.bench.driver import PATIENCE
from juham_core.errors import ConnectError


class PahoDriver:
    """Implements :class:`juham_core.bench.Driver`."""

    library: ClassVar[str] = "paho-mqtt"
    event_loop: ClassVar[bool] = False
    protocols: ClassVar[Sequence[int]] = (4, 5)
    max_qos: ClassVar[int] = 2
    window: ClassVar[str] = "library"

    def __init__(self, task: Task) -> None:
        self._task = task
        options = task.options
        transport = "unix" if options.transport == "unix" else options.transport
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            options.client_id or "",
            protocol=options.protocol,  # type: ignore[arg-type]  # 4 and 5 are the values of paho's enumeration
            transport=transport,  # type: ignore[arg-type]  # of Juham's transports, those paho knows
        )
        self._client.max_inflight_messages_set(task.window)
        self._client.max_queued_messages_set(0)  # no bound, as JMqtt has none here
        if options.username is not None:
            self._client.username_pw_set(options.username, options.password)  # type: ignore[arg-type]  # bytes do
        context = options.make_ssl_context()
        if context is not None:
            self._client.tls_set_context(context)
        self._answered = threading.Event()
        self._qos = -1

    def connect(self) -> None:
        """Return once the broker has accepted."""
        verdicts: list[Any] = []

        def on_connect(_client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
            verdicts.append(code)
            self._answered.set()

        self._client.on_connect = on_connect
        options = self._task.options
        self._client.connect(options.host, options.effective_port, options.keepalive)
        self._client.loop_start()
        if not self._answered.wait(PATIENCE) or verdicts[0].is_failure:
            raise ConnectError(f"the broker's verdict on paho: {verdicts or 'none'}")

    def subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """Return once the broker has granted these, one callback each."""
        arrived = self._task.arrivals.arrived

        def on_message(_client: Any, _userdata: Any, _message: MQTTMessage) -> None:
            arrived()

        if len(topic_filters) == 1:
            self._client.on_message = on_message
        else:
            for topic_filter in topic_filters:
                self._client.message_callback_add(topic_filter, on_message)
        self._subscribe(topic_filters, qos)

    def _subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        granted = threading.Event()
        self._client.on_subscribe = lambda *_arguments: granted.set()
        self._client.subscribe([(topic_filter, qos) for topic_filter in topic_filters])
        if not granted.wait(PATIENCE):
            raise ConnectError("no SUBACK for paho")

    def publish(self, messages: int, qos: int) -> int:
        """Publish so many times; return how many are handed over or acknowledged."""
        publish, topic, payload = self._client.publish, self._task.topic, self._task.payload
        if qos == 0:
            return sum(publish(topic, payload).rc == 0 for _ in range(messages))
        infos = [publish(topic, payload, qos) for _ in range(messages)]
        for info in infos:
            info.wait_for_publish(PATIENCE)
        return sum(info.is_published() for info in infos)

    def ping_pong(self, messages: int, qos: int) -> list[float]:
        """Make round trips, each begun by the callback of the one before."""
        publish, topic, payload = self._client.publish, self._task.topic, self._task.payload
        pinging = PingPong(messages)

        def on_pong(_client: Any, _userdata: Any, _message: MQTTMessage) -> None:
            if pinging.pong():
                pinging.ping()
                publish(topic, payload, qos)

        self._client.on_message = on_pong
        if qos != self._qos:
            self._qos = qos
            self._subscribe([self._task.pong_topic], qos)
        pinging.ping()
        publish(topic, payload, qos)
        return pinging.wait()

    def close(self) -> None:
        """Disconnect, and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
