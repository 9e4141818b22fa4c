"""Cases about the ways to a broker beside plain TCP: TLS, unix sockets, websockets."""

from __future__ import annotations

import time
from typing import Any

from juham_core.errors import ConnectError
from juham_core.jmqtt import JMqtt
from juham_core.testing.certificates import (
    AUTHORITY,
    CLIENT,
    EXPIRED,
    SERVER,
    STRANGER,
    WRONG_HOST,
    server_context,
)
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.faults import FaultBroker
from juham_core.testing.kit import Kit

_SOON = 0.5


class TransportCases:
    """The subject ``connect``, continued."""

    # --- TLS ----------------------------------------------------------------------------------------

    @case("connect.tls", on=FAULTS, needs="tls")
    def tls(self, kit: Kit) -> None:
        """A broker with a certificate that is trusted is connected to, and large messages come through."""
        broker = kit.start_broker(ssl=server_context())
        _works(kit, kit.connect(**_at(broker), ca_certs=AUTHORITY))

    @case("connect.tls_context", on=FAULTS, needs="tls")
    def tls_context(self, kit: Kit) -> None:
        """tls_set takes the same files that the options name."""
        broker = kit.start_broker(ssl=server_context())
        client = kit.create(host=broker.host, port=broker.port)
        client.tls_set(AUTHORITY)
        _works(kit, kit.connect(client))

    @case("connect.tls_untrusted", on=FAULTS, needs="tls")
    def tls_untrusted(self, kit: Kit) -> None:
        """A certificate of an authority that is not trusted raises ConnectError, before CONNECT is sent."""
        _is_not_trusted(kit, SERVER, ca_certs=STRANGER)

    @case("connect.tls_wrong_host", on=FAULTS, needs="tls")
    def tls_wrong_host(self, kit: Kit) -> None:
        """A certificate for another host raises ConnectError, before CONNECT is sent."""
        _is_not_trusted(kit, WRONG_HOST, ca_certs=AUTHORITY)

    @case("connect.tls_expired", on=FAULTS, needs="tls")
    def tls_expired(self, kit: Kit) -> None:
        """A certificate that has expired raises ConnectError, before CONNECT is sent."""
        _is_not_trusted(kit, EXPIRED, ca_certs=AUTHORITY)

    @case("connect.tls_insecure", on=FAULTS, needs="tls")
    def tls_insecure(self, kit: Kit) -> None:
        """With insecure=True any certificate will do."""
        broker = kit.start_broker(ssl=server_context(WRONG_HOST))
        _works(kit, kit.connect(**_at(broker), insecure=True))

    @case("connect.tls_client_certificate", on=FAULTS, needs="tls")
    def tls_client_certificate(self, kit: Kit) -> None:
        """A certificate of the client's own is shown; a broker that insists on one refuses without."""
        broker = kit.start_broker(ssl=server_context(ask_client=True))
        client = kit.create(**_at(broker), ca_certs=AUTHORITY, reconnect_min=60, reconnect_max=60)
        _does_not_connect(kit, client)
        assert broker.packets("connect") == []
        _works(kit, kit.connect(**_at(broker), ca_certs=AUTHORITY, certfile=CLIENT, keyfile=CLIENT))

    @case("connect.tls_to_plain", on=FAULTS, needs="tls")
    def tls_to_plain(self, kit: Kit) -> None:
        """TLS to a port that does not speak it raises ConnectError."""
        client = kit.create(tls=True, ca_certs=AUTHORITY, reconnect_min=60, reconnect_max=60)
        _does_not_connect(kit, client)

    @case("connect.plain_to_tls", on=FAULTS, needs="tls")
    def plain_to_tls(self, kit: Kit) -> None:
        """A plain connection to a port that speaks TLS raises ConnectError."""
        broker = kit.start_broker(ssl=server_context())
        client = kit.create(host=broker.host, port=broker.port, reconnect_min=60, reconnect_max=60)
        _does_not_connect(kit, client)

    @case("connect.tls_no_handshake", on=FAULTS, needs="tls")
    def tls_no_handshake(self, kit: Kit) -> None:
        """A peer that accepts TCP and says nothing to TLS raises ConnectError within connect_timeout."""
        host, port = kit.mute_server()
        client = kit.create(host=host, port=port, tls=True, ca_certs=AUTHORITY, connect_timeout=_SOON)
        began = time.monotonic()
        with kit.raises(ConnectError):
            client.connect_to_server()
        assert time.monotonic() - began < 4 * _SOON

    # --- others -------------------------------------------------------------------------------------

    @case("connect.unix_socket", on=FAULTS, needs="unix_sockets")
    def unix_socket(self, kit: Kit) -> None:
        """A unix socket leads to the broker like any other way."""
        _works(kit, kit.connect(transport="unix", host=kit.unix_socket(), port=None))

    @case("connect.websockets", on=FAULTS, needs="websockets")
    def websockets(self, kit: Kit) -> None:
        """A websocket leads to the broker like any other way (MQTT 5 section 6)."""
        bridge = kit.websocket(to=kit.broker)
        where = {"transport": "websockets", "host": bridge.host, "port": bridge.port}
        _works(kit, kit.connect(**where, path="/some/where"))
        assert bridge.requests == [("/some/where", "mqtt")], "path and subprotocol as they were asked for"

    @case("connect.websocket_refused", on=FAULTS, needs="websockets")
    def websocket_refused(self, kit: Kit) -> None:
        """A web server without websockets raises ConnectError."""
        answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        kit.broker.after_bytes(1).send(answer).close()
        client = kit.create(transport="websockets", reconnect_min=60, reconnect_max=60)
        _does_not_connect(kit, client)


def _at(broker: FaultBroker) -> dict[str, Any]:
    return {"host": broker.host, "port": broker.port, "tls": True}


def _works(kit: Kit, client: JMqtt) -> None:
    inbox = kit.inbox(client, kit.topic)
    for payload in (b"x", b"0123456789" * 100_000):
        client.publish(kit.topic, payload, qos=1).wait(kit.patience)
        assert inbox.next().payload == payload


def _does_not_connect(kit: Kit, client: JMqtt) -> None:
    began = time.monotonic()
    with kit.raises(ConnectError):
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
    assert time.monotonic() - began < kit.patience, "it was noticed by a timeout only"
    assert not client.is_connected()


def _is_not_trusted(kit: Kit, certificate: str, **options: Any) -> None:
    broker = kit.start_broker(ssl=server_context(certificate))
    with kit.raises(ConnectError):
        kit.create(**_at(broker), **options).connect_to_server()
    assert broker.packets("connect") == [], "CONNECT, with the credentials, went to a broker not trusted"
