"""Messages that a connection brings, their PUBACKs, and how far it is read: on the event loop's thread.

awscrt reads whatever comes. To read no further its event loop has to wait in the callback that brings one.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from juham_awscrt.configuring import receive_maximum
from juham_awscrt.descriptors import LOOK, writable
from juham_awscrt.reporter import Collected
from juham_core.locks import Event
from juham_core.message import MqttMsg
from juham_core.wire.properties import Properties

if TYPE_CHECKING:
    from juham_awscrt.link import Link

log = logging.getLogger("juham.awscrt")

LITTLE: Final = 500
"""PUBACKs that are not worth a look whether the network takes them."""
BURST: Final = 0.00005
"""Seconds: a message that comes so soon after the last ones were passed on has others behind it."""
MOST_ARRIVED: Final = 100
"""Messages that may have come and not been reported, of which no bound knows yet; streams seldom reach it."""


class Incoming:
    """What one connection brings."""

    def __init__(self, link: Link) -> None:
        self.last_puback = 0.0
        """When the last PUBACK was given to awscrt (``time.monotonic()``)."""
        self._link = link
        self._keys, self._reporter, self._reports = link.keys, link.reporter, link.reports
        self._unacknowledged: dict[int, Any] = {}
        self._owed = 0  # PUBACKs, since the network was last seen to take what is sent
        self._window = receive_maximum(link.options)
        self._most_owed = max(LITTLE, self._window)
        self._handling = 0
        self._arrived: Collected[MqttMsg] = Collected(self._reporter, self._reports.received_many, BURST)
        self._delivery = link.backend._delivery
        self._dispatcher = self._delivery._dispatcher
        self._inline = self._delivery._inline
        self._limit, self._surely = link.limit, link.limit.surely

    def forget(self) -> None:
        """Forget what is unacknowledged: in the next connection the broker sends it again."""
        self._unacknowledged.clear()

    def received(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None, handle: Any
    ) -> bool:
        """Take a message and its handle for PUBACK; False if it is handled, and PUBACK may go."""
        self._limit.heard = True
        if (len(payload) > self._surely or properties is not None) and self._limit.exceeded(
            topic, payload, qos, properties
        ):
            return True
        mid = 0
        if handle is not None:
            mid = next(self._keys)
            self._unacknowledged[mid] = handle
            self._owed += 1
            if self._owed >= self._most_owed:
                self._wait_for_reader()
            if len(self._unacknowledged) > self._window or self._delivery.overweight:
                self._wait_for_handlers()
        if len(self._arrived.things) >= MOST_ARRIVED:
            self._wait_for_reporter()
        if not self._inline or not self._reporter.idle:  # what came before is still to be reported
            self._arrived.add(MqttMsg(topic, payload, qos, retain, False, mid, properties))
            return True
        self._handling = mid
        try:
            self._reports.received(topic, payload, qos, retain, mid, properties)
        except Exception:  # there is nobody above who could catch it
            log.exception("%s: cannot take a message", self._link.backend.name)
        if not mid or self._handling:
            self._handling = 0
            return True
        del self._unacknowledged[mid]
        self.last_puback = time.monotonic()
        return False

    def acknowledge(self, mid: int) -> None:
        """Send PUBACK, if that can still be; if not, the broker will send the message again."""
        if mid == self._handling and threading.get_ident() == self._link.loop_thread:
            self._handling = 0  # awscrt does so, as soon as it knows that the message is taken
            return
        handle = self._unacknowledged.pop(mid, None)
        client = self._link.client
        if handle is not None and client is not None and self._link.up:
            self.last_puback = time.monotonic()
            try:
                self._link.messages.acknowledge(client, handle)
            except RuntimeError as exc:
                log.warning("%s: message %d was not acknowledged: %s", self._link.backend.name, mid, exc)

    def _wait_for_handlers(self) -> None:
        """Read no further than handlers keep up, where the broker sends more than CONNECT has allowed.

        Until they have, neither pings nor anything else can be sent.
        """
        delivery, arrived, dispatcher = self._delivery, self._arrived.things, self._dispatcher

        def has_room() -> bool:
            waiting = dispatcher.waiting + len(arrived)
            return waiting < delivery.limit and not delivery.overweight

        while not self._link.is_closing() and not has_room():
            self._wait_for_reporter()
            dispatcher.wait_for_room(has_room, self._link.is_closing)

    def _wait_for_reporter(self) -> None:
        """Let what has arrived be reported first: a hook may be slow."""
        while self._arrived.things and not self._link.is_closing():
            reported = Event()
            self._reporter.put(reported.set)
            reported.wait(LOOK)

    def _wait_for_reader(self) -> None:
        """Read no further while the broker reads nothing: awscrt keeps all the PUBACKs that it is owed.

        Nor are there pings meanwhile, so this has to end the connection of one that never does.
        """
        patience = 1.5 * self._link.options.keepalive or float("inf")
        given_up = time.monotonic() + patience
        while not self._link.is_closing() and not writable(self._link.loop.epoll, LOOK):
            if time.monotonic() > given_up:
                self._link.lose(TimeoutError(f"the broker has read nothing for {patience:g} s"))
                given_up = float("inf")
        self._owed = 0
