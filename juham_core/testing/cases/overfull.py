"""Cases about more than an application can take: what waits for it is bounded, and the bound is kept."""

from __future__ import annotations

import threading
from typing import Any

from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Publish

_COUNT = 3_000
_PAYLOAD = b"%06d" + b"x" * 1_000
_MOST = 500
"""Messages of that size that may be on their way in the client beyond ``max_received``: those of a window, of
one read, and of the buffers of TLS or an event loop."""
_STILL = 0.4
"""Seconds without a message after which none is going to come."""


class OverfullCases:
    """The subject ``hostile``, continued."""

    @case("hostile.window_ignored", on=FAULTS)
    def window_ignored(self, kit: Kit) -> None:
        """A broker that waits for no PUBACK is read no further than handlers keep up; nothing is lost."""
        client = kit.connect(max_received=10)
        go_on, payloads = _slow(kit, client)
        kit.subscribe(client, kit.topic)
        kit.broker.send(
            *(Publish(kit.topic, _PAYLOAD % number, 1, packet_id=number + 1) for number in range(_COUNT))
        )
        kit.eventually(lambda: client.statistics.waiting >= 10, "the messages wait for the handler")
        _until_still(kit, client)
        waiting = client.statistics.waiting
        go_on.set()
        assert waiting <= 10 + _MOST, f"{waiting:,} messages wait, where max_received is 10"
        for number in range(_COUNT):
            assert payloads.next()[0] == _PAYLOAD % number


def _slow(kit: Kit, client: JMqtt) -> tuple[threading.Event, Any]:
    """Have messages handled once the event is set; what they held comes to the recorder."""
    go_on, payloads = threading.Event(), kit.recorder()

    def handle(_client: JMqtt, _userdata: Any, message: Any) -> None:
        go_on.wait(3 * kit.patience)
        payloads(message.payload)

    kit.handle(client, "on_message", handle)
    return go_on, payloads


def _until_still(kit: Kit, client: JMqtt) -> None:
    """Block until no message has come for a while: nothing announces that a client reads no more."""
    pause = threading.Event()

    def still() -> bool:
        before = client.statistics.received
        pause.wait(_STILL)
        return client.statistics.received == before

    kit.eventually(still, "the client takes no more")
