"""Cases about who may be believed, and about what nobody may see: certificates, user names and passwords."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from juham_core.errors import ConnectError, JuhamError
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.testing.cases.losing import Attempts
from juham_core.testing.certificates import AUTHORITY, CLIENT, SERVER, WRONG_HOST, server_context
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.testing.terminator import TlsTerminator

_CANARY = "canary-5f3a91"
"""A password that nobody else has."""


class SecurityCases:
    """The subject ``security``."""

    # --- certificates -------------------------------------------------------------------------------

    @case("security.insecure_warns", on=FAULTS, needs="tls")
    def insecure_warns(self, kit: Kit) -> None:
        """Each attempt that verifies no certificate logs a warning, and one that does verify logs none."""
        broker = kit.start_broker(ssl=server_context())
        where: dict[str, Any] = {"host": broker.host, "port": broker.port, "tls": True}
        with _records("juham.backend") as records:
            kit.connect(**where, ca_certs=AUTHORITY)
            assert records == [], [record.getMessage() for record in records]
            kit.connect(**where, insecure=True)
            assert [record.levelno for record in records] == [logging.WARNING]
            broker.reset()
            broker.wait_for("connack", sent=True, nth=3)
            assert len(records) == 2, "the second attempt has not warned"

    @case("security.client_certificate_missing", on=FAULTS, needs="tls")
    def client_certificate_missing(self, kit: Kit) -> None:
        """A broker that asks for a certificate gets no CONNECT from a client without one."""
        broker = kit.start_broker(ssl=server_context(ask_client=True))
        where: dict[str, Any] = {"host": broker.host, "port": broker.port, "tls": True}
        client = kit.create(**where, ca_certs=AUTHORITY, reconnect=False)
        with kit.raises(ConnectError):
            client.connect_to_server()
            client.wait_until_connected(kit.patience)
        assert broker.packets("connack", sent=True) == []
        kit.connect(**where, ca_certs=AUTHORITY, certfile=CLIENT)

    @case("security.next_server_verified", on=FAULTS, needs="tls")
    def next_server_verified(self, kit: Kit) -> None:
        """Each of several servers is verified: one that is not trusted gets no CONNECT, the next one does."""
        brokers = [kit.start_broker(ssl=server_context(name)) for name in (WRONG_HOST, SERVER)]
        client = kit.create(tls=True, ca_certs=AUTHORITY, connect_timeout=2.0)
        client.configure(servers=[f"{broker.host}:{broker.port}" for broker in brokers])
        kit.connect(client)
        assert client.server == brokers[1].url
        assert brokers[0].packets("connect") == [], "CONNECT, with the credentials, went to a stranger"

    @case("security.wss", on=FAULTS, needs=("tls", "websockets"))
    def wss(self, kit: Kit) -> None:
        """A websocket within TLS leads to the broker like any other way."""
        client = kit.connect(**_behind_tls(kit, SERVER))
        inbox = kit.inbox(client, kit.topic)
        for payload in (b"x", b"0123456789" * 50_000):
            client.publish(kit.topic, payload, qos=1).wait(kit.patience)
            assert inbox.next().payload == payload

    @case("security.wss_wrong_host", on=FAULTS, needs=("tls", "websockets"))
    def wss_wrong_host(self, kit: Kit) -> None:
        """A websocket within TLS whose certificate is for another host raises ConnectError."""
        client = kit.create(**_behind_tls(kit, WRONG_HOST), connect_timeout=2.0)
        with kit.raises(ConnectError):
            client.connect_to_server()
        assert kit.broker.accepted == 0

    # --- where the password comes from --------------------------------------------------------------

    @case("security.password_file", on=FAULTS)
    def password_file(self, kit: Kit) -> None:
        """The option password_file names a file that is read anew for each attempt."""
        with TemporaryDirectory(prefix="juham-kit-") as folder:
            path = Path(folder) / "password"
            path.write_text("first\n")
            kit.connect(username="user", password_file=str(path))
            assert kit.broker.wait_for("connect").password == b"first"
            path.write_text("second")
            kit.broker.reset()
            assert kit.broker.wait_for("connect", nth=2).password == b"second"
            kit.broker.wait_for("connack", sent=True, nth=2)

    @case("security.password_file_missing", on=FAULTS)
    def password_file_missing(self, kit: Kit) -> None:
        """A password file that is not there raises ConnectError with its name, and nothing is sent."""
        client = kit.create(username="user", password_file="/nowhere/password")  # noqa: S106 - a path
        with kit.raises(ConnectError) as raised:
            client.connect_to_server()
        assert "/nowhere/password" in str(raised[0])
        assert kit.broker.accepted == 0

    @case("security.credentials", on=FAULTS)
    def credentials(self, kit: Kit) -> None:
        """The option credentials is asked for user name and password before each attempt."""
        asked: list[int | None] = []

        def fresh(options: Options) -> tuple[str, str]:
            asked.append(options.port)
            return f"user {len(asked)}", f"token {len(asked)}"

        kit.connect(credentials=fresh)
        for number in (1, 2):
            packet = kit.broker.wait_for("connect", nth=number)
            assert (packet.username, packet.password) == (f"user {number}", b"token %d" % number)
            kit.broker.wait_for("connack", sent=True, nth=number)
            kit.broker.reset()
        kit.broker.wait_for("connack", sent=True, nth=3)
        assert asked == [kit.broker.port] * 3

    @case("security.credentials_fail", on=FAULTS)
    def credentials_fail(self, kit: Kit) -> None:
        """A credentials function that raises fails this attempt, and is asked again for the next."""
        count = 0

        def sometimes(_options: Options) -> tuple[str, str]:
            nonlocal count
            count += 1
            if count in (2, 3):
                raise LookupError(_CANARY)
            return "user", "password"

        client = kit.connect(credentials=sometimes)
        with _records("juham") as records:
            kit.broker.reset()
            kit.broker.wait_for("connack", sent=True, nth=2)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert not any(_CANARY in record.getMessage() for record in records)

    # --- what nobody may see ------------------------------------------------------------------------

    @case("security.secrets_hidden", on=FAULTS)
    def secrets_hidden(self, kit: Kit) -> None:
        """A password is in no repr, saved state, log record at DEBUG, hook's reason or error."""
        client = kit.create(username="user", password=_CANARY, reconnect_max=0.1)
        Attempts.of(kit, client)
        seen: list[str] = []
        with _records("") as records:
            for misfortune in _MISFORTUNES:
                misfortune(kit)
                _try(client, seen)
                client.disconnect_from_server()
                kit.broker.forgive()
                if misfortune is _MISFORTUNES[0]:
                    kit.broker.accept()
            kit.connect(client)
            kit.broker.reset()
            client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
            seen += map(repr, (client, client.options, client.statistics))
            seen += [str(client.to_dict()), str(client.options.to_dict()), client.options.describe()]
        formatter = logging.Formatter()
        seen += [formatter.format(record) for record in records]
        assert not any(_CANARY in text for text in seen), [text for text in seen if _CANARY in text]


