"""The options of a connection, checked, and what follows from them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from juham_core.errors import OptionError
from juham_core.option_checks import check
from juham_core.servers import Server, servers_of
from juham_core.wire.properties import Properties
from juham_core.wire.terms import LARGEST_PACKET, MQTT_5, MQTT_311, Will

if TYPE_CHECKING:
    from dataclasses import MISSING, dataclass, field, fields, replace
else:
    from juham_core.records import MISSING, dataclass, field, fields, replace

# scheme -> transport, TLS, port
SCHEMES: Final[dict[str, tuple[str, bool, int]]] = {
    "mqtt": ("tcp", False, 1883),
    "mqtts": ("tcp", True, 8883),
    "ws": ("websockets", False, 80),
    "wss": ("websockets", True, 443),
    "unix": ("unix", False, 0),
    "memory": ("memory", False, 0),
}
DEFAULT_LARGEST: Final = 32 * 1024 * 1024
"""Bytes of the largest packet that is taken where nobody says more: MQTT can frame eight times as much."""
SECRETS: Final = frozenset({"password", "keyfile_password"})
WILL_PARTS: Final = ("will_topic", "will_payload", "will_qos", "will_retain")
"""How a URL spells a will."""


class OutboxBounds(NamedTuple):
    """Which outbox, how much may be in it, and how surely it is written."""

    path: str
    messages: int
    size: int
    sync: str


@dataclass(frozen=True)
class Options:
    """Everything a connection needs to know; the names are those of the URL's options. Times in seconds.

    Frozen: :meth:`changed` returns a checked copy. A password shows in no repr and in no saved file.
    """

    host: str = "localhost"
    port: int | None = None
    """None: the scheme's own port (1883, or 8883 with TLS; 80 and 443 for websockets)."""
    servers: tuple[str, ...] = ()
    """Several servers of one broker, each as ``host`` or ``host:port``, tried in turn in this order.

    They decide, and ``host`` and ``port`` are those of the first; empty: there is only that one."""
    transport: str = "tcp"
    """``tcp``, ``websockets``, ``unix`` (then ``host`` is the socket's path) or ``memory``."""
    path: str = "/mqtt"
    """The path of a websocket."""
    ws_headers: Mapping[str, str] | None = field(default=None, repr=False)
    username: str | None = None
    password: str | bytes | None = field(default=None, repr=False)
    password_file: str | None = None
    """A file with the password, read anew for each attempt; one line break at its end does not count."""
    credentials: Callable[[Options], tuple[str | None, str | bytes | None]] | None = field(
        default=None, repr=False
    )
    """Called for each attempt, with its options, on the thread that makes it: returns user name and password.

    In the place of ``username`` and ``password``; may block for as long as it may take to connect."""
    client_id: str | None = None
    """None: made from the client's name and a random suffix; a persistent session needs one of its own."""
    keepalive: int = 60
    clean_start: bool = True
    """False asks the broker for the session of an earlier connection (MQTT 5 section 3.1.2.4)."""
    session_expiry: int | None = None
    """Seconds a session outlives its connection; None: as long as the broker allows if not clean_start."""
    protocol: int = MQTT_311
    """4 for MQTT 3.1.1, 5 for MQTT 5; in a URL ``3.1.1`` and ``5``."""
    properties: Properties = field(default_factory=Properties)
    """More properties for CONNECT, MQTT 5 only."""
    will: Will | None = None
    """What the broker publishes if the client vanishes: by ``will_set``, or a dict of topic, payload, qos,
    retain and properties."""
    bind_address: str = ""
    connect_timeout: float = 10.0
    """For the transport and TLS to stand, and again for CONNACK to come."""
    ack_timeout: float = 30.0
    """For the broker to answer a publish, subscribe or unsubscribe; then the connection is given up and made
    anew, and what is unanswered is sent again. 0: for ever."""
    close_timeout: float = 5.0
    """For what is under way to be finished when the client is closed."""
    tls: bool = False
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    keyfile_password: str | None = field(default=None, repr=False)
    insecure: bool = False
    """True accepts any certificate: for trials only."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """A context of the application's own, in the place of the five options above."""
    reconnect: bool = True
    reconnect_min: float = 1.0
    reconnect_max: float = 120.0
    reconnect_reset: float = 5.0
    """How long a connection must last, and twice as long as the wait before it, for the next wait to be
    ``reconnect_min`` again. 0: every connection that the broker accepts is good enough."""
    max_inflight: int = 20
    """Publishes of QoS 1 and 2 sent and not yet acknowledged, 65,000 at most, for subscribing takes packet
    identifiers too; the broker may ask for fewer."""
    max_queued: int = 65_536
    """Publishes of QoS 1 and 2 that may wait for the broker; with those in flight, calls of ``on_publish``
    that may wait for their turn."""
    max_requests: int = 10_000
    """Subscribes and unsubscribes that may wait for the broker's answer, or their answers for a handler."""
    max_received: int = 65_536
    """Received messages that may wait for their handlers; past it QoS 0 is dropped and counted."""
    max_received_bytes: int = 64 * 1024 * 1024
    """Bytes of their payloads past which no further message may wait; what happens then is the same."""
    outbox: str | None = None
    """Path of the file that keeps publishes of QoS 1 and 2 until they are acknowledged; None: in memory."""
    outbox_max_messages: int = 1_000_000
    outbox_max_bytes: int = 1 << 30
    """Of topics, payloads and properties; past either bound publishing raises QueueFullError."""
    outbox_sync: str = "normal"
    """``normal``: what is accepted survives the process; ``full``: the loss of power too, at a price."""
    handlers: str = "thread"
    """Where handlers run: in a ``thread`` of their own, or ``inline`` on the one that brings the message."""
    max_packet_size: int | None = None
    """Bytes of a packet that is accepted from the broker, fixed header included; a larger one ends the
    connection. MQTT 5 tells the broker (section 3.1.2.11.4). None: 32 MiB, if the backend has a limit."""
    manual_ack: bool = False
    """True: the application acknowledges each message of QoS 1 and 2 with ``ack``."""

    def __post_init__(self) -> None:
        given: Any = self.properties
        if not isinstance(given, Properties):  # a plain dict is as good to write
            from juham_core.saved import properties_of  # noqa: PLC0415  # few have any

            object.__setattr__(self, "properties", properties_of(given))
        will: Any = self.will
        if isinstance(will, Mapping):
            from juham_core.saved import will_of  # noqa: PLC0415  # as above

            object.__setattr__(self, "will", will_of(will))
        outbox: Any = self.outbox
        if isinstance(outbox, os.PathLike):
            object.__setattr__(self, "outbox", os.fspath(outbox))
        if self.servers:
            self._take_servers(servers_of(self.servers))
        check(self)

    def _take_servers(self, servers: tuple[Server, ...]) -> None:
        if self.transport not in ("tcp", "websockets"):
            raise OptionError(f"the transport {self.transport!r} leads to one place: it has no 'servers'")
        object.__setattr__(self, "host", servers[0].host)
        object.__setattr__(self, "port", servers[0].port)
        object.__setattr__(self, "servers", tuple(map(str, servers)) if len(servers) > 1 else ())

    @property
    def targets(self) -> tuple[Server, ...]:
        """The servers in the order in which they are tried; one, if the options name no more."""
        return servers_of(self.servers) or (Server(self.host, self.port),)

    def at(self, server: Server) -> Options:
        """The options for one of the servers alone: what an attempt is made with."""
        return replace(self, host=server.host, port=server.port, servers=()) if self.servers else self

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self._own_port if self.port is None else self.port

    @property
    def _own_port(self) -> int:
        return next(port for transport, tls, port in SCHEMES.values() if (transport, tls) == self._where)

    @property
    def _where(self) -> tuple[str, bool]:
        return self.transport, self.tls and self.transport in ("tcp", "websockets")

    @property
    def effective_session_expiry(self) -> int:
        """The Session Expiry Interval to ask for under MQTT 5 (section 3.1.2.11.2)."""
        if self.session_expiry is not None:
            return self.session_expiry
        return 0 if self.clean_start else 0xFFFF_FFFF

    @property
    def outbox_bounds(self) -> OutboxBounds | None:
        """The outbox and its bounds, or None where publishes wait in memory."""
        if self.outbox is None:
            return None
        return OutboxBounds(self.outbox, self.outbox_max_messages, self.outbox_max_bytes, self.outbox_sync)

    @property
    def verifies(self) -> bool:
        """True unless whatever certificate the broker shows will do."""
        context = self.ssl_context
        return context.verify_mode is ssl.CERT_REQUIRED if context is not None else not self.insecure

    @property
    def largest_packet(self) -> int:
        """The most bytes of a packet from the broker, by this option or by the property announced."""
        announced: int | None = self.properties.get("maximum_packet_size")
        if self.max_packet_size is None:
            return DEFAULT_LARGEST if announced is None else min(announced, LARGEST_PACKET)
        return self.max_packet_size if announced is None else min(announced, self.max_packet_size)

    @property
    def most_answers(self) -> int:
        """The most acknowledgements that we can owe at a time to a broker that keeps to Receive Maximum.

        One for each message of its that is unacknowledged (MQTT 5 section 4.9), and PUBREL for each of ours.
        """
        window: int = self.properties.get("receive_maximum", 65_535)
        return window + self.max_inflight

    @property
    def most_answer_bytes(self) -> int:
        """The bytes that these acknowledgements take, at most: MQTT 5 adds a reason code to some."""
        return self.most_answers * (4 if self.protocol == MQTT_311 else 8)

    @property
    def password_bytes(self) -> bytes | None:
        """The password as CONNECT carries it (section 3.1.3.6)."""
        return self.password.encode() if isinstance(self.password, str) else self.password

    def changed(self, **changes: Any) -> Options:
        """A copy with these options changed. Raises OptionError for an unknown or invalid one.

        A new ``host`` takes the place of all ``servers``.
        """
        for name in changes:
            if name not in _DEFAULTS:
                raise unknown_option(name)
        if not {"host", "port"}.isdisjoint(changes) and (changes.get("servers") or self.servers):
            if changes.get("servers") or "host" not in changes:
                raise OptionError("servers have their ports beside them: servers=['b1:1883', 'b2:1884']")
            changes["servers"] = ()
        return replace(self, **changes)

    def announced(self, limited: bool) -> Options:
        """A copy whose properties tell a broker of MQTT 5 what else the options say.

        ``limited``: the backend has a limit to packets, and so the default holds.
        """
        if self.protocol != MQTT_5 or (self.max_packet_size is None and not limited):
            return self
        return replace(
            self, properties=Properties({**self.properties, "maximum_packet_size": self.largest_packet})
        )

    def with_client_id(self, name: str) -> Options:
        """A copy that has a client identifier: one made up, if none is set and the session may be forgotten.

        Raises OptionError for a persistent session without one: two programs would share a session.
        """
        if self.client_id is not None:
            return self
        if not self.clean_start:
            raise OptionError(
                "a persistent session (clean_start=False) needs a client_id of its own, always the same"
            )
        return replace(self, client_id=f"{name}-{os.urandom(4).hex()}")

    def make_ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context that the options describe: certificates and host names are verified by default."""
        if not self.tls:
            return None
        if self.ssl_context is not None:
            return self.ssl_context
        try:
            context = ssl.create_default_context(cafile=self.ca_certs)
            if self.certfile is not None:
                context.load_cert_chain(self.certfile, self.keyfile, self.keyfile_password)
        except (OSError, ssl.SSLError) as exc:
            named = ", ".join(str(p) for p in (self.ca_certs, self.certfile, self.keyfile) if p)
            raise OptionError(f"cannot use the TLS files {named}: {exc}") from exc
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON knows it; secrets and live objects are left out.

        A will and properties are objects with their parts, bytes that are no text ``{"base64": "..."}``.
        """
        saved: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default and name not in SECRETS and isinstance(value, str | int | float | bool):
                saved[name] = value
        if self.servers:
            saved = {name: value for name, value in saved.items() if name not in ("host", "port")}
            saved["servers"] = list(self.servers)
        if self.will is not None or self.properties:
            from juham_core.saved import saved_properties, saved_will  # noqa: PLC0415  # as above

            if self.will is not None:
                saved["will"] = saved_will(self.will)
            if self.properties:
                saved["properties"] = saved_properties(self.properties)
        return saved

    def describe(self) -> str:
        """Where this leads, for messages: scheme, hosts and ports, and never a secret."""
        scheme = next(name for name, (kind, tls, _) in SCHEMES.items() if (kind, tls) == self._where)
        if self.transport == "unix":
            return f"unix://{self.host}"
        if self.transport == "memory":
            return f"memory://{self.host}"
        own = self._own_port
        places = [str(Server(host, own if port is None else port)) for host, port in self.targets]
        return f"{scheme}://{','.join(places)}"


_DEFAULTS: Final[dict[str, Any]] = {
    item.name: item.default if item.default is not MISSING else Properties() for item in fields(Options)
}


def unknown_option(name: str, spelt: Iterable[str] = ()) -> OptionError:
    """The error for an option that does not exist, with the closest that does; ``spelt``: those of a URL."""
    known = [*spelt] or [*_DEFAULTS, *WILL_PARTS]
    if name in _DEFAULTS:
        return OptionError(
            f"the option {name!r} does not stand behind the '?' of a URL: it is a part of what is before, "
            "or goes to connect(), create() or configure()"
        )
    import difflib  # noqa: PLC0415  # for errors alone

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return OptionError(f"unknown option {name!r}: {hint}the options are {', '.join(sorted(known))}")
