"""Cases about the outbox: what was accepted is sent, once the process that had accepted it is long gone."""

from __future__ import annotations

import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from juham_core.errors import NotConnectedError, OutboxError, PublishError, QueueFullError
from juham_core.jmqtt import JMqtt
from juham_core.testing.cases.losing import lasting
from juham_core.testing.cases.publisher import Told, kill_at_random, publishing
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.script import Rule
from juham_core.wire import Packet, Publish

_KILLS = 3
_SESSION_2 = ("persistent_session", "qos_2")
_ENDLESS = 1_000_000
_EXPIRY = 1000
_AWAY = 100.0
"""Seconds that a message seems to have spent on disk."""


class OutboxCases:
    """The subject ``outbox``."""

    # --- the process is killed ----------------------------------------------------------------------

    @case("outbox.kept_until_puback", on=FAULTS)
    def kept_until_puback(self, kit: Kit) -> None:
        """A QoS 1 message that was sent and not acknowledged outlives its process."""
        assert _sent_by_the_next(kit, 1) == list(range(10))

    @case("outbox.kept_until_pubcomp", on=FAULTS, needs="qos_2")
    def kept_until_pubcomp(self, kit: Kit) -> None:
        """A QoS 2 message that was sent and not acknowledged outlives its process."""
        assert _sent_by_the_next(kit, 2) == list(range(10))

    @case("outbox.killed_qos_1", on=FAULTS, seconds=90)
    def killed_qos_1(self, kit: Kit) -> None:
        """Killed at random moments, a publisher of QoS 1 loses nothing it accepted, and no topic's order."""
        _killed(kit, 1)

    @case("outbox.killed_qos_2", on=FAULTS, needs="qos_2", seconds=90)
    def killed_qos_2(self, kit: Kit) -> None:
        """At QoS 2, too; twice may only come what was in flight, and never what was seen done."""
        told, seen = _killed(kit, 2)
        twice = {number for number in seen if seen.count(number) > 1}
        assert not twice & told.done, f"done, and sent again: {sorted(twice & told.done)}"
        window = kit.create().options.max_inflight
        assert len(twice) <= _KILLS * window, f"more were doubled than could be in flight: {sorted(twice)}"

    # --- the process is killed, and the session is still there --------------------------------------

    @case("outbox.goes_on_at_pubrec", on=FAULTS, needs=_SESSION_2)
    def goes_on_at_pubrec(self, kit: Kit) -> None:
        """A QoS 2 message whose PUBREC the dead process did not see is sent again as the same one."""
        assert _goes_on(kit, lambda where: kit.broker.before("pubrec", where=where)) == list(range(20))

    @case("outbox.goes_on_at_pubcomp", on=FAULTS, needs=_SESSION_2)
    def goes_on_at_pubcomp(self, kit: Kit) -> None:
        """A QoS 2 message that the dead process had released is not published again."""
        assert _goes_on(kit, lambda where: kit.broker.before("pubcomp", where=where)) == list(range(20))

    @case("outbox.killed_session", on=FAULTS, needs=_SESSION_2, seconds=90)
    def killed_session(self, kit: Kit) -> None:
        """Killed at random moments, a publisher with a session loses nothing, and nothing arrives twice."""
        _told, seen = _killed(kit, 2, **lasting(kit))
        twice = {number for number in seen if seen.count(number) > 1}
        assert not twice, f"arrived more than once: {sorted(twice)}"

    @case("outbox.sent_again_dup", on=FAULTS, needs="persistent_session")
    def sent_again_dup(self, kit: Kit) -> None:
        """In a session that goes on, what another process may have sent is marked DUP (section 3.3.1.1)."""
        assert _sent_again(kit, **lasting(kit)) == [(0, True), (1, True), (2, True), (3, False)]

    @case("outbox.never_sent_no_dup", on=FAULTS, needs="persistent_session")
    def never_sent_no_dup(self, kit: Kit) -> None:
        """What another client has stored and, when it was closed, not sent yet is sent without DUP."""
        options = {**_stored(kit), **lasting(kit)}
        kit.broker.on("publish", connection=1).withhold()
        first = kit.connect(close_timeout=0.1, max_inflight=2, **options)
        for number in range(4):
            first.publish(kit.topic, str(number), qos=1)
        kit.broker.wait_for("publish", nth=2)
        first.disconnect_from_server()
        kit.seen_by_hooks(first).publish(kit.topic, "4", qos=1)  # an AsyncMqtt that is closed takes nothing
        second = kit.create(**options)
        second.publish(kit.topic, "5", qos=1)
        kit.connect(second)
        kit.eventually(lambda: second.statistics.outbox_messages == 0, "the outbox is emptied")
        sent = {int(packet.payload): packet.dup for packet in kit.broker.packets("publish", connection=2)}
        assert sorted(sent) == list(range(6))
        assert not any(sent[number] for number in range(2, 6)), f"number and DUP: {sent}"

    @case("outbox.identifiers_apart", on=FAULTS)
    def identifiers_apart(self, kit: Kit) -> None:
        """No message gets the packet identifier that a subscribe or another message has (section 2.2.1)."""
        client = kit.connect(max_inflight=10, **_stored(kit))
        held = kit.broker.before("suback").hold()
        request = client.subscribe(kit.topic)
        kit.broker.wait_for("subscribe")
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(5)]
        kit.broker.wait_for("publish", nth=5)
        packets = [*kit.broker.packets("subscribe"), *kit.broker.packets("publish")]
        held.release()
        identifiers = [packet.packet_id for packet in packets]
        assert len(set(identifiers)) == 6, f"of the subscribe and five messages: {identifiers}"
        request.wait(kit.patience)
        for receipt in receipts:
            receipt.wait(kit.patience)

    @case("outbox.sent_anew", on=FAULTS)
    def sent_anew(self, kit: Kit) -> None:
        """Without a session that goes on, it is sent as new: the broker knows nothing of it."""
        assert _sent_again(kit) == [(0, False), (1, False), (2, False), (3, False)]

    # --- from one client to the next ----------------------------------------------------------------

    @case("outbox.in_order")
    def in_order(self, kit: Kit) -> None:
        """What is stored is sent before what is published later, and in the order in which it came."""
        options = _stored(kit)
        first = kit.create(**options)
        for number in range(50):
            first.publish(f"{kit.topic}/{number % 3}", str(number), qos=1)
        assert first.statistics.outbox_messages == first.statistics.queued == 50
        first.disconnect_from_server()
        observer = kit.observer(f"{kit.topic}/+")
        second = kit.create(**options)
        new = second.publish(f"{kit.topic}/new", "50", qos=1)
        kit.connect(second)
        new.wait(kit.patience)
        kit.eventually(lambda: second.statistics.outbox_messages == 0, "the outbox is emptied")
        assert _numbers(observer.drain()) == list(range(51))
        assert second.statistics.acknowledged == 51

    @case("outbox.kept_by_closing", on=FAULTS)
    def kept_by_closing(self, kit: Kit) -> None:
        """Closing keeps what the broker has not acknowledged; the receipts say so."""
        kit.broker.on("publish", connection=1).withhold()
        client = kit.create(**_stored(kit), close_timeout=0.1)
        kit.connect(client)
        receipts = [client.publish(kit.topic, str(number), qos=1) for number in range(30)]
        client.disconnect_from_server()
        for receipt in receipts:
            with kit.raises(NotConnectedError) as caught:
                receipt.wait(0)
            assert "kept in the outbox" in str(caught[0])
        observer = kit.observer(kit.topic)
        again = kit.connect(kit.create(**_options(client)))
        kit.eventually(lambda: again.statistics.outbox_messages == 0, "the outbox is emptied")
        assert _numbers(observer.drain()) == list(range(30))

    @case("outbox.published_for_all")
    def published_for_all(self, kit: Kit) -> None:
        """on_publish is called for the messages of an earlier client, too, with numbers of their own."""
        options = _stored(kit)
        with kit.create(**options) as first:
            for _ in range(5):
                first.publish(kit.topic, b"x", qos=1)
        second = kit.create(**options)
        published = kit.recorder()
        kit.handle(second, "on_publish", lambda _client, _data, mid: published(mid))
        own = second.publish(kit.topic, b"x", qos=1).mid
        kit.connect(second)
        mids = {published.next()[0] for _ in range(6)}
        assert own in mids
        assert len(mids) == 6

    @case("outbox.refused", on=FAULTS, needs="mqtt_5")
    def refused(self, kit: Kit) -> None:
        """What the broker refuses fails its receipt and leaves the outbox."""
        kit.broker.before("puback", nth=1).change(reason_code=0x97)
        client = kit.connect(kit.create(**_stored(kit)))
        with kit.raises(PublishError):
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        client.publish(kit.topic, b"y", qos=1).wait(kit.patience)
        kit.eventually(lambda: client.statistics.outbox_messages == 0, "the outbox is emptied")
        assert client.statistics.dropped["refused"] == 1

    @case("outbox.expiry", needs="mqtt_5")
    def expiry(self, kit: Kit) -> None:
        """The time on disk counts: what is left of the expiry interval is sent, and the expired is not."""
        options = _stored(kit)
        with kit.create(**options) as first:
            for seconds in (_AWAY / 2, _EXPIRY):
                properties = {"message_expiry_interval": int(seconds)}
                first.publish(kit.topic, str(int(seconds)), qos=1, properties=properties)
            store = first._outgoing._keeper.opened()  # type: ignore[attr-defined]  # the outbox has one
            store._connection.execute("UPDATE messages SET expires_at = expires_at - ?", (_AWAY,))
        observer = kit.observer(kit.topic, protocol=kit.protocol)
        client = kit.connect(kit.create(**options))
        kit.eventually(lambda: client.statistics.outbox_messages == 0, "the outbox is emptied")
        (message,) = observer.drain()
        left = message.properties["message_expiry_interval"]
        assert _EXPIRY - _AWAY - 60 < left <= _EXPIRY - _AWAY
        assert client.statistics.dropped["expired"] == 1

    # --- bounds and faults --------------------------------------------------------------------------

    @case("outbox.bounded")
    def bounded(self, kit: Kit) -> None:
        """Past its bounds in messages or bytes the outbox accepts nothing, and says so."""
        for bound in ({"outbox_max_messages": 3}, {"outbox_max_bytes": 3 * (len(kit.topic) + 10)}):
            options: dict[str, Any] = {**_stored(kit), **bound}
            client = kit.create(**options)
            for number in range(3):
                client.publish(kit.topic, str(number).rjust(10), qos=1)
            with kit.raises(QueueFullError):
                client.publish(kit.topic, "3".rjust(10), qos=1)
            observer = kit.observer(kit.topic)
            kit.connect(client)
            kit.eventually(lambda: client.statistics.outbox_messages == 0, "the outbox is emptied")  # noqa: B023 - called within the loop
            assert _numbers(observer.drain()) == [0, 1, 2]
            client.disconnect_from_server()

    @case("outbox.full_disk")
    def full_disk(self, kit: Kit) -> None:
        """On a full disk publish raises OutboxError; what was accepted before is sent, and nothing else."""
        client = kit.create(**_stored(kit))
        client._outgoing._keeper.opened()._connection.execute("PRAGMA max_page_count = 30")  # type: ignore[attr-defined]  # as above
        accepted = _until_full(client, kit.topic)
        assert 5 < len(accepted) < 1000
        observer = kit.observer(kit.topic)
        kit.connect(client)
        kit.eventually(lambda: client.statistics.outbox_messages == 0, "the outbox is emptied")
        assert _numbers(observer.drain()) == accepted
        client.publish(kit.topic, "there is room again", qos=1).wait(kit.patience)

    @case("outbox.damaged")
    def damaged(self, kit: Kit) -> None:
        """A damaged file is set aside, whole, and a new outbox begun."""
        options = _stored(kit)
        with kit.create(**options) as first:
            for _ in range(100):
                first.publish(kit.topic, b"x" * 100, qos=1)
        path = Path(options["outbox"])
        content = path.read_bytes()[:6000] + random.randbytes(20_000)  # noqa: S311 - guards nothing
        path.write_bytes(content)
        client = kit.connect(kit.create(**options))
        aside = list(path.parent.glob(f"{path.name}.corrupt-*"))
        assert len(aside) == 1, f"beside the outbox there is {sorted(path.parent.iterdir())}"
        assert aside[0].read_bytes() == content
        assert client.statistics.dropped["outbox set aside"] == 1
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("outbox.one_at_a_time")
    def one_at_a_time(self, kit: Kit) -> None:
        """A second client with the outbox gets an error, until the first is closed."""
        options = _stored(kit)
        first, second = kit.create(**options), kit.create(**options)
        first.publish(kit.topic, b"x", qos=1)
        with kit.raises(OutboxError):
            second.publish(kit.topic, b"x", qos=1)
        with kit.raises(OutboxError):
            second.connect_to_server()
        first.disconnect_from_server()
        kit.connect(second).publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("outbox.private")
    def private(self, kit: Kit) -> None:
        """Nobody but its owner can read the outbox: payloads are private."""
        options = _stored(kit)
        kit.create(**options).publish(kit.topic, b"x", qos=1)
        found = list(Path(options["outbox"]).parent.iterdir())
        assert found
        for path in found:
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), f"{path} is not private"


