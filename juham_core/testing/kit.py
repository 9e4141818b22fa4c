"""Kit: what a case has in its hands, the backend under test on one side and a broker on the other."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from juham_core.broker.embedded import EmbeddedBroker
from juham_core.capabilities import Capabilities
from juham_core.errors import NotSupportedError
from juham_core.jmqtt import JMqtt
from juham_core.testing.asyncio_face import AsyncioFace
from juham_core.testing.definition import Without
from juham_core.testing.faults import FaultBroker
from juham_core.testing.observer import Observer
from juham_core.testing.patience import patience
from juham_core.testing.place import Place
from juham_core.testing.waiting import FiveArguments, Inbox, Recorder, eventually
from juham_core.testing.websocket import WebsocketBridge
from juham_core.wire import MQTT_5, MQTT_311


class NotApplicableError(Exception):
    """A case has found that it cannot be tried here, and says why."""


class Kit:
    """One trial of one case: everything made through it is closed when the case ends.

    >>> client = kit.connect()                        # connected, its handlers running
    >>> observer = kit.observer()                     # the kit's own client, on the same broker
    >>> inbox = kit.inbox(client, kit.topic)          # subscribed; inbox.next() is the next message
    >>> kit.broker.on("publish").reset()              # in cases with on=FAULTS
    """

    def __init__(
        self,
        make: Callable[[str | None], JMqtt],
        capabilities: Capabilities,
        place: Place,
        *,
        protocol: int | None = None,
        options: Mapping[str, Any] | None = None,
        backend_name: str | None = None,
    ) -> None:
        self.capabilities = capabilities
        self.place = place
        self.topic = f"juham/{secrets.token_hex(6)}"
        """The beginning of this trial's topics, which no other trial uses."""
        self.protocol = protocol or (MQTT_311 if capabilities.mqtt_311 else MQTT_5)
        """The version of MQTT that clients speak unless told otherwise."""
        self._make = make
        self._backend_name = backend_name
        self._options = dict(options or {})
        self._stack = ExitStack()

    @property
    def patience(self) -> float:
        """Seconds after which a wait has failed."""
        return patience()

    @property
    def backend_name(self) -> str:
        """The name of the backend, for cases about finding it; ends the case if only its class is known."""
        return self._backend_name or self.not_applicable("the backend is given as a class, not by its name")

    @property
    def broker(self) -> FaultBroker:
        """The fault broker, in cases that ask for it with ``on=FAULTS``."""
        assert self.place.broker is not None, "a case that uses the fault broker says on=FAULTS"
        return self.place.broker

    @property
    def records_wire(self) -> bool:
        """True if this trial runs on the fault broker, for cases that look at the wire where they can."""
        return self.place.broker is not None

    # --- clients ------------------------------------------------------------------------------------

    def create(self, name: str | None = None, **options: Any) -> JMqtt:
        """A client that is configured for the broker and not connected. Reconnects come quickly."""
        client = self._make(name)
        self._stack.callback(client.disconnect_from_server)
        client.configure(
            **{
                "protocol": self.protocol,
                "connect_timeout": self.patience / 2,
                "close_timeout": self.patience / 5,
                "reconnect_min": 0.05,
                "reconnect_max": 0.2,
                **self._options,
                **self.place.options,
                **options,
            }
        )
        return client

    def connect(self, client: JMqtt | None = None, /, **options: Any) -> JMqtt:
        """A client that the broker has accepted, its handlers running."""
        if client is None:
            client = self.create(**options)
        if self.seen_by_hooks(client) is not client:
            client.loop_start()  # as AsyncMqtt does once it is connected, with no moment between
        client.connect_to_server()
        client.wait_until_connected(self.patience)
        client.loop_start()
        return client

    def callable(self) -> JMqtt:
        """A client whose methods may be called: through the asyncio face, only once it is connected."""
        client = self.create()
        return self.connect(client) if self.seen_by_hooks(client) is not client else client

    def tries_again(self, client: JMqtt) -> bool:
        """After a first attempt that failed JMqtt tries again by itself; AsyncMqtt leaves that to others."""
        return self.seen_by_hooks(client) is client

    def all_or_nothing(self, client: JMqtt) -> bool:
        """If the broker refuses some of several filters, AsyncMqtt gives up the others; JMqtt keeps them."""
        return self.seen_by_hooks(client) is not client

    @staticmethod
    def publish_many(client: Any, messages: Iterable[tuple[str, Any]], qos: int) -> list[Any]:
        """Publish topics and payloads, and return the receipts; through asyncio, without leaving the loop."""
        if isinstance(client, AsyncioFace):
            return list(client.publish_many(messages, qos))
        return [client.publish(topic, payload, qos=qos) for topic, payload in messages]

    def subscribe(self, client: JMqtt, topic: Any, qos: int = 1, **how: Any) -> None:
        """Subscribe and wait until the broker has granted it."""
        client.subscribe(topic, qos, **how).wait(self.patience)

    @staticmethod
    def handle(client: JMqtt, event: str, handler: Callable[..., Any] | None) -> None:
        """Set the handler of ``on_connect`` or another event, None for no handler, on every backend."""
        setattr(client, event, handler)

    @staticmethod
    def seen_by_hooks(client: Any) -> Any:
        """The client as hooks get it, through whichever face the case has it."""
        return client.client if isinstance(client, AsyncioFace) else client

    def verdicts(self, client: JMqtt) -> FiveArguments:
        """The client's ``on_connect`` from now on: ``(client, userdata, flags, reason_code, properties)``."""
        verdicts = FiveArguments()
        self.handle(client, "on_connect", verdicts)
        return verdicts

    def inbox(self, client: JMqtt, topic: str | None = None, qos: int = 1) -> Inbox:
        """The client's ``on_message`` from now on; with ``topic`` (a filter), subscribed to it as well."""
        inbox = Inbox()
        self.handle(client, "on_message", inbox)
        if topic is not None:
            self.subscribe(client, topic, qos)
        return inbox

    def observer(self, *topic_filters: str, qos: int = 2, **settings: Any) -> Observer:
        """The kit's own client, connected, and subscribed to the filters if there are any."""
        observer = self._stack.enter_context(self.place.observer(**settings))
        assert observer.connack.reason_code == 0, f"the broker refuses the observer: {observer.connack}"
        if topic_filters:
            codes = observer.subscribe(*topic_filters, qos=qos)
            assert all(code < 0x80 for code in codes), f"the broker refuses the observer {topic_filters}"
        return observer

    # --- more brokers -------------------------------------------------------------------------------

    def start_broker(self, **settings: Any) -> FaultBroker:
        """Another fault broker, with settings: TLS, users, limits. Clients are given its host and port."""
        return self._stack.enter_context(FaultBroker(**settings))

    def listener(self) -> socket.socket:
        """A socket that listens on 127.0.0.1, for cases that look at what comes before MQTT."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(self.patience)
        return listener

    def black_hole(self) -> tuple[str, int]:
        """Host and port where a connection is neither refused nor made, as behind many a firewall."""
        if not sys.platform.startswith("linux"):
            self.not_applicable("only Linux leaves connections to a full backlog unanswered")
        hole = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            knocking = self._stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(hole.getsockname())
        host, port = hole.getsockname()
        return host, port

    def mute_server(self) -> tuple[str, int]:
        """Host and port where a TCP connection is made, and nothing is ever said."""
        host, port = self.listener().getsockname()
        return host, port

    def unix_socket(self) -> str:
        """The path of a unix socket that leads to a broker of its own."""
        folder = self._stack.enter_context(TemporaryDirectory(prefix="juham-kit-"))
        path = f"{folder}/mqtt.sock"
        self._stack.enter_context(EmbeddedBroker(unix_path=path))
        return path

    def folder(self) -> str:
        """The path of an empty folder, which goes when the case ends."""
        return self._stack.enter_context(TemporaryDirectory(prefix="juham-kit-"))

    def websocket(self, to: FaultBroker) -> WebsocketBridge:
        """A websocket in front of a broker."""
        return self._stack.enter_context(WebsocketBridge((to.host, to.port)))

    # --- waiting ------------------------------------------------------------------------------------

    @staticmethod
    def recorder() -> Recorder:
        """A handler that keeps what it is called with."""
        return Recorder()

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for what no event announces; AssertionError, naming ``what``, if it does not come true."""
        return eventually(condition, what, self.patience)

    @staticmethod
    def never(condition: Callable[[], Any], what: str, seconds: float) -> None:
        """Fail, with ``what``, if the condition comes true within so many seconds.

        Only for what nothing else can show not to happen; keep it well under a second.
        """
        pause = threading.Event()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert not condition(), what
            pause.wait(0.005)

    # --- judging ------------------------------------------------------------------------------------

    @staticmethod
    @contextmanager
    def raises(*expected: type[BaseException]) -> Iterator[list[BaseException]]:
        """Fail unless the block raises one of these; what it raised is in the list that is returned."""
        caught: list[BaseException] = []
        try:
            yield caught
        except expected as exc:
            caught.append(exc)
            return
        names = " or ".join(each.__name__ for each in expected)
        raise AssertionError(f"{names} was to be raised, and nothing was")

    @staticmethod
    def not_applicable(why: str) -> NoReturn:
        """End the case: it cannot be tried here, for this reason."""
        raise NotApplicableError(why)

    def close(self) -> None:
        """Close all that was made through the kit, the last first."""
        self._stack.close()

    def keep(self, close: Callable[[], Any]) -> None:
        """Have ``close`` called when the case ends."""
        self._stack.callback(close)

    # --- what is missing ----------------------------------------------------------------------------

    def lacks(self, capability: str, without: Without | None = None) -> str:
        """Fail if the backend has a capability that it does not declare; return how it was found to lack it.

        Using it has to raise NotSupportedError, at the call. One that cannot be asked for, see
        :class:`~juham_core.capabilities.Capabilities`, ``without`` looks for; if there is nothing to look
        for, the case does not apply.
        """
        if capability in _USES:
            with self.raises(NotSupportedError):
                _USES[capability](self)
            return "refused"
        if without is None:
            self.not_applicable(f"not declared: {Capabilities.meaning(capability)}")
        without(self)
        return "not shown"


