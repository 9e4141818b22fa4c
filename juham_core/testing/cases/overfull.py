"""Cases about more than an application can take: what waits for it is bounded, and the bound is kept."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from juham_core.errors import QueueFullError
from juham_core.jmqtt import JMqtt
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import eventually
from juham_core.wire import MQTT_311, Connack, Publish, encode

_COUNT = 3_000
_PAYLOAD = b"%06d" + b"x" * 1_000
_MOST = 500
"""Messages of that size that may be on their way in the client beyond those that may wait: of a window, of
one read, and of the buffers of TLS or an event loop."""
_BUFFERS = 5 * 1024 * 1024
"""Bytes that do not fit into the buffers of a network whose other end does not read."""
_FLOOD = 6_000
"""Messages whose PUBACKs do not fit into what may wait in a client whose window is 10."""
_FLOOD_V3 = 75_000
"""The same where the window is 65,535, as always under MQTT 3.1.1."""
_FLAPS = 120
_MOST_EVENTS = 80
"""Events that may wait, of twice as many connections."""
_STILL = 0.4
"""Seconds without a message after which none is going to come."""


class OverfullCases:
    """Of several subjects: what they have in common is a bound."""

    @case("hostile.window_ignored", on=FAULTS)
    def window_ignored(self, kit: Kit) -> None:
        """A broker that waits for no PUBACK is read no further than handlers keep up; nothing is lost."""
        _ignore_the_window(kit, max_received=10)

    @case("hostile.window_ignored_manual_ack", on=FAULTS, needs="manual_ack")
    def window_ignored_manual_ack(self, kit: Kit) -> None:
        """With manual_ack, too, a broker that waits for no PUBACK is read as far as handlers keep up."""
        _ignore_the_window(kit, max_received=10, manual_ack=True)

    @case("hostile.window_ignored_bytes", on=FAULTS)
    def window_ignored_bytes(self, kit: Kit) -> None:
        """Past max_received_bytes a broker that waits for no PUBACK is read as far as handlers keep up."""
        _ignore_the_window(kit, max_received_bytes=10 * len(_PAYLOAD % 0))

    @case("handlers.bounded_bytes", on=FAULTS)
    def bounded_bytes(self, kit: Kit) -> None:
        """Past max_received_bytes what comes at QoS 0 is dropped and counted, until there is room."""
        size = len(_PAYLOAD % 0)
        client = kit.connect(max_received_bytes=10 * size)
        go_on, payloads = _slow(kit, client)
        kit.subscribe(client, kit.topic)
        messages = [Publish(kit.topic, _PAYLOAD % number) for number in range(100)]
        kit.broker.send(*messages)
        kit.eventually(lambda: client.statistics.received == 100, "all messages have come")
        waiting, dropped = client.statistics.waiting_bytes, client.statistics.dropped["receive queue full"]
        go_on.set()
        assert 0 < waiting <= 10 * size, f"{waiting:,} bytes wait, where max_received_bytes is {10 * size:,}"
        handled = [payloads.next()[0] for _ in range(100 - dropped)]
        assert handled == sorted(handled), "those that are left are in order"
        kit.eventually(lambda: client.statistics.waiting_bytes == 0, "nothing waits any more")
        kit.broker.send(Publish(kit.topic, b"now"))
        assert payloads.next()[0] == b"now"

    @case("hostile.answers_unread", on=FAULTS, needs="mqtt_5")
    def answers_unread(self, kit: Kit) -> None:
        """A broker that reads no PUBACK is not read for ever, but until it does; nothing is lost."""
        _read_no_answers(kit, _FLOOD, properties={"receive_maximum": 10})

    @case("hostile.answers_unread_v3", on=FAULTS, needs="mqtt_311", seconds=90)
    def answers_unread_v3(self, kit: Kit) -> None:
        """The same under MQTT 3.1.1, where a client cannot say how much may come at once."""
        _read_no_answers(kit, _FLOOD_V3, protocol=MQTT_311)

    @case("reconnect.flapping_behind_handler", on=FAULTS)
    def flapping_behind_handler(self, kit: Kit) -> None:
        """Events of a connection that flaps behind a handler that blocks are merged; the last one is told."""
        client = kit.create(reconnect_min=0.001, reconnect_max=0.002, reconnect_reset=0)
        go_on, events = threading.Event(), kit.recorder()

        def connected(_client: JMqtt, _userdata: Any, _flags: Any, rc: int) -> None:
            go_on.wait(3 * kit.patience)
            events(f"connected {rc}")

        def disconnected(_client: JMqtt, _userdata: Any, _rc: int) -> None:
            events("disconnected")

        kit.handle(client, "on_connect", connected)
        kit.handle(client, "on_disconnect", disconnected)
        kit.connect(client)
        flap = kit.broker.on("connect", where=lambda _: client.statistics.connects < _FLAPS)
        flap.answer(Connack()).close()
        kit.broker.reset()
        kit.eventually(lambda: client.statistics.connects > _FLAPS and client.is_connected(), "it lasts")
        waiting = client.statistics.waiting
        go_on.set()
        assert waiting <= _MOST_EVENTS, f"{waiting:,} events wait after {_FLAPS} connections"
        told = 2 * client.statistics.connects - 1 - client.statistics.merged
        assert client.statistics.merged > 0
        expected = ["connected 0", "disconnected"] * (told // 2) + ["connected 0"]
        assert [events.next()[0] for _ in range(told)] == expected
        client.publish(kit.topic, b"", qos=1).wait(kit.patience)
        events.nothing()

    @case("subscribe.bounded", on=FAULTS)
    def bounded(self, kit: Kit) -> None:
        """Past max_requests without a SUBACK a subscribe raises QueueFullError; an answer makes room."""
        suback = kit.broker.before("suback").hold()
        client = kit.connect(max_requests=3)
        receipts = [client.subscribe(f"{kit.topic}/{number}") for number in range(3)]
        with kit.raises(QueueFullError):
            client.subscribe(f"{kit.topic}/more")
        with kit.raises(QueueFullError):
            client.unsubscribe(f"{kit.topic}/0")
        assert client.statistics.requests == 3
        kit.broker.wait_for("subscribe", nth=3)
        kit.broker.forgive()
        suback.release()
        for receipt in receipts:
            receipt.wait(kit.patience)
        kit.subscribe(client, f"{kit.topic}/more")
        assert client.statistics.requests == 0
        assert len(client.subscriptions) == 4, "one that was not accepted must not be kept"

    @case("subscribe.bounded_offline")
    def bounded_offline(self, kit: Kit) -> None:
        """Of subscribes that wait for a connection max_requests are accepted, be it for one filter."""
        client = kit.create(max_requests=3)
        receipts = [client.subscribe(kit.topic, 1) for _ in range(3)]
        with kit.raises(QueueFullError):
            client.subscribe(kit.topic, 1)
        kit.connect(client)
        for receipt in receipts:
            receipt.wait(kit.patience)
        kit.subscribe(client, kit.topic)

    @case("handlers.on_publish_bounded")
    def on_publish_bounded(self, kit: Kit) -> None:
        """Past max_queued and max_inflight untold calls of on_publish a publish raises QueueFullError."""
        client = kit.connect(max_queued=10, max_inflight=10)
        go_on, told = threading.Event(), kit.recorder()

        def published(_client: JMqtt, _userdata: Any, mid: int) -> None:
            go_on.wait(3 * kit.patience)
            told(mid)

        kit.handle(client, "on_publish", published)
        accepted = []
        with kit.raises(QueueFullError):
            for _ in range(100):
                accepted.append(client.publish(kit.topic, b"", qos=1))
                accepted[-1].wait(kit.patience)
        assert client.statistics.untold <= 30
        go_on.set()
        assert [told.next()[0] for _ in accepted] == [receipt.mid for receipt in accepted]
        kit.eventually(lambda: not client.statistics.untold, "nothing waits any more")
        client.publish(kit.topic, b"", qos=1).wait(kit.patience)
        told.next()


def _messages(kit: Kit) -> list[Publish]:
    return [Publish(kit.topic, _PAYLOAD % number, 1, packet_id=number + 1) for number in range(_COUNT)]


def _read_no_answers(kit: Kit, count: int, **options: Any) -> None:
    if not sys.platform.startswith("linux"):
        kit.not_applicable("only Linux is known to have buffers that are soon full")
    broker = kit.start_broker(narrow=True)
    ignored = broker.after_bytes(_BUFFERS // 100).ignore()
    broker.wire.enabled = False
    client = kit.connect(host=broker.host, port=broker.port, max_received=100, **options)
    numbers: list[int] = []
    kit.handle(client, "on_message", lambda *args: numbers.append(int(args[2].payload[:6])))
    flood = _flood(kit.topic, count, client.options.protocol)  # a client that waits may lose patience
    # What fills the network's buffers has not to be PUBACKs. One who waits for the network does so here.
    filling = threading.Thread(target=client.publish, args=(kit.topic, bytes(_BUFFERS)), name="filling")
    filling.start()
    ignored.wait()
    broker.send(flood)
    kit.eventually(lambda: client.statistics.received, "the first message")
    _until_still(kit, client, enough=count)
    taken = client.statistics.received
    broker.read_on()
    assert taken < count, f"{taken:,} messages were taken of a broker that has read no answer"
    kit.eventually(lambda: len(numbers) > taken, "what it has sent besides")
    handled = numbers[:]
    assert handled == list(range(len(handled)))
    filling.join()


def _flood(topic: str, count: int, protocol: int) -> bytes:
    messages = (
        Publish(topic, b"%06d" % number, 1, packet_id=number % 65_535 + 1) for number in range(count)
    )
    return b"".join(encode(message, protocol) for message in messages)


def _ignore_the_window(kit: Kit, **options: Any) -> None:
    client = kit.connect(**options)
    go_on, payloads = _slow(kit, client)
    kit.subscribe(client, kit.topic)
    kit.broker.send(*_messages(kit))
    kit.eventually(lambda: client.statistics.waiting >= 10, "the messages wait for the handler")
    _until_still(kit, client)
    waiting = client.statistics.waiting
    go_on.set()
    assert waiting <= 10 + _MOST, f"{waiting:,} messages wait, where 10 may"
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


def _until_still(kit: Kit, client: JMqtt, enough: int = _COUNT) -> None:
    """Block until no message has come for a while: nothing announces that a client reads no more."""
    last, since = 0, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        received = client.statistics.received
        if received != last:
            last, since = received, time.monotonic()
        return received == enough or time.monotonic() - since > _STILL

    eventually(still, "the client takes no more", 4 * kit.patience)
