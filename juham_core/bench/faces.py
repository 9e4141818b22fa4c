"""Juham as the bench drives it: a backend through JMqtt, as an application with threads uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Final

from juham_core import factory
from juham_core.bench.driver import PATIENCE, Measured, PingPong, Task
from juham_core.bench.facts import Facts, Unsuitable, installed_version
from juham_core.errors import JuhamError, QueueFullError
from juham_core.hooks import hooks
from juham_core.hookspecs import hookimpl
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg, PublishReceipt, Receipt
from juham_core.options import Options

OPTIONS: Final = frozenset(item.name for item in fields(Options))
"""What this juham-core can be asked for: the bench measures no option that is not there."""


def facts(backend: str) -> Facts:
    """What there is to know of a backend."""
    cls = factory.load(backend)
    capabilities = cls.capabilities
    library = cls.library or cls.__module__.partition(".")[0].replace("_", "-")
    protocols = [*([4] if capabilities.mqtt_311 else []), *([5] if capabilities.mqtt_5 else [])]
    return Facts(
        library, installed_version(library), tuple(protocols), 2 if capabilities.qos_2 else 1, "JMqtt"
    )


def only_in_process(backend: str) -> bool:
    """True for a backend that reaches no broker outside its process; False if it cannot be had."""
    try:
        capabilities = factory.load(backend).capabilities
    except JuhamError:
        return False
    return capabilities.in_process and not (
        capabilities.tcp or capabilities.websockets or capabilities.unix_sockets
    )


def maker(backend: str, face: str, outbox: str) -> Callable[[Task], Measured]:
    """What makes the driver of a face. Raises Unsuitable for what this juham-core or backend has not."""
    if face == "aio":
        from juham_core.bench.awaiting import AioDriver  # noqa: PLC0415  # the others do without asyncio

        return partial(AioDriver, backend=backend)
    settings: dict[str, Any] = {}
    if "handlers" in OPTIONS:
        settings["handlers"] = "inline" if face == "inline" else "thread"
    elif face == "inline":
        raise Unsuitable("this juham-core always calls handlers in a thread of their own")
    if face in ("outbox", "outbox-full"):
        if "outbox" not in OPTIONS:
            raise Unsuitable("this juham-core has no outbox")
        settings.update(outbox=outbox, outbox_sync="full" if face == "outbox-full" else "normal")
    if face == "hooks":
        hooks.register(Watching(), "bench")
    return partial(JMqttDriver, backend=backend, **settings)


class Watching:
    """A hook plugin that looks at every message and leaves it alone."""

    @hookimpl
    def jmqtt_publishing(self, client: Any, message: MqttMsg) -> None:
        """Look at it."""

    @hookimpl
    def jmqtt_published(self, client: Any, receipt: Receipt) -> None:
        """Look at it."""

    @hookimpl
    def jmqtt_received(self, client: Any, message: MqttMsg) -> None:
        """Look at it."""

    @hookimpl
    def jmqtt_handled(self, client: Any, message: MqttMsg, seconds: float) -> None:
        """Look at it."""


class JMqttDriver:
    """Implements :class:`~juham_core.bench.driver.Measured` for any backend."""

    def __init__(self, task: Task, backend: str, **settings: Any) -> None:
        self._task = task
        client = factory.create(backend, "bench")
        client.options = task.options.changed(max_inflight=task.window, max_queued=2**31, **settings)
        self.client: JMqtt = client
        self._settable: Any = client  # on JPaho2, on_message is the library's and can only be set
        self._pinging: PingPong | None = None
        self._qos = -1

    def connect(self) -> None:
        """Return once the broker has accepted."""
        self.client.loop_start()
        self.client.connect_to_server()
        self.client.wait_until_connected()

    def subscribe(self, topic_filters: Sequence[str], qos: int) -> None:
        """Return once the broker has granted these, one handler each."""
        arrived = self._task.arrivals.arrived

        def on_message(_client: Any, _userdata: Any, _message: MqttMsg) -> None:
            arrived()

        if len(topic_filters) == 1:
            self._settable.on_message = on_message
        else:
            for topic_filter in topic_filters:
                self.client.message_callback_add(topic_filter, on_message)
        self.client.subscribe([(topic_filter, qos) for topic_filter in topic_filters]).wait(PATIENCE)

    def publish(self, messages: int, qos: int) -> int:
        """Publish so many times; return how many are handed over or acknowledged."""
        publish, topic, payload = self.client.publish, self._task.topic, self._task.payload
        if qos == 0:
            return _pour(self.client, messages, topic, payload)
        receipts = [publish(topic, payload, qos) for _ in range(messages)]
        return sum(_succeeded(receipt) for receipt in receipts)

    def ping_pong(self, messages: int, qos: int) -> list[float]:
        """Make round trips, each begun by the handler of the one before."""
        topic, payload, publish = self._task.topic, self._task.payload, self.client.publish
        self._pinging = pinging = PingPong(messages)

        def on_pong(_client: Any, _userdata: Any, _message: MqttMsg) -> None:
            if pinging.pong():
                pinging.ping()
                publish(topic, payload, qos)

        self._settable.on_message = on_pong
        if qos != self._qos:
            self._qos = qos
            self.client.subscribe(self._task.pong_topic, qos).wait(PATIENCE)
        pinging.ping()
        publish(topic, payload, qos)
        return pinging.wait()

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect_from_server()


def _pour(client: JMqtt, messages: int, topic: str, payload: bytes) -> int:
    """Publish at QoS 0 as fast as the backend takes it; a full one gets time, as a program would give it."""
    publish = client.publish
    accepted = 0
    while accepted < messages:
        try:
            receipt = publish(topic, payload)
        except QueueFullError:
            time.sleep(0.001)
            continue
        if receipt.rc:
            break  # the connection is lost, and with it the rest
        accepted += 1
    return accepted


def _succeeded(receipt: PublishReceipt) -> bool:
    try:
        receipt.wait(PATIENCE)
    except JuhamError:
        return False
    return True