def _stored(kit: Kit) -> dict[str, Any]:
    """The option that gives a client an outbox, in a folder of its own that goes when the case ends."""
    return {"outbox": f"{kit.folder()}/outbox"}


def _options(client: JMqtt) -> dict[str, Any]:
    return {"outbox": client.options.outbox}


def _numbers(messages: list[Publish]) -> list[int]:
    return [int(message.payload) for message in messages]


def _until_full(client: JMqtt, topic: str) -> list[int]:
    """Publish until the disk is full; the numbers that were accepted."""
    accepted: list[int] = []
    try:
        while len(accepted) < 1000:
            client.publish(topic, str(len(accepted)).rjust(1000), qos=1)
            accepted.append(len(accepted))
    except OutboxError:
        pass
    return accepted


def _sent_by_the_next(kit: Kit, qos: int) -> list[int]:
    """What arrives of ten messages that never left the first process, which was killed."""
    rule = kit.broker.on("publish", connection=1).withhold()
    template = kit.create(**_stored(kit))
    with publishing(template, kit.topic, qos, count=10) as publisher:
        for told in publisher.lines():
            if len(told.accepted) == 10:
                break
        rule.wait(kit.patience)
        publisher.kill()
    observer = kit.observer(f"{kit.topic}/#")
    with publishing(template, kit.topic, qos) as publisher:
        publisher.finish()
    return _numbers(observer.drain())


