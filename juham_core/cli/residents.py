"""Those who live in the demo's house: sensors, a thermostat and a heater, each an MQTT client of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from juham_core import factory
from juham_core.cli.tally import Tally
from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg, Receipt
from juham_core.url import parse_url

TARGET: Final = 21.0
"""What the thermostat aims at, in degrees Celsius, half a degree either way."""


@dataclass
class Room:
    """A room of the simulation; ``insulation`` slows its cooling."""

    name: str
    celsius: float
    insulation: float
    heating: bool = False

    def pass_time(self) -> None:
        """Let the heater warm the room, or the winter cool it, for one round."""
        self.celsius += 0.14 if self.heating else -0.14 / self.insulation


class LeftError(JuhamError):
    """Somebody has left the house before its time."""


class Home:
    """What the residents share: the backend and broker they use, where their topics begin, the tally."""

    def __init__(self, backend: str, url: str, prefix: str, patience: float) -> None:
        self.backend = backend
        self.prefix = prefix
        self.patience = patience
        """Seconds to wait for what should come."""
        self.tally = Tally()
        self.changed = threading.Condition()
        self._left = False
        _, options = parse_url(url)
        # Many clients share the URL: they cannot share an identity, or what belongs to one.
        self._options = {**options, "client_id": None, "clean_start": True, "will": None, "manual_ack": False}

    def topic(self, *levels: str) -> str:
        """A topic of this house."""
        return "/".join((self.prefix, "house", *levels))

    def client(self, name: str, **options: Any) -> JMqtt:
        """A client that is not connected. Raises BackendError and NotSupportedError."""
        return factory.create(self.backend, name, **{**self._options, **options})

    def enter(self, client: JMqtt) -> JMqtt:
        """Connect with a will and say "online"; raises what connecting raises, and PublishError's kin."""
        self._check_not_left()
        status = self.topic(client.name, "status")
        client.will_set(status, "offline", qos=1, retain=True)
        client.connect_to_server()
        client.wait_until_connected()
        self._check_not_left()  # who leaves closes those that are not connected
        client.loop_start()
        self.tally.retained[status] = b"online"
        self.wait_for_answer(client.publish(status, "online", qos=1, retain=True))
        return client

    def listen(self, client: JMqtt, topic_filter: str, handler: Callable[[MqttMsg], None]) -> None:
        """Subscribe at QoS 1, and return once the broker has granted it."""
        client.message_callback_add(topic_filter, lambda _client, _userdata, message: handler(message))
        self.wait_for_answer(client.subscribe(topic_filter, qos=1))

    def wait_for(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Block until the condition holds, for ``patience`` seconds unless told otherwise; tell whether.

        Raises LeftError after :meth:`leave`.
        """
        with self.changed:
            longest = self.patience if seconds is None else seconds
            held = self.changed.wait_for(lambda: self._left or condition(), longest)
        self._check_not_left()
        return held

    def wait_for_answer(self, receipt: Receipt) -> None:
        """Block until the broker has answered; raises what the request failed with, and LeftError."""
        receipt.add_done_callback(lambda _: self.notice())
        self.wait_for(receipt.done)
        receipt.wait(0)

    def leave(self) -> None:
        """End every wait; from any thread."""
        with self.changed:
            self._left = True
            self.changed.notify_all()

    def _check_not_left(self) -> None:
        if self._left:
            raise LeftError("the house is being left")

    def notice(self) -> None:
        """Have everybody who waits look again."""
        with self.changed:
            self.changed.notify_all()


class Sensor:
    """Publishes the temperature of its room, and awaits what the heater makes of it."""

    def __init__(self, home: Home, room: Room, client: JMqtt) -> None:
        self.answered = 0
        """The last reading that the heater has answered."""
        self._home = home
        self._room = room
        self._client = client
        self._published: dict[int, float] = {}
        home.listen(client, home.topic(room.name, "heater"), self._on_heater)

    def measure(self, number: int) -> None:
        """Publish a reading."""
        self._published[number] = time.perf_counter()
        self._home.tally.post(
            self._client,
            self._home.topic(self._room.name, "temperature"),
            number,
            retain=True,
            celsius=round(self._room.celsius, 1),
        )

    def _on_heater(self, message: MqttMsg) -> None:
        state = self._home.tally.take(message)
        if state is not None:
            took = time.perf_counter() - self._published.pop(state["n"])
            self._home.tally.round_trips.append(took)
            self.answered = state["n"]
            self._home.notice()


class Thermostat:
    """Switches the heater of every room by its readings, with a command for each."""

    def __init__(self, home: Home, client: JMqtt) -> None:
        self._home = home
        self._client = client
        self._heat: dict[str, bool] = {}
        home.listen(client, home.topic("+", "temperature"), self._on_temperature)

    def _on_temperature(self, message: MqttMsg) -> None:
        reading = self._home.tally.take(message)
        if reading is None:
            return
        room = message.topic.split("/")[-2]
        margin = 0.5 if self._heat.get(room, False) else -0.5  # so that it does not switch with every breath
        self._heat[room] = reading["celsius"] < TARGET + margin
        self._home.tally.post(
            self._client, self._home.topic(room, "heater", "set"), reading["n"], heat=self._heat[room]
        )


class Heater:
    """Obeys the thermostat in every room, and says what it does."""

    def __init__(self, home: Home, rooms: list[Room], client: JMqtt) -> None:
        self._home = home
        self._rooms = {room.name: room for room in rooms}
        self._client = client
        home.listen(client, home.topic("+", "heater", "set"), self._on_command)

    def _on_command(self, message: MqttMsg) -> None:
        command = self._home.tally.take(message)
        if command is None:
            return
        room = self._rooms[message.topic.split("/")[-3]]
        room.heating = command["heat"]
        self._home.tally.post(
            self._client, self._home.topic(room.name, "heater"), command["n"], retain=True, on=room.heating
        )
