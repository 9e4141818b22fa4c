"""The other end for a backend without a network: a second client of it, in the same process.

What is measured is then both of them, and the broker between: from publish to handler.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from juham_core.bench.driver import PATIENCE, Arrivals, Task
from juham_core.bench.faces import JMqttDriver
from juham_core.message import MqttMsg


class LocalOther:
    """Counts, sends and echoes as ``counterpart`` does."""

    def __init__(self, task: Task, backend: str, **settings: Any) -> None:
        apart = replace(task, options=task.options.changed(client_id=f"{task.options.client_id}-other"))
        self._driver = JMqttDriver(apart, backend, **settings)
        self._driver.connect()
        self._client = self._driver.client
        self._payload = task.payload
        self.arrivals = Arrivals()

    def listen(self, topic: str, qos: int) -> None:
        """Count what is published to the topic."""
        arrived = self.arrivals.arrived

        def on_message(_client: Any, _userdata: Any, _message: MqttMsg) -> None:
            arrived()

        self._client.on_message(on_message)
        self._client.subscribe(topic, qos).wait(PATIENCE)

    def echo(self, topic: str, pong_topic: str, qos: int) -> None:
        """Answer what is published to the topic."""
        publish, payload = self._client.publish, self._payload

        def on_message(_client: Any, _userdata: Any, _message: MqttMsg) -> None:
            publish(pong_topic, payload, qos)

        self._client.on_message(on_message)
        self._client.subscribe(topic, qos).wait(PATIENCE)

    def blast(self, topics: Sequence[str], messages: int, qos: int) -> float:
        """Publish to the topics in turn; return when it began."""
        publish, payload, count = self._client.publish, self._payload, len(topics)
        started = time.perf_counter()
        for number in range(messages):
            publish(topics[number % count], payload, qos)
        return started

    def close(self) -> None:
        """Disconnect."""
        self._driver.close()