def _sent_again(kit: Kit, **options: Any) -> list[tuple[int, bool]]:
    """Number and DUP of what one client has sent in vain and another one sends again, and of a new one."""
    options = {**_stored(kit), **options}
    qos = 2 if kit.capabilities.qos_2 else 1
    kit.broker.on("publish", connection=1).withhold()
    first = kit.connect(close_timeout=0.1, **options)
    for number in range(3):
        first.publish(kit.topic, str(number), qos=qos)
    kit.broker.wait_for("publish", nth=3)
    first.disconnect_from_server()
    second = kit.connect(**options)
    second.publish(kit.topic, "3", qos=qos).wait(kit.patience)
    sent = kit.broker.packets("publish", connection=2)
    return [(int(packet.payload), packet.dup) for packet in sent]


class _Between:
    """True of packets from one number to another, whichever they are."""

    def __init__(self, after: int, last: int) -> None:
        self.count = 0
        self._after, self._last = after, last

    def __call__(self, _packet: Packet) -> bool:
        self.count += 1
        return self._after < self.count <= self._last


def _goes_on(kit: Kit, rule: Callable[[_Between], Rule]) -> list[int]:
    """What arrives of 20 messages, sorted, if the first process dies with ten of them half done."""
    withheld = _Between(5, 15)
    rule(withheld).withhold()
    observer = kit.observer(f"{kit.topic}/#")
    template = kit.create(**_stored(kit), **lasting(kit))
    with publishing(template, kit.topic, 2, count=15) as publisher:
        for told in publisher.lines():
            if len(told.done) == 5 and len(told.accepted) == 15:
                break
        kit.eventually(lambda: withheld.count >= 15, "ten exchanges are cut short")
        publisher.kill()
    with publishing(template, kit.topic, 2, 15, 5) as publisher:
        publisher.finish()
    return sorted(_numbers(observer.drain()))


def _killed(kit: Kit, qos: int, **options: Any) -> tuple[Told, list[int]]:
    """Kill publishers one after the other and let the last one finish; what they told, and what arrived."""
    kit.broker.wire.enabled = False
    template = kit.create(**_stored(kit), **options)
    observer = kit.observer(f"{kit.topic}/#")
    told = Told()
    for round_number in range(_KILLS + 1):
        start = round_number * _ENDLESS
        last = round_number == _KILLS
        with publishing(template, kit.topic, qos, start, 50 if last else _ENDLESS) as publisher:
            each = publisher.finish() if last else kill_at_random(publisher, 20, 400)
        assert each.accepted, "nothing was accepted"
        told.accepted += each.accepted
        told.done |= each.done
    seen = _numbers(observer.drain())
    lost = set(told.accepted) - set(seen)
    assert not lost, f"accepted, and lost: {sorted(lost)}"
    for remainder in range(3):
        first_seen = list(dict.fromkeys(number for number in seen if number % 3 == remainder))
        assert first_seen == sorted(first_seen), f"the order of a topic is lost: {first_seen}"
    return told, seen