def _behind_tls(kit: Kit, certificate: str) -> dict[str, Any]:
    """Options that lead to the broker over a websocket within TLS."""
    bridge = kit.websocket(to=kit.broker)
    door = TlsTerminator((bridge.host, bridge.port), server_context(certificate))
    door.__enter__()
    kit.keep(lambda: door.__exit__(None, None, None))
    return {
        "transport": "websockets",
        "host": door.host,
        "port": door.port,
        "tls": True,
        "ca_certs": AUTHORITY,
    }


def _try(client: JMqtt, seen: list[str]) -> None:
    try:
        client.connect_to_server()
        client.wait_until_connected(0.5)
    except JuhamError as exc:
        error: BaseException | None = exc
        while error is not None:
            seen += [str(error), repr(error), *map(str, error.args)]
            error = error.__cause__ or error.__context__
    else:
        raise AssertionError("the attempt was to fail")


_MISFORTUNES: tuple[Callable[[Kit], Any], ...] = (
    lambda kit: kit.broker.refuse(),
    lambda kit: kit.broker.on("connect").reset(),
    lambda kit: kit.broker.on("connect").close(),
    lambda kit: kit.broker.on("connect").silence(),
    lambda kit: kit.broker.on("connect").answer(b"\xff" * 16),
    lambda kit: kit.broker.before("connack").change(reason_code=0x86),
    lambda kit: kit.broker.before("connack").change(reason_code=0x88),
)


@contextmanager
def _records(name: str) -> Iterator[list[logging.LogRecord]]:
    """What is logged below this logger meanwhile, from DEBUG on."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, keeper = logging.getLogger(name), Keeper(logging.DEBUG)
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        logger.setLevel(level)
        logger.removeHandler(keeper)