def _publish_qos_2(kit: Kit) -> None:
    kit.callable().publish(kit.topic, b"", qos=2)


def _subscribe_shared(kit: Kit) -> None:
    kit.callable().subscribe(f"$share/group/{kit.topic}")


def _run_in_loop(kit: Kit) -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        kit.seen_by_hooks(kit.create())._run_in(loop)
    finally:
        loop.close()


def _configure(**options: Any) -> Callable[[Kit], None]:
    def use(kit: Kit) -> None:
        kit.create(**options).connect_to_server()

    return use


_USES: dict[str, Callable[[Kit], None]] = {
    "mqtt_311": _configure(protocol=MQTT_311),
    "mqtt_5": _configure(protocol=MQTT_5),
    "qos_2": _publish_qos_2,
    "tcp": _configure(transport="tcp", host="127.0.0.1"),
    "tls": _configure(tls=True),
    "ssl_context": _configure(tls=True, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    "websockets": _configure(transport="websockets"),
    "unix_sockets": _configure(transport="unix", host="/nowhere.sock"),
    "in_process": _configure(transport="memory"),
    "bind_address": _configure(bind_address="127.0.0.1"),
    "persistent_session": _configure(clean_start=False, client_id="kit"),
    "shared_subscriptions": _subscribe_shared,
    "manual_ack": _configure(manual_ack=True),
    "packet_limit": _configure(max_packet_size=65_536),
    "callers_loop": _run_in_loop,
}
"""How each capability is used."""
