"""Cases about the first connection: who is let in, what is refused, and in what time."""

from __future__ import annotations

import time
from typing import Any

import juham_core
from juham_core.errors import AuthError, ConnectError, ConnectTimeoutError
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Connack, Will

_PASSWORD = "hunter2-s€cret"  # noqa: S105 - it is nobody's
_SOON = 0.5
"""A connect_timeout that is kept short, in seconds."""


class ConnectCases:
    """The subject ``connect``."""

    # --- no transport -------------------------------------------------------------------------------

    @case("connect.refused_port", on=FAULTS)
    def refused_port(self, kit: Kit) -> None:
        """A port where nobody listens raises ConnectError at the call."""
        kit.broker.refuse()
        client = kit.create()
        with kit.raises(ConnectError) as caught:
            client.connect_to_server()
        assert str(kit.broker.port) in str(caught[0]), "the error does not say where it tried"
        assert not client.is_connected()
        kit.broker.accept()
        kit.connect(client)

    @case("connect.black_hole", on=FAULTS)
    def black_hole(self, kit: Kit) -> None:
        """A host that does not answer at all raises ConnectError within connect_timeout."""
        host, port = kit.black_hole()
        client = kit.create(host=host, port=port, connect_timeout=_SOON)
        began = time.monotonic()
        with kit.raises(ConnectError):
            client.connect_to_server()
        assert time.monotonic() - began < 4 * _SOON

    @case("connect.unknown_host", on=FAULTS)
    def unknown_host(self, kit: Kit) -> None:
        """A host name that does not exist raises ConnectError, which names it."""
        with kit.raises(ConnectError) as caught:
            kit.create(host="nowhere.invalid").connect_to_server()
        assert "nowhere.invalid" in str(caught[0])

    @case("connect.by_name", on=FAULTS)
    def by_name(self, kit: Kit) -> None:
        """A host name is looked up, and the next of its addresses is tried if one refuses."""
        kit.connect(host="localhost")

    # --- no verdict ---------------------------------------------------------------------------------

    @case("connect.no_connack", on=FAULTS)
    def no_connack(self, kit: Kit) -> None:
        """A peer that accepts TCP and never sends CONNACK ends in ConnectTimeoutError."""
        kit.broker.on("connect").silence()
        client = kit.create(connect_timeout=_SOON, reconnect_min=60, reconnect_max=60)
        assert client.connect_to_server() == 0
        with kit.raises(ConnectTimeoutError):
            client.wait_until_connected()
        assert not client.is_connected()

    @case("connect.no_connack_then_again", on=FAULTS)
    def no_connack_then_again(self, kit: Kit) -> None:
        """An attempt without CONNACK is given up after connect_timeout, and another one is made."""
        kit.broker.on("connect", connection=1).silence()
        client = kit.create(connect_timeout=_SOON)
        client.connect_to_server()
        if not kit.tries_again(client):
            with kit.raises(ConnectTimeoutError):
                client.wait_until_connected()
            client.connect_to_server()
        kit.eventually(client.is_connected, "the second attempt succeeds")
        assert kit.broker.accepted == 2
        assert kit.broker.connections == 1, "the connection that was given up is still there"

    @case("connect.closed_without_connack", on=FAULTS)
    def closed_without_connack(self, kit: Kit) -> None:
        """A peer that closes instead of sending CONNACK raises ConnectError at once, and is tried again."""
        kit.broker.on("connect", connection=1).close()
        _fails_then_comes(kit)

    @case("connect.reset_without_connack", on=FAULTS)
    def reset_without_connack(self, kit: Kit) -> None:
        """A peer that resets instead of sending CONNACK raises ConnectError at once, and is tried again."""
        kit.broker.on("connect", connection=1).reset()
        _fails_then_comes(kit)

    @case("connect.http_peer", on=FAULTS)
    def http_peer(self, kit: Kit) -> None:
        """A peer that answers in HTTP raises ConnectError, and no exception of another kind gets out."""
        answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        kit.broker.on("connect", connection=1).answer(answer).close()
        _fails_then_comes(kit)

    @case("connect.cut_connack", on=FAULTS)
    def cut_connack(self, kit: Kit) -> None:
        """A connection that ends in the middle of CONNACK raises ConnectError, and is tried again."""
        kit.broker.before("connack", connection=1).cut(after=2)
        _fails_then_comes(kit)

    @case("connect.endless_connacks", on=FAULTS)
    def endless_connacks(self, kit: Kit) -> None:
        """A peer that sends CONNACK over and over is accepted once at most, and can be closed."""
        kit.broker.on("connect", connection=1).send(*[Connack()] * 200)
        client = kit.create(reconnect=False)
        verdicts = kit.verdicts(client)
        client.loop_start()
        client.connect_to_server()
        verdicts.next()
        client.disconnect_from_server()
        assert verdicts.count == 0, "on_connect was called for a second CONNACK on one connection"

    @case("connect.fragments", on=FAULTS)
    def fragments(self, kit: Kit) -> None:
        """What arrives one byte at a time is put together."""
        kit.broker.fragment = 1
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        client.publish(kit.topic, b"0123456789" * 30, qos=1).wait(kit.patience)
        assert inbox.next().payload == b"0123456789" * 30

    # --- the verdict --------------------------------------------------------------------------------

    @case("connect.accepted_after_connack", on=FAULTS)
    def accepted_after_connack(self, kit: Kit) -> None:
        """is_connected() is true, and on_connect called, after an accepting CONNACK and no sooner (3.2)."""
        connack = kit.broker.before("connack").hold()
        client = kit.create()
        verdicts = kit.verdicts(client)
        client.loop_start()
        assert client.connect_to_server() == 0
        connack.wait()
        assert not client.is_connected()
        assert verdicts.count == 0
        connack.release()
        _, _, flags, reason_code, _ = verdicts.next()
        assert reason_code == 0
        assert not flags.session_present
        assert client.is_connected()

    @case("connect.refused_password", on=FAULTS)
    def refused_password(self, kit: Kit) -> None:
        """Bad user name or password is AuthError, no transient fault: it is not tried again (3.2.2.2)."""
        _refused_for_good(kit, 0x86, AuthError)

    @case("connect.refused_not_authorized", on=FAULTS)
    def refused_not_authorized(self, kit: Kit) -> None:
        """Not authorized is AuthError, and is not tried again (MQTT 5 section 3.2.2.2)."""
        _refused_for_good(kit, 0x87, AuthError)

    @case("connect.refused_client_id", on=FAULTS)
    def refused_client_id(self, kit: Kit) -> None:
        """A client identifier that is not valid is AuthError, and is not tried again (3.2.2.2)."""
        _refused_for_good(kit, 0x85, AuthError)

    @case("connect.refused_version", on=FAULTS)
    def refused_version(self, kit: Kit) -> None:
        """An unsupported protocol version is ConnectError, and is not tried again (3.2.2.2)."""
        _refused_for_good(kit, 0x84, ConnectError)

    @case("connect.refused_banned", on=FAULTS, needs="mqtt_5")
    def refused_banned(self, kit: Kit) -> None:
        """A banned client gets AuthError, and does not try again (MQTT 5 section 3.2.2.2)."""
        _refused_for_good(kit, 0x8A, AuthError)

    @case("connect.refused_unavailable", on=FAULTS)
    def refused_unavailable(self, kit: Kit) -> None:
        """A server that is unavailable raises ConnectError, and is tried again (3.2.2.2)."""
        kit.broker.before("connack", connection=1).change(reason_code=0x88)
        error = _fails_then_comes(kit)
        assert not isinstance(error, AuthError)
        assert error.reason_code == 0x88

    @case("connect.refused_busy", on=FAULTS, needs="mqtt_5")
    def refused_busy(self, kit: Kit) -> None:
        """A server that is busy raises ConnectError with its code, and is tried again (3.2.2.2)."""
        kit.broker.before("connack", connection=1).change(reason_code=0x89)
        assert _fails_then_comes(kit).reason_code == 0x89

    @case("connect.refusal_in_on_connect", on=FAULTS)
    def refusal_in_on_connect(self, kit: Kit) -> None:
        """on_connect brings a refusal, too, with its reason code."""
        kit.broker.before("connack").change(reason_code=0x87)
        client = kit.create()
        verdicts = kit.verdicts(client)
        client.loop_start()
        client.connect_to_server()
        assert verdicts.next()[3] == 0x87

    # --- what CONNECT says --------------------------------------------------------------------------

    @case("connect.packet", on=FAULTS)
    def packet(self, kit: Kit) -> None:
        """CONNECT carries what the options say (MQTT 5 section 3.1)."""
        kit.connect(client_id="kit-client", keepalive=17, username="anna", password=_PASSWORD)
        connect = kit.broker.wait_for("connect")
        said = (connect.protocol, connect.client_id, connect.clean_start, connect.keepalive)
        assert said == (kit.protocol, "kit-client", True, 17)
        assert (connect.username, connect.password, connect.will) == ("anna", _PASSWORD.encode(), None)

    @case("connect.packet_will", on=FAULTS)
    def packet_will(self, kit: Kit) -> None:
        """CONNECT carries the will as it was set (MQTT 5 section 3.1.2.5)."""
        client = kit.create()
        client.will_set(kit.topic, b"gone \xff", qos=1, retain=True)
        kit.connect(client)
        assert kit.broker.wait_for("connect").will == Will(kit.topic, b"gone \xff", 1, True)

    @case("connect.packet_client_id", on=FAULTS)
    def packet_client_id(self, kit: Kit) -> None:
        """Without a client identifier of its own, each client makes one up that no other has."""
        clients = [kit.connect(), kit.connect()]
        said = [connect.client_id for connect in kit.broker.packets("connect")]
        assert len(set(said)) == 2
        assert all(said)
        assert [client.client_id for client in clients] == said

    @case("connect.packet_session", on=FAULTS, needs="persistent_session")
    def packet_session(self, kit: Kit) -> None:
        """clean_start=False asks for the session of an earlier connection, and gets it (3.1.2.4)."""
        for session_present in (False, True):
            client = kit.create(client_id=kit.topic, clean_start=False)
            verdicts = kit.verdicts(client)
            kit.connect(client)
            assert verdicts.next()[2].session_present is session_present
            client.disconnect_from_server()
        assert [connect.clean_start for connect in kit.broker.packets("connect")] == [False, False]

    @case("connect.arguments", on=FAULTS)
    def arguments(self, kit: Kit) -> None:
        """Host, port and keepalive may be arguments of connect_to_server as well."""
        client = kit.create(host="nowhere.invalid", port=1)
        assert client.connect_to_server("127.0.0.1", kit.broker.port, 23) == 0
        client.wait_until_connected(kit.patience)
        assert kit.broker.wait_for("connect").keepalive == 23

    @case("connect.bind_address", on=FAULTS, needs="bind_address")
    def bind_address(self, kit: Kit) -> None:
        """bind_address is the address that the connection comes from."""
        kit.connect(bind_address="127.0.0.1")
        [accepted] = [entry for entry in kit.broker.log if entry.kind == "accept"]
        assert accepted.packet[0] == "127.0.0.1"
        with kit.raises(ConnectError):
            kit.create(bind_address="192.0.2.1").connect_to_server()  # it is nobody's: RFC 5737

    # --- twice, and several -------------------------------------------------------------------------

    @case("connect.twice")
    def twice(self, kit: Kit) -> None:
        """Connecting a client that is connected raises ConnectError, and the connection goes on."""
        client = kit.connect()
        with kit.raises(ConnectError):
            client.connect_to_server()
        assert client.is_connected()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("connect.close_twice")
    def close_twice(self, kit: Kit) -> None:
        """Closing twice, or without ever having connected, does no harm."""
        kit.create().disconnect_from_server()
        client = kit.connect()
        client.disconnect_from_server()
        client.disconnect_from_server()
        assert not client.is_connected()

    @case("connect.again_after_close")
    def again_after_close(self, kit: Kit) -> None:
        """A client that was closed may be connected again, and its subscriptions come back."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        client.disconnect_from_server()
        kit.connect(client)
        kit.eventually(lambda: client.subscriptions == {kit.topic: 1}, "the subscription is back")
        kit.observer().publish(kit.topic, b"x")
        assert inbox.next().payload == b"x"

    @case("connect.two_clients")
    def two_clients(self, kit: Kit) -> None:
        """Two clients in one process have nothing to do with each other."""
        one, other = kit.connect(), kit.connect()
        of_one, of_other = kit.inbox(one, f"{kit.topic}/one"), kit.inbox(other, f"{kit.topic}/other")
        one.publish(f"{kit.topic}/other", b"from one", qos=1).wait(kit.patience)
        other.publish(f"{kit.topic}/one", b"from other", qos=1).wait(kit.patience)
        assert of_other.next().payload == b"from one"
        assert of_one.next().payload == b"from other"
        one.disconnect_from_server()
        other.publish(f"{kit.topic}/other", b"still there", qos=1).wait(kit.patience)
        assert of_other.next().payload == b"still there"
        of_one.nothing()

    @case("connect.context_manager")
    def context_manager(self, kit: Kit) -> None:
        """A client is a context manager that closes it."""
        client = kit.connect()
        with client as entered:
            assert entered is client
        assert not client.is_connected()

    # --- for the user's eyes ------------------------------------------------------------------------

    @case("connect.secret_hidden", on=FAULTS)
    def secret_hidden(self, kit: Kit) -> None:
        """A password shows neither in a repr, nor in an error, nor in what is saved."""
        kit.broker.before("connack").change(reason_code=0x86)
        client = kit.create(username="anna", password=_PASSWORD)
        client.connect_to_server()
        with kit.raises(AuthError) as caught:
            client.wait_until_connected(kit.patience)
        for shown in (repr(client), repr(client.options), repr(caught[0]), str(client.to_dict())):
            assert _PASSWORD not in shown

    @case("connect.one_call", on=FAULTS)
    def one_call(self, kit: Kit) -> None:
        """juham.connect returns once the broker has accepted, and leaves nothing behind if it does not."""
        backend = kit.backend_name
        with juham_core.connect(kit.broker.url, backend=backend, protocol=kit.protocol) as client:
            assert client.is_connected()
        kit.broker.before("connack", nth=1).change(reason_code=0x87)
        with kit.raises(AuthError):
            juham_core.connect(kit.broker.url, backend=backend, protocol=kit.protocol)
        kit.broker.on("connect", nth=1).silence()
        with kit.raises(ConnectTimeoutError):
            juham_core.connect(kit.broker.url, backend=backend, protocol=kit.protocol, connect_timeout=_SOON)


def _refused_for_good(kit: Kit, code: int, kind: type[ConnectError]) -> None:
    kit.broker.before("connack").change(reason_code=code)
    client = kit.create(reconnect_min=0.01, reconnect_max=0.01)
    client.connect_to_server()
    with kit.raises(kind) as caught:
        client.wait_until_connected(kit.patience)
    assert caught[0].reason_code == code  # type: ignore[attr-defined]  # a ConnectError has one
    assert not client.is_connected()
    kit.eventually(lambda: not kit.broker.connections, "the refused connection is closed")
    kit.never(lambda: kit.broker.accepted > 1, "it has tried again with what was refused", 0.15)
    client.disconnect_from_server()
    kit.broker.forgive()
    kit.connect(client)


def _fails_then_comes(kit: Kit) -> ConnectError:
    """The first attempt fails with ConnectError, promptly; the second one succeeds."""
    client = kit.create(reconnect_min=0.5, reconnect_max=0.5)
    if not kit.tries_again(client):
        client.configure(reconnect_min=3600.0, reconnect_max=3600.0)
    began = time.monotonic()
    error: Any = None
    try:
        client.connect_to_server()
        client.wait_until_connected(kit.patience)
    except ConnectError as exc:
        error = exc
    assert isinstance(error, ConnectError), "the first attempt did not fail"
    assert not isinstance(error, ConnectTimeoutError), "it was noticed by the timeout only"
    assert time.monotonic() - began < 4
    if not kit.tries_again(client):
        client.connect_to_server()
    kit.eventually(client.is_connected, "the second attempt succeeds")
    assert kit.broker.accepted == 2
    return error
