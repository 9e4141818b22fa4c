"""The demo's house: it runs on one backend, from the first "online" to the last retained message cleared."""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from juham_core.cli import victim
from juham_core.cli.residents import Heater, Home, Room, Sensor, Thermostat
from juham_core.cli.tally import percentile
from juham_core.cli.victim import LocalVictim, ProcessVictim, Victim
from juham_core.errors import JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.message import MqttMsg

ROOMS: Final = ("hall", "kitchen", "bedroom", "bathroom", "study", "nursery", "attic", "cellar")
PANEL: Final = "panel"
UNANSWERED_ROUNDS: Final = 3
"""So many rounds without an answer prove the point."""


@dataclass
class Outcome:
    """What became of a house. Times in seconds."""

    messages: int = 0
    lost: int = 0
    duplicates: int = 0
    p50: float = 0.0
    p99: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if every message arrived and everything else was as it should be."""
        return not self.lost and not self.problems


class House:
    """Sensors, a thermostat, a heater and a panel, all clients of one backend.

    ``url`` leads to the broker, ``in_process`` tells that it is one within this process. Each round every
    sensor publishes a reading and the house waits for the heater's answers, at most ``patience`` seconds;
    ``pace`` is the least a round takes, for those who watch. After ``seconds`` no further round begins.
    :meth:`run` is called once; the attributes may be read by other threads meanwhile.
    """

    def __init__(
        self,
        backend: str,
        url: str,
        *,
        in_process: bool = False,
        sensors: int = 4,
        rounds: int = 100,
        seconds: float = math.inf,
        pace: float = 0.0,
        patience: float = 5.0,
    ) -> None:
        self.home = Home(backend, url, f"juham-demo-{secrets.token_hex(4)}", patience)
        self.rooms = [
            Room(name, 18.0 + index * 7 % 5 * 0.6, 1.5 + index % 3 * 0.5)
            for index, name in enumerate(_room_names(sensors))
        ]
        self.statuses: dict[str, str] = {}
        """What the panel has heard: "online" or "offline" by name."""
        self.round = 0
        self.rounds = rounds
        self.phase = "everybody connects"
        self._url = url
        self._in_process = in_process
        self._seconds = seconds
        self._pace = pace
        self._outcome = Outcome()
        self._clients: list[JMqtt] = []

    def run(self) -> Outcome:
        """Live in the house, on the calling thread; everything is closed and cleared on return.

        Raises BackendError, ConnectError, NotSupportedError and the like if it does not come to that, and
        LeftError or some other JuhamError after :meth:`leave`; messages lost are no error, but an outcome.
        """
        with ExitStack() as panel_last:
            panel = self._enter(PANEL, panel_last, at_last=self._clear)
            self.home.listen(panel, self.home.topic("+", "status"), self._on_status)
            with ExitStack() as residents:
                sensors = self._move_in(residents)
                crashing = self._victim()
                try:
                    self._live(sensors)
                    self._crash(crashing)
                    self._receive_guest(residents)
                finally:
                    complaint = crashing.close()
                    if complaint and self._outcome.problems:
                        self._outcome.problems.append(f"the {victim.NAME} said: {complaint}")
                self.phase = "everybody leaves"
        return self._reckon()

    def leave(self) -> None:
        """Have :meth:`run` end soon, be it before it has begun; from any thread."""
        self.home.leave()
        for client in self._clients[:]:
            # The panel is needed to clear the broker, if it has come to that.
            if client.name != PANEL or not client.is_connected():
                client.disconnect_from_server()

    def _enter(
        self, name: str, stack: ExitStack, at_last: Callable[[JMqtt], object] = lambda _client: None
    ) -> JMqtt:
        client = self.home.client(name)
        stack.callback(client.disconnect_from_server)
        stack.callback(at_last, client)
        self._clients.append(client)
        return self.home.enter(client)

    def _move_in(self, stack: ExitStack) -> list[Sensor]:
        Thermostat(self.home, self._enter("thermostat", stack))
        Heater(self.home, self.rooms, self._enter("heater", stack))
        sensors = [Sensor(self.home, room, self._enter(room.name, stack)) for room in self.rooms]
        names = {client.name for client in self._clients}
        if not self.home.wait_for(lambda: names <= self.statuses.keys()):
            absent = ", ".join(sorted(names - self.statuses.keys()))
            self._outcome.problems.append(f'the panel never heard "online" from {absent}')
        return sensors

    def _victim(self) -> Victim:
        return LocalVictim(self.home) if self._in_process else ProcessVictim(self.home, self._url)

    def _live(self, sensors: list[Sensor]) -> None:
        self.phase = "sensors report, the thermostat decides, the heater obeys"
        unanswered = 0
        end = time.monotonic() + self._seconds
        for number in range(1, self.rounds + 1):
            if time.monotonic() > end:
                return
            self.round = number
            for room, sensor in zip(self.rooms, sensors, strict=True):
                room.pass_time()
                sensor.measure(number)
            if not self.home.wait_for(lambda n=number: all(s.answered >= n for s in sensors)):  # type: ignore[misc]  # mypy cannot type a default
                unanswered += 1
                if unanswered == UNANSWERED_ROUNDS:
                    self._outcome.problems.append(
                        f"given up at round {number} of {self.rounds}: {unanswered} rounds brought no "
                        f"answer within {self.home.patience:g} s"
                    )
                    return
            self._let_watch(1)

    def _crash(self, crashing: Victim) -> None:
        self.phase = f"the sensor in the {victim.NAME} crashes: its will says so"
        # A process takes its time to start, a small computer's a long time.
        if not self.home.wait_for(lambda: victim.NAME in self.statuses, 2 * self.home.patience):
            self._outcome.problems.append(f"the sensor in the {victim.NAME} never came online")
            return
        crashing.crash()
        if not self.home.wait_for(lambda: self.statuses[victim.NAME] == "offline"):
            self._outcome.problems.append(f"the will of the sensor in the {victim.NAME} never came")
        self.home.tally.retained[self.home.topic(victim.NAME, "status")] = b"offline"
        self._let_watch(15)

    def _receive_guest(self, stack: ExitStack) -> None:
        self.phase = "a guest comes late, and finds the retained states"
        expected = dict(self.home.tally.retained)
        found: dict[str, bytes] = {}

        def look(message: MqttMsg) -> None:
            if message.retain:
                found[message.topic] = message.payload
                self.home.notice()

        guest = self._enter("guest", stack)
        self.home.listen(guest, self.home.topic("#"), look)
        if not self.home.wait_for(lambda: expected.items() <= found.items()):
            absent = [topic for topic in expected if found.get(topic) != expected[topic]]
            names = ", ".join(topic.removeprefix(self.home.topic("")) for topic in absent)
            self._outcome.problems.append(f"a late joiner did not find the retained {names}")
        self._let_watch(15)

    def _let_watch(self, rounds: int) -> None:
        """Give whoever watches the time to see what happens."""
        if self._pace:
            self.home.wait_for(lambda: False, rounds * self._pace)

    def _on_status(self, message: MqttMsg) -> None:
        if message.payload:
            self.statuses[message.topic.split("/")[-2]] = message.payload.decode()
            self.home.notice()

    def _clear(self, panel: JMqtt) -> None:
        if not self.home.tally.retained:
            return  # nobody has come in
        topics = {*self.home.tally.retained, self.home.topic(victim.NAME, "status")}
        try:
            for receipt in [panel.publish(topic, None, qos=1, retain=True) for topic in sorted(topics)]:
                receipt.wait(self.home.patience)
        except JuhamError as exc:
            self._outcome.problems.append(f"retained messages are left below {self.home.prefix}: {exc}")

    def _reckon(self) -> Outcome:
        tally, outcome = self.home.tally, self._outcome
        outcome.messages, outcome.lost = tally.sent, tally.missing
        outcome.duplicates = tally.duplicates
        outcome.p50, outcome.p99 = (percentile(tally.round_trips, percent) for percent in (50, 99))
        errors = sum(client.statistics.handler_errors for client in self._clients)
        if errors:
            outcome.problems.append(f"{errors} handlers raised: juham --debug demo shows them")
        self.phase = "done"
        return outcome


def _room_names(count: int) -> list[str]:
    more = (f"room{number}" for number in itertools.count(len(ROOMS) + 1))
    return list(itertools.islice(itertools.chain(ROOMS, more), count))
