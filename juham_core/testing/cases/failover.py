"""Cases about several servers of one broker, and about two clients of one client identifier."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from juham_core.errors import AuthError, ConnectError, NotConnectedError
from juham_core.hooks import hooks
from juham_core.hookspecs import hookimpl
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.testing.cases.losing import Attempts, subscribed
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.faults import FaultBroker
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Recorder
from juham_core.wire import MQTT_5, Disconnect
from juham_core.wire.properties import Properties

_BUSY = 1.0
"""Seconds that a busy machine may add."""
_LONG: dict[str, Any] = {"reconnect_min": 60.0, "reconnect_max": 60.0}
"""A pause that would be noticed."""


class FailoverCases:
    """The subject ``failover``."""

    # --- the first connection -----------------------------------------------------------------------

    @case("failover.refused", on=FAULTS)
    def refused(self, kit: Kit) -> None:
        """A server whose port is closed is followed by the next at once, and the client says where it is."""
        client = _among(kit, _closed(kit), _place(kit.broker))
        kit.connect(client)
        assert client.server == kit.broker.url
        assert kit.broker.url in repr(client)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("failover.black_hole", on=FAULTS)
    def black_hole(self, kit: Kit) -> None:
        """A server that leaves SYN unanswered is followed by the next after connect_timeout."""
        host, port = kit.black_hole()
        client = _among(kit, f"{host}:{port}", _place(kit.broker), connect_timeout=0.5)
        began = time.monotonic()
        kit.connect(client)
        assert time.monotonic() - began < 0.5 + 2 * _BUSY
        assert client.server == kit.broker.url

    @case("failover.mute", on=FAULTS)
    def mute(self, kit: Kit) -> None:
        """A server that does not answer CONNECT is followed by the next after connect_timeout."""
        host, port = kit.mute_server()
        client = _among(kit, f"{host}:{port}", _place(kit.broker), connect_timeout=0.5)
        client.connect_to_server()
        client.wait_until_connected()
        assert client.server == kit.broker.url

    @case("failover.closed_at_once", on=FAULTS)
    def closed_at_once(self, kit: Kit) -> None:
        """A server that closes before CONNACK, as some balancers do, is followed by the next."""
        other = kit.start_broker()
        other.on("connect").close()
        client = _among(kit, _place(other), _place(kit.broker))
        kit.connect(client)
        assert client.server == kit.broker.url

    @case("failover.unavailable", on=FAULTS)
    def unavailable(self, kit: Kit) -> None:
        """A server that is not available (0x88) or too old (0x84) is followed by the next."""
        for code in (0x88, 0x84):
            other = kit.start_broker()
            other.before("connack").change(reason_code=code)
            client = _among(kit, _place(other), _place(kit.broker), reconnect=False)
            kit.connect(client)
            assert other.accepted == 1
            assert client.server == kit.broker.url

    @case("failover.none", on=FAULTS)
    def none(self, kit: Kit) -> None:
        """When no server can be reached, connect_to_server raises, and the error names each and why."""
        places = [_closed(kit) for _ in range(3)]
        client = _among(kit, *places)
        with kit.raises(ConnectError) as raised:
            client.connect_to_server()
        error = raised[0]
        assert isinstance(error, ConnectError)
        assert list(error.errors) == [f"mqtt://{place}" for place in places]
        assert all(place in str(error) for place in places)
        assert client.server is None

    @case("failover.all_refuse", on=FAULTS)
    def all_refuse(self, kit: Kit) -> None:
        """When every server has refused, wait_until_connected raises, and the error names each and why."""
        brokers = [kit.start_broker(), kit.broker]
        for broker in brokers:
            broker.before("connack").change(reason_code=0x88)
        client = _among(kit, *map(_place, brokers))
        client.connect_to_server()
        with kit.raises(ConnectError) as raised:
            client.wait_until_connected(kit.patience)
        error = raised[0]
        assert isinstance(error, ConnectError)
        assert list(error.errors) == [broker.url for broker in brokers]
        assert error.reason_code == 0x88

    @case("failover.runs_out", on=FAULTS)
    def runs_out(self, kit: Kit) -> None:
        """With reconnect=False attempts end after the last server, with an error, until the next connect."""
        brokers = [kit.start_broker(), kit.broker]
        for broker in brokers:
            broker.on("connect").close()
        client = _among(kit, *map(_place, brokers), reconnect=False)
        client.connect_to_server()
        with kit.raises(ConnectError) as raised:
            client.wait_until_connected(kit.patience)
        error = raised[0]
        assert isinstance(error, ConnectError)
        assert list(error.errors) == [broker.url for broker in brokers]
        assert not client.is_connected()
        with kit.raises(NotConnectedError):
            client.publish(kit.topic, b"at once").wait(0)
        waiting = client.publish(kit.topic, b"later", qos=1)
        threading.Event().wait(0.3)  # nothing announces that nothing happens
        assert [broker.accepted for broker in brokers] == [1, 1], "another attempt was made"
        assert not waiting.done()
        for broker in brokers:
            broker.forgive()
        kit.connect(client)
        waiting.wait(kit.patience)

    @case("failover.stops_at_credentials", on=FAULTS)
    def stops_at_credentials(self, kit: Kit) -> None:
        """Refused credentials end it at once: the other servers, which share the users, are not asked."""
        other = kit.start_broker()
        other.before("connack").change(reason_code=0x86)
        client = _among(kit, _place(other), _place(kit.broker))
        client.connect_to_server()
        with kit.raises(AuthError):
            client.wait_until_connected(kit.patience)
        kit.never(lambda: kit.broker.accepted, "the other server was asked as well", 0.3)

    # --- later --------------------------------------------------------------------------------------

    @case("failover.after_loss", on=FAULTS)
    def after_loss(self, kit: Kit) -> None:
        """After a lost connection the next server is tried at once, and is given all that was wanted."""
        other = kit.start_broker()
        client = kit.connect(_among(kit, _place(other), _place(kit.broker), **_LONG))
        inbox = kit.inbox(client, kit.topic)
        lost = kit.recorder()
        kit.handle(client, "on_disconnect", lost)
        other.stop()
        lost.next()  # what was in flight at that moment might reach the next server before the subscription
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.payloads(1) == [b"x"]
        assert subscribed(kit, 1) == [kit.topic]
        assert client.server == kit.broker.url

    @case("failover.in_turn", on=FAULTS)
    def in_turn(self, kit: Kit) -> None:
        """Each loss makes it the next server's turn, and after the last it is the first one's again."""
        brokers = [kit.broker, kit.start_broker(), kit.start_broker()]
        client = kit.create(reconnect_reset=0.0, **_LONG)
        client.configure(servers=list(map(_place, brokers)))
        back = kit.verdicts(client)
        kit.connect(client)
        for number in range(5):
            back.next()
            assert client.server == brokers[number % 3].url
            if number < 4:
                brokers[number % 3].reset()
        assert [broker.accepted for broker in brokers] == [2, 2, 1]

    @case("failover.pause_after_round", on=FAULTS)
    def pause_after_round(self, kit: Kit) -> None:
        """There is a pause once all servers have failed, and not before."""
        other = kit.start_broker()
        client = _among(kit, _place(kit.broker), _place(other), reconnect_min=0.8, reconnect_max=0.8)
        seen: list[tuple[float, int | None]] = []
        attempts = Attempts.of(kit, client, lambda options: _note(seen, options))
        kit.connect(client)
        attempts.next()
        for broker in (kit.broker, other):
            broker.refuse()
        kit.broker.reset()
        for _ in range(3):
            attempts.next()
        ports = [port for _, port in seen]
        assert ports == [kit.broker.port, other.port, kit.broker.port, other.port]
        times = [at for at, _ in seen]
        assert times[2] - times[1] >= 0.4, "no pause after the round"
        assert times[3] - times[2] < 0.4, "a pause within the round"

    @case("failover.credentials", on=FAULTS)
    def credentials(self, kit: Kit) -> None:
        """Each attempt asks jmqtt_connecting for its options, which name the server of this attempt."""
        other = kit.start_broker()
        client = _among(kit, _place(other), _place(kit.broker))

        def fresh(options: Options) -> Options:
            return options.changed(username="user", password=f"for {options.port}")

        Attempts.of(kit, client, fresh)
        other.on("connect").close()
        kit.connect(client)
        for broker in (other, kit.broker):
            assert broker.wait_for("connect").password == f"for {broker.port}".encode()
        assert client.options.password is None, "the options of one attempt were kept"

    @case("failover.server_reference", on=FAULTS, needs="mqtt_5")
    def server_reference(self, kit: Kit) -> None:
        """A server that the broker names is tried next if the options name it too (section 4.13)."""
        first, second = kit.start_broker(), kit.start_broker()
        client = _among(kit, *map(_place, (first, second, kit.broker)), protocol=MQTT_5)
        kit.connect(client)
        properties = Properties(server_reference=_place(kit.broker))
        first.send(Disconnect(0x9C, properties))
        kit.broker.wait_for("connack", sent=True)
        assert second.accepted == 0

    @case("failover.reference_named", on=FAULTS, needs="mqtt_5")
    def reference_named(self, kit: Kit) -> None:
        """A server that the broker names and the options do not is in the error, and not connected to."""
        other = kit.start_broker()
        properties = Properties(server_reference=_place(other))
        kit.broker.before("connack").change(reason_code=0x9D, properties=properties)
        client = kit.create(protocol=MQTT_5)
        client.connect_to_server()
        with kit.raises(ConnectError) as raised:
            client.wait_until_connected(kit.patience)
        assert _place(other) in str(raised[0])
        kit.never(lambda: other.accepted, "a server that nobody trusts was connected to", 0.2)

    # --- two clients of one identifier --------------------------------------------------------------

    @case("failover.short_lived", on=FAULTS)
    def short_lived(self, kit: Kit) -> None:
        """Connections that are accepted and soon closed make the pauses grow, and the cause is guessed."""
        client = kit.create(client_id=kit.topic.replace("/", "-"), reconnect_max=60.0)
        first = 1 if kit.tries_again(client) else 2  # without the first, AsyncMqtt.connect would raise
        for connection in range(first, 7):
            kit.broker.before("connack", connection=connection).change().close()
        reasons = _Reasons.of(kit, client)
        errors = _Errors.of(kit)
        client.connect_to_server()
        if first == 2:
            client.wait_until_connected(kit.patience)
            kit.broker.reset()
        told = [reasons.heard.next(2 * kit.patience)[0] for _ in range(6)]
        named = [client.client_id in reason for reason in told]
        assert named == [False, False, True, True, True, True], told
        kit.broker.wait_for("connack", sent=True, connection=7)
        assert client.statistics.short_lived == 6
        assert [client.client_id in text for text in errors.texts] == [True], errors.texts
        pauses = _pauses(kit.broker)
        assert all(pause >= 0.05 * 2**number / 2 * 0.95 for number, pause in enumerate(pauses)), pauses

    @case("failover.two_clients")
    def two_clients(self, kit: Kit) -> None:
        """Two clients of one client identifier, whose broker tells neither, slow down instead of fighting."""
        if kit.protocol == MQTT_5 and kit.records_wire:
            kit.not_applicable("this broker sends a client of MQTT 5 DISCONNECT, and it stops")
        if not kit.capabilities.tcp:
            kit.not_applicable("a broker in the same process tells the client")
        name = kit.topic.replace("/", "-")
        clients = [kit.create(client_id=name, reconnect_min=0.05, reconnect_max=60.0) for _ in range(2)]
        began = time.monotonic()
        for client in clients:
            kit.connect(client)
        kit.eventually(lambda: min(each.statistics.short_lived for each in clients) >= 6, "the fight goes on")
        lasted = time.monotonic() - began
        # Five pauses of each lie between its six, and jitter takes at most half of any.
        assert lasted >= 0.05 * (1 + 2 + 4 + 8 + 16) / 2, f"six connections each in {lasted:.2f} s"


class _Reasons:
    """A plugin that hears why one client was disconnected."""

    def __init__(self, client: JMqtt) -> None:
        self._client = client
        self.heard = Recorder()

    @classmethod
    def of(cls, kit: Kit, client: JMqtt) -> _Reasons:
        plugin = cls(kit.seen_by_hooks(client))
        hooks.register(plugin)
        kit.keep(lambda: hooks.unregister(plugin))
        return plugin

    @hookimpl
    def jmqtt_disconnected(self, client: Any, reason: str) -> None:
        """See :func:`juham_core.hookspecs.jmqtt_disconnected`."""
        if client is self._client:
            self.heard(reason)


class _Errors(logging.Handler):
    """The errors that connections log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    @classmethod
    def of(cls, kit: Kit) -> _Errors:
        handler, logger = cls(), logging.getLogger("juham.connection")
        logger.addHandler(handler)
        kit.keep(lambda: logger.removeHandler(handler))
        return handler

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _place(broker: FaultBroker) -> str:
    return f"{broker.host}:{broker.port}"


def _closed(kit: Kit) -> str:
    """A place where connections are refused."""
    broker = kit.start_broker()
    broker.refuse()
    return _place(broker)


def _among(kit: Kit, *places: str, **options: Any) -> JMqtt:
    client = kit.create(**options)
    client.configure(servers=list(places))
    return client


def _note(seen: list[tuple[float, int | None]], options: Options) -> Options:
    seen.append((time.monotonic(), options.port))
    return options


def _pauses(broker: FaultBroker) -> list[float]:
    lost = [entry.at for entry in broker.log if entry.kind == "lost"]
    accepted = [entry.at for entry in broker.log if entry.kind == "accept"]
    return [later - earlier for earlier, later in zip(lost, accepted[1:], strict=False)]
