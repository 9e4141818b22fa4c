"""Where a case is tried: on the fault broker, on a real one, inside the process, or nowhere."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from juham_core.capabilities import Capabilities
from juham_core.testing import definition
from juham_core.testing.definition import Case
from juham_core.testing.faults import FaultBroker
from juham_core.testing.mosquitto import find_mosquitto, shared_mosquitto
from juham_core.testing.observer import MemoryObserver, Observer, SocketObserver
from juham_core.testing.waiting import eventually
from juham_core.url import parse_url

FAULT_BROKER: Final = "fault_broker"
MOSQUITTO: Final = "mosquitto"
GIVEN: Final = "url"
MEMORY: Final = "memory"
NOWHERE: Final = "none"
_GRACE: Final = 3.0
"""Seconds that connections have to end."""


@dataclass(frozen=True)
class Choice:
    """A place where a case is to be tried, or why there is none."""

    place: str
    why_not: str = ""


def choose_places(
    case: Case, capabilities: Capabilities | None, url: str | None, face: str = ""
) -> list[Choice]:
    """Where to try a case with a backend of these capabilities (None: it cannot even be loaded).

    Through another face it is tried on one kind of broker: how brokers differ is no matter of the face.
    """
    if case.on == definition.NONE:
        return [Choice(NOWHERE)]
    if capabilities is not None and not capabilities.tcp:
        if not capabilities.in_process:
            return [Choice(NOWHERE, "the kit's brokers are reached by TCP or in process")]
        if case.on == definition.FAULTS:
            return [Choice(NOWHERE, "the backend reaches no broker whose network could fail")]
        return [Choice(MEMORY)]
    choices = [Choice(FAULT_BROKER)]
    if case.on == definition.ANY and capabilities is not None:
        if url is not None:
            choices.append(Choice(GIVEN))
        elif not face and find_mosquitto() is not None:
            choices.append(Choice(MOSQUITTO))
    return choices


def prepare(kind: str) -> None:
    """Start what trials in this place share, so that no single trial seems to leave it behind."""
    if kind == MOSQUITTO:
        shared_mosquitto()


class Place:
    """A broker for one trial. ``options`` are what clients under test connect with."""

    def __init__(self, kind: str, url: str | None = None) -> None:
        self.kind = kind
        self.broker: FaultBroker | None = None
        self.options: dict[str, Any] = {}
        if kind == FAULT_BROKER:
            self.broker = FaultBroker().start()
            self.options = {"transport": "tcp", "host": self.broker.host, "port": self.broker.port}
        elif kind == MEMORY:
            self.options = {"transport": "memory", "host": secrets.token_hex(8)}
        elif kind == MOSQUITTO:
            self.options = parse_url(shared_mosquitto().url)[1]
        elif kind == GIVEN and url is not None:
            self.options = parse_url(url)[1]

    def observer(self, **settings: Any) -> Observer:
        """A client of the kit's own on the same broker."""
        if self.kind == MEMORY:
            return MemoryObserver(self.options["host"], **settings)
        if self.kind == GIVEN:
            user, password = self.options.get("username"), self.options.get("password")
            settings = {"username": user, "password": password.encode() if password else None, **settings}
        return SocketObserver(self.options["host"], self.options.get("port") or 1883, **settings)

    def left(self) -> list[str]:
        """In words, the connections that the case should have closed; waits a little while for their end."""
        broker = self.broker
        if broker is not None:
            with contextlib.suppress(AssertionError):
                eventually(lambda: not broker.connections, "", _GRACE)
            if broker.connections:
                return [f"{broker.connections} connection(s) to the broker"]
        return []

    def close(self) -> None:
        """Stop the broker if it is the trial's own."""
        if self.broker is not None:
            self.broker.stop()


def check_url(url: str) -> str:
    """Return the URL of a broker to try on; ValueError if the observing client cannot reach it."""
    if urlsplit(url).scheme != "mqtt":
        raise ValueError("the kit tries real brokers over plain TCP: mqtt://[user:password@]host[:port]")
    parse_url(url)
    return url
