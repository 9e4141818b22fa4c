"""Cases about acknowledgements that never come: the connection is given up, and what was asked sent again.

No client library asks again on a live connection, and MQTT forbids it (MQTT 5 section 4.4).
"""

from __future__ import annotations

import time
from typing import Any

from juham_core.testing.cases.losing import lasting, watched
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit

_SOON = 0.4
"""The ack_timeout of these cases, in seconds."""


class UnansweredCases:
    """The subject ``reconnect``, continued."""

    @case("reconnect.no_puback", on=FAULTS)
    def no_puback(self, kit: Kit) -> None:
        """Without PUBACK for ack_timeout the connection is made anew, and the message sent again."""
        _sent_again(kit, "puback", qos=1, repeats="publish")

    @case("reconnect.no_pubrec", on=FAULTS, needs="qos_2")
    def no_pubrec(self, kit: Kit) -> None:
        """Without PUBREC for ack_timeout the connection is made anew, and the message sent again."""
        _sent_again(kit, "pubrec", qos=2, repeats="publish")

    @case("reconnect.no_pubcomp", on=FAULTS, needs=("qos_2", "persistent_session"))
    def no_pubcomp(self, kit: Kit) -> None:
        """Without PUBCOMP for ack_timeout the connection is made anew, and PUBREL sent again."""
        _sent_again(kit, "pubcomp", qos=2, repeats="pubrel", **lasting(kit))

    @case("reconnect.no_suback", on=FAULTS)
    def no_suback(self, kit: Kit) -> None:
        """Without SUBACK for ack_timeout the connection is made anew, and the filter asked for again."""
        kit.broker.before("suback", nth=1).withhold()
        client, lost, _ = watched(kit, ack_timeout=_SOON)
        inbox = kit.inbox(client, kit.topic)
        lost.next()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        assert kit.broker.accepted == 2

    @case("reconnect.no_unsuback", on=FAULTS)
    def no_unsuback(self, kit: Kit) -> None:
        """Without UNSUBACK for ack_timeout the connection is made anew, and the subscription stays ended."""
        kit.broker.before("unsuback", nth=1).withhold()
        client, lost, _ = watched(kit, ack_timeout=_SOON)
        kit.subscribe(client, kit.topic)
        client.unsubscribe(kit.topic).wait(kit.patience)
        lost.next()
        client.publish(f"{kit.topic}/marker", b"x", qos=1).wait(kit.patience)
        assert kit.broker.packets("subscribe", connection=2) == []

    @case("reconnect.no_answer_but_others", on=FAULTS)
    def no_answer_but_others(self, kit: Kit) -> None:
        """Other answers, which keep coming, do not hide the one that is missing."""
        kit.broker.before("puback", nth=1).withhold()
        client, lost, _ = watched(kit, ack_timeout=_SOON)
        observer = kit.observer(kit.topic)
        missing = client.publish(kit.topic, b"missing", qos=1)
        enough = time.monotonic() + kit.patience
        while not lost.count:
            assert time.monotonic() < enough, "the connection was not given up"
            client.publish(f"{kit.topic}/others", b"x", qos=1).wait(kit.patience)
        missing.wait(kit.patience)
        assert {message.payload for message in observer.drain()} == {b"missing"}


def _sent_again(kit: Kit, withheld: str, qos: int, repeats: str, **options: Any) -> None:
    kit.broker.before(withheld, nth=1).withhold()
    client, lost, _ = watched(kit, ack_timeout=_SOON, **options)
    receipt = client.publish(kit.topic, b"x", qos=qos)
    assert lost.next()[3].is_failure
    receipt.wait(kit.patience)
    assert kit.broker.accepted == 2
    assert len(kit.broker.packets(repeats, connection=1)) == 1, "sent again on the same connection"
    assert len(kit.broker.packets(repeats, connection=2)) == 1
