"""Cases about many messages on a bad network: nothing is lost, and at QoS 2 nothing doubled."""

from __future__ import annotations

import threading
import time
from typing import Any

from juham_core.testing.cases.losing import lasting, watched
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit

_COUNT = 200
_PAYLOADS = [b"%d" % number for number in range(_COUNT)]
_SESSION = ("persistent_session",)
_SESSION_2 = ("persistent_session", "qos_2")


class StreamCases:
    """The subject ``reconnect``, continued."""

    @case("reconnect.stream_out_qos_1", on=FAULTS, needs=_SESSION)
    def stream_out_qos_1(self, kit: Kit) -> None:
        """Of a stream of QoS 1 that is cut at several packets each message arrives, first in order."""
        _cut(kit, on=("publish",), before=("puback",))
        assert list(dict.fromkeys(_sent(kit, 1))) == _PAYLOADS

    @case("reconnect.stream_out_qos_2", on=FAULTS, needs=_SESSION_2)
    def stream_out_qos_2(self, kit: Kit) -> None:
        """Of a stream of QoS 2 that is cut at several packets each message arrives exactly once."""
        _cut(kit, on=("publish", "pubrel"), before=("pubrec", "pubcomp"))
        assert sorted(_sent(kit, 2), key=int) == _PAYLOADS

    @case("reconnect.stream_out_anew", on=FAULTS)
    def stream_out_anew(self, kit: Kit) -> None:
        """Without sessions, too, each message of a stream of QoS 1 that is cut arrives, first in order."""
        _cut(kit, on=("publish",), before=("puback",))
        assert list(dict.fromkeys(_sent(kit, 1, clean_start=True))) == _PAYLOADS

    @case("reconnect.stream_in_qos_1", on=FAULTS, needs=_SESSION)
    def stream_in_qos_1(self, kit: Kit) -> None:
        """Of a stream of QoS 1 to a client that is cut off each message is handled, first in order."""
        client = kit.connect(**lasting(kit))
        inbox = kit.inbox(client, kit.topic)
        _cut(kit, on=("puback",), before=("publish",))
        seen: list[bytes] = []
        _publish_all(kit, qos=1)
        while len(set(seen)) < _COUNT:
            seen += inbox.payloads(1)
        assert client.statistics.reconnects >= 6, "the connection was not cut"
        assert list(dict.fromkeys(seen)) == _PAYLOADS

    @case("reconnect.stream_in_qos_2", on=FAULTS, needs=_SESSION_2)
    def stream_in_qos_2(self, kit: Kit) -> None:
        """Of a stream of QoS 2 to a client that is cut off each message is handled exactly once."""
        client = kit.connect(**lasting(kit))
        inbox = kit.inbox(client, kit.topic, qos=2)
        _cut(kit, on=("pubrec", "pubcomp"), before=("publish", "pubrel"))
        _publish_all(kit, qos=2)
        seen = inbox.payloads(_COUNT)
        assert client.statistics.reconnects >= 6, "the connection was not cut"
        kit.observer().publish(kit.topic, b"last", qos=2)
        assert sorted(seen, key=int) == _PAYLOADS
        assert inbox.payloads(1) == [b"last"]

    @case("reconnect.half_open_busy", on=FAULTS)
    def half_open_busy(self, kit: Kit) -> None:
        """A broker that falls silent is noticed by a client that goes on publishing, too (section 3.12.4)."""
        client, lost, back = watched(kit, keepalive=1)
        kit.broker.silence()
        pause = threading.Event()
        enough = time.monotonic() + kit.patience
        while not lost.count:
            assert time.monotonic() < enough, "the silence was not noticed"
            client.publish(kit.topic, b"x", qos=0)
            pause.wait(0.02)
        back.next()


def _cut(kit: Kit, on: tuple[str, ...], before: tuple[str, ...]) -> None:
    """End a connection at the 20th, 60th, 100th of these packets that a client sends, or the broker."""
    links: dict[str, Any] = {**dict.fromkeys(on, kit.broker.on), **dict.fromkeys(before, kit.broker.before)}
    for number, (kind, rule) in enumerate(links.items()):
        for nth in (20, 60, 100):
            rule(kind, nth=nth + 7 * number).reset()


def _sent(kit: Kit, qos: int, **options: Any) -> list[bytes]:
    """What arrives of a stream that the client sends."""
    client = kit.connect(**{**lasting(kit), **options})
    observer = kit.observer(kit.topic, qos=qos)
    receipts = [client.publish(kit.topic, payload, qos=qos) for payload in _PAYLOADS]
    for receipt in receipts:
        receipt.wait(kit.patience)
    assert client.statistics.reconnects >= 6, "the connection was not cut"
    return [message.payload for message in observer.drain()]


def _publish_all(kit: Kit, qos: int) -> None:
    """Have the observer publish the stream; what it sends is not cut."""
    observer = kit.observer()
    for payload in _PAYLOADS:
        observer.publish(kit.topic, payload, qos=qos)
