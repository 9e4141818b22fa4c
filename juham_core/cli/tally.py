"""Counts every message of the house: who sent it, whether its addressee got it, and how long that took."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg


class Tally:
    """Messages are JSON objects whose ``n`` numbers those of one topic, so that each can be told apart.

    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.duplicates = 0
        self.round_trips: list[float] = []
        """In seconds: from a sensor's publish until it sees the heater's answer."""
        self.retained: dict[str, bytes] = {}
        """What a late joiner is to find, by topic."""
        self._under_way: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    @property
    def missing(self) -> int:
        """Messages sent that have not arrived; once the house is closed they are lost."""
        return self.sent - self.received

    def post(self, client: JMqtt, topic: str, number: int, *, retain: bool = False, **body: Any) -> None:
        """Publish a message of QoS 1, entered as sent: if publishing raises, it is lost."""
        payload = json.dumps({"n": number, **body}).encode()
        with self._lock:
            self._under_way.add((topic, number))
            self.sent += 1
            if retain:
                self.retained[topic] = payload
        client.publish(topic, payload, qos=1, retain=retain)

    def take(self, message: MqttMsg) -> dict[str, Any] | None:
        """Enter a message as received and return what it says; None if it has come before."""
        body: dict[str, Any] = json.loads(message.payload)
        key = (message.topic, body["n"])
        with self._lock:
            if key not in self._under_way:
                self.duplicates += 1
                return None
            self._under_way.remove(key)
            self.received += 1
        return body


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed; 0 if there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
