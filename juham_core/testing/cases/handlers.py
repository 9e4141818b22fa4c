"""Cases about the application's handlers: in what order they run, and what one that fails may not do."""

from __future__ import annotations

import logging
import threading
from typing import Any

from juham_core.hooks import hooks
from juham_core.hookspecs import hookimpl
from juham_core.message import MqttMsg
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Inbox, Recorder


class HandlerCases:
    """The subject ``handlers``."""

    # --- one that fails -----------------------------------------------------------------------------

    @case("handlers.exception")
    def exception(self, kit: Kit) -> None:
        """A message handler that raises is reported and counted, and the next message is delivered."""
        client = kit.connect()
        log = _Log.of(kit)
        handled = _Handled.of(kit, client)
        error = ZeroDivisionError("a bug of the application's")
        inbox = _failing_first(kit, client, error)
        assert inbox.payloads(1) == [b"second"]
        kit.eventually(lambda: client.statistics.handled == 1, "the second message has been counted")
        assert client.statistics.handler_errors == 1
        assert [record.exc_info[1] for record in log.errors if record.exc_info] == [error]
        assert handled.next() == (b"first", error)
        assert handled.next() == (b"second", None)

    @case("handlers.system_exit")
    def system_exit(self, kit: Kit) -> None:
        """A handler that raises SystemExit ends neither the thread that runs handlers nor the delivery."""
        client = kit.connect()
        inbox = _failing_first(kit, client, SystemExit("sys.exit in a handler"))
        assert inbox.payloads(1) == [b"second"]
        assert client.statistics.handler_errors == 1

    @case("handlers.event_exception")
    def event_exception(self, kit: Kit) -> None:
        """Handlers of events that raise are counted, and harm neither the client nor what they announce."""
        client = kit.create()
        called = Recorder()

        def fail(*args: Any) -> None:
            called(*args)
            raise LookupError("a bug of the application's")

        def on_connect(client: Any, userdata: Any, flags: Any, code: Any) -> None:
            fail(client, userdata, flags, code)

        def on_publish(client: Any, userdata: Any, mid: Any) -> None:
            fail(client, userdata, mid)

        def on_subscribe(client: Any, userdata: Any, mid: Any, granted: Any) -> None:
            fail(client, userdata, mid, granted)

        for handler in (on_connect, on_publish, on_subscribe):
            kit.handle(client, handler.__name__, handler)
        kit.connect(client)
        called.next()
        inbox = kit.inbox(client, kit.topic)
        called.next()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        called.next()
        kit.eventually(lambda: client.statistics.handler_errors == 3, "three handlers that raised")

    # --- order --------------------------------------------------------------------------------------

    @case("handlers.order")
    def order(self, kit: Kit) -> None:
        """A thousand messages are handled in the order in which they arrived (MQTT 5 section 4.6)."""
        inbox = kit.inbox(kit.connect(), kit.topic)
        observer = kit.observer()
        for number in range(1000):
            observer.publish(kit.topic, str(number))
        assert inbox.payloads(1000) == [b"%d" % number for number in range(1000)]
        inbox.nothing()

    @case("handlers.one_at_a_time")
    def one_at_a_time(self, kit: Kit) -> None:
        """Handlers of whatever kind run one at a time, on one thread."""
        client = kit.connect()
        running = threading.Lock()
        seen = Recorder()

        def handler(*_args: Any) -> None:
            alone = running.acquire(blocking=False)
            seen(alone, threading.get_ident())
            if alone:
                threading.Event().wait(0.001)  # give another one the chance to run into it
                running.release()

        for event in ("on_message", "on_publish"):
            kit.handle(client, event, handler)
        client.message_callback_add(f"{kit.topic}/routed", handler)
        kit.subscribe(client, f"{kit.topic}/#")
        for number in range(40):
            client.publish(f"{kit.topic}/{'routed' if number % 2 else 'rest'}", b"x", qos=1)
        calls = [seen.next() for _ in range(80)]
        assert all(alone for alone, _ in calls), "two handlers ran at once"
        assert len({thread for _, thread in calls}) == 1, "handlers ran on several threads"

    @case("handlers.slow_and_keepalive", on=FAULTS)
    def slow_and_keepalive(self, kit: Kit) -> None:
        """A handler that takes longer than the keepalive keeps no PINGREQ from going out (section 3.12)."""
        client = kit.connect(keepalive=1)
        inbox = Inbox()
        started, go_on = threading.Event(), threading.Event()
        kit.keep(go_on.set)

        def slow(*args: Any) -> None:
            started.set()
            go_on.wait(kit.patience)
            inbox(*args)

        kit.handle(client, "on_message", slow)
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"first")
        assert started.wait(kit.patience)
        kit.broker.wait_for("pingreq", nth=3)
        observer.publish(kit.topic, b"second")
        go_on.set()
        assert inbox.payloads(2) == [b"first", b"second"]
        assert client.is_connected()
        assert client.statistics.connects == 1, "the connection was lost meanwhile"

    # --- the loop -----------------------------------------------------------------------------------

    @case("handlers.not_before_loop")
    def not_before_loop(self, kit: Kit) -> None:
        """What arrives before loop_start waits for it, and for handlers that are set until then."""
        client = kit.create()
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        kit.subscribe(client, kit.topic)
        kit.observer().publish(kit.topic, b"early")
        client.publish(kit.topic, b"late", qos=1).wait(kit.patience)
        inbox = kit.inbox(client)
        inbox.nothing()
        client.loop_start()
        assert inbox.payloads(2) == [b"early", b"late"]

    @case("handlers.loop_stop")
    def loop_stop(self, kit: Kit) -> None:
        """After loop_stop no handler runs, and after the next loop_start what came meanwhile is handled."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        client.loop_stop()
        kit.observer().publish(kit.topic, b"x")
        kit.eventually(lambda: client.statistics.received == 1, "the message has arrived")
        inbox.nothing()
        client.loop_start()
        assert inbox.payloads(1) == [b"x"]

    @case("handlers.loop_forever")
    def loop_forever(self, kit: Kit) -> None:
        """loop_forever runs the handlers on the thread that calls it, until the client is disconnected."""
        client = kit.create()
        threads = Recorder()
        kit.handle(client, "on_message", lambda *_args: threads(threading.current_thread()))
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
        kit.subscribe(client, kit.topic)
        loop = threading.Thread(target=client.loop_forever, name="a program's main loop")
        loop.start()
        kit.observer().publish(kit.topic, b"x")
        try:
            assert threads.next() == (loop,)
        finally:
            client.disconnect_from_server()
            loop.join(kit.patience)
        assert not loop.is_alive(), "loop_forever did not return when the client was disconnected"

    # --- the end ------------------------------------------------------------------------------------

    @case("handlers.none_after_close")
    def none_after_close(self, kit: Kit) -> None:
        """Once disconnect_from_server has returned no handler runs, however much was on its way."""
        client = kit.connect(close_timeout=0.5)
        closed = threading.Event()
        late, seen = Recorder(), Recorder()

        def handler(_client: Any, _userdata: Any, message: MqttMsg) -> None:
            (late if closed.is_set() else seen)(message.payload)

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic, 0)
        observer = kit.observer(kit.topic, qos=0)
        for number in range(200):
            observer.publish(kit.topic, str(number), qos=0)
        seen.next()
        client.disconnect_from_server()
        closed.set()
        observer.publish(kit.topic, b"late", qos=0)
        observer.drain()
        threading.Event().wait(0.1)  # nothing announces that nothing happens
        late.nothing()

    @case("handlers.none_after_close_in_handler")
    def none_after_close_in_handler(self, kit: Kit) -> None:
        """A handler may disconnect its own client; it is the last one to run, and is not waited for."""
        client = kit.connect()
        calls = Recorder()
        go_on = threading.Event()
        kit.keep(go_on.set)

        def handler(client: Any, _userdata: Any, message: MqttMsg) -> None:
            go_on.wait(kit.patience)
            client.disconnect_from_server()
            calls(message.payload, client.is_connected())

        kit.handle(client, "on_message", handler)
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        for number in range(5):
            observer.publish(kit.topic, str(number))
        kit.eventually(lambda: client.statistics.received >= 2, "a second message waits for its handler")
        go_on.set()
        assert calls.next() == (b"0", False)
        threading.Event().wait(0.1)  # nothing announces that nothing happens
        calls.nothing()


class _Log(logging.Handler):
    """What the client logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[logging.LogRecord] = []

    @classmethod
    def of(cls, kit: Kit) -> _Log:
        """One that listens until the case ends."""
        log = cls()
        logger = logging.getLogger("juham")
        logger.addHandler(log)
        kit.keep(lambda: logger.removeHandler(log))
        return log

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record)


class _Handled(Recorder):
    """A plugin that keeps what jmqtt_handled says of one client."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    @classmethod
    def of(cls, kit: Kit, client: Any) -> _Handled:
        """One that is registered until the case ends."""
        plugin = cls(kit.seen_by_hooks(client))
        hooks.register(plugin)
        kit.keep(lambda: hooks.unregister(plugin))
        return plugin

    @hookimpl
    def jmqtt_handled(self, client: Any, message: MqttMsg, exception: BaseException | None) -> None:
        if client is self._client:
            self(message.payload, exception)


def _failing_first(kit: Kit, client: Any, error: BaseException) -> Inbox:
    """What comes after a message whose handler raised."""
    inbox = Inbox()

    def handler(*args: Any) -> None:
        if args[2].payload == b"first":
            raise error
        inbox(*args)

    kit.handle(client, "on_message", handler)
    kit.subscribe(client, kit.topic)
    observer = kit.observer()
    observer.publish(kit.topic, b"first")
    observer.publish(kit.topic, b"second")
    return inbox
