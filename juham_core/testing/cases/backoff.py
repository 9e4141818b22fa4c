"""Cases about when a lost connection is tried again: how often, until when, and with what credentials."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

from juham_core.errors import AuthError, ConnectError
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.testing.cases.losing import Attempts, subscribed, watched
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Disconnect

_BUSY = 1.0
"""Seconds that a busy machine may add to any pause."""
_QUICK = {"reconnect_min": 0.01, "reconnect_max": 0.02}


class BackoffCases:
    """The subject ``reconnect``, continued."""

    # --- how often ----------------------------------------------------------------------------------

    @case("reconnect.backoff_grows", on=FAULTS)
    def backoff_grows(self, kit: Kit) -> None:
        """The pause before each attempt is twice as long as the last, of which jitter takes at most half."""
        _failing(kit, 7, reconnect_min=0.02, reconnect_max=60.0)
        for number, pause in enumerate(_pauses(kit, 6)):
            assert 0.02 * 2**number / 2 * 0.95 <= pause <= 0.02 * 2**number + _BUSY, (number, pause)

    @case("reconnect.backoff_capped", on=FAULTS)
    def backoff_capped(self, kit: Kit) -> None:
        """No pause is longer than reconnect_max, however many attempts have failed."""
        _failing(kit, 9, reconnect_min=0.05, reconnect_max=0.1)
        for count in range(1, 9):
            assert _pauses(kit, count)[-1] <= 0.1 + _BUSY

    @case("reconnect.backoff_jitter", on=FAULTS)
    def backoff_jitter(self, kit: Kit) -> None:
        """Pauses are not all alike: a thousand clients are not to come back at the same instant."""
        cap = 0.2
        _failing(kit, 21, reconnect_min=cap, reconnect_max=cap)
        for count in range(1, 21):
            if _pauses(kit, count)[-1] < 0.9 * cap:
                return
        raise AssertionError(f"none of 20 pauses is shorter than the full {cap} s")

    @case("reconnect.backoff_resets", on=FAULTS)
    def backoff_resets(self, kit: Kit) -> None:
        """After a connection that has lasted for reconnect_reset the pause begins at reconnect_min again."""
        client = _failing(kit, 6, reconnect_min=0.05, reconnect_max=60.0, reconnect_reset=0.0)
        kit.broker.wait_for("connack", sent=True, connection=7, timeout=2 * kit.patience)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        kit.broker.reset()
        kit.broker.wait_for("accept", nth=8)
        assert _pauses(kit, 7)[-1] <= 0.05 + _BUSY  # else it would be 1.6 s or more

    @case("reconnect.nobody_listens", on=FAULTS)
    def nobody_listens(self, kit: Kit) -> None:
        """Attempts go on while nobody listens, and the first that can succeed does."""
        client = kit.connect()
        attempts = Attempts.of(kit, client)
        kit.broker.refuse()
        kit.broker.reset()
        for _ in range(3):
            attempts.next()
        kit.broker.accept()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)

    @case("reconnect.transient_refusal", on=FAULTS)
    def transient_refusal(self, kit: Kit) -> None:
        """A broker that is not available for the moment (0x88) is tried again (section 3.2.2.2)."""
        kit.broker.before("connack", connection=2).change(reason_code=0x88)
        client = kit.connect()
        kit.broker.reset()
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert kit.broker.accepted == 3

    # --- until when ---------------------------------------------------------------------------------

    @case("reconnect.stops_at_bad_password", on=FAULTS)
    def stops_at_bad_password(self, kit: Kit) -> None:
        """Attempts stop when the broker refuses user name or password: trying again locks accounts."""
        _stops(kit, 0x86)

    @case("reconnect.stops_at_not_authorized", on=FAULTS)
    def stops_at_not_authorized(self, kit: Kit) -> None:
        """Attempts stop when the broker says that the client is not authorized."""
        _stops(kit, 0x87)

    @case("reconnect.stops_at_client_id", on=FAULTS)
    def stops_at_client_id(self, kit: Kit) -> None:
        """Attempts stop when the broker refuses the client identifier."""
        _stops(kit, 0x85)

    @case("reconnect.stops_at_banned", on=FAULTS, needs="mqtt_5")
    def stops_at_banned(self, kit: Kit) -> None:
        """Attempts stop when the broker has banned the client (0x8A)."""
        _stops(kit, 0x8A)

    @case("reconnect.stops_at_bad_method", on=FAULTS, needs="mqtt_5")
    def stops_at_bad_method(self, kit: Kit) -> None:
        """Attempts stop when the broker refuses the authentication method (0x8C)."""
        _stops(kit, 0x8C)

    @case("reconnect.stops_at_takeover", on=FAULTS, needs="mqtt_5")
    def stops_at_takeover(self, kit: Kit) -> None:
        """Attempts stop when another client has taken the client identifier over (0x8E): no tug of war."""
        client, lost, _ = watched(kit, **_QUICK)
        kit.broker.send(Disconnect(0x8E))
        assert lost.next()[3] == 0x8E
        _no_attempt(kit, client, 1, ConnectError)

    @case("reconnect.stops_at_server_moved", on=FAULTS, needs="mqtt_5")
    def stops_at_server_moved(self, kit: Kit) -> None:
        """Attempts stop when the broker sends the client elsewhere for good (0x9D)."""
        client, lost, _ = watched(kit, **_QUICK)
        kit.broker.send(Disconnect(0x9D))
        lost.next()
        _no_attempt(kit, client, 1, ConnectError)

    @case("reconnect.again_after_giving_up", on=FAULTS)
    def again_after_giving_up(self, kit: Kit) -> None:
        """A client that has given up may be connected again, and brings its subscriptions."""
        client, lost, back = watched(kit, **_QUICK)
        inbox = kit.inbox(client, kit.topic)
        kit.broker.before("connack", connection=2).change(reason_code=0x86)
        kit.broker.reset()
        lost.next()
        assert back.next()[3] != 0
        client.username_pw_set("user", "another")
        kit.connect(client)
        client.publish(kit.topic, b"x", qos=1).wait(kit.patience)
        assert inbox.next().payload == b"x"
        packet = kit.broker.packets("connect", connection=3)[0]
        assert (packet.username, packet.password) == ("user", b"another")
        assert subscribed(kit, connection=3) == [kit.topic]
        assert back.next()[3] == 0
        kit.broker.reset()
        lost.next()
        assert back.next()[3] == 0, "the connection after it did not come back by itself"

    @case("reconnect.other_disconnects", on=FAULTS, needs="mqtt_5")
    def other_disconnects(self, kit: Kit) -> None:
        """A DISCONNECT for another reason is shown to on_disconnect, and the connection comes back."""
        _, lost, back = watched(kit, **_QUICK)
        for code in (0x8B, 0x89, 0x98, 0x80):
            kit.broker.send(Disconnect(code))
            _, _, flags, reason, _ = lost.next()
            assert (reason, flags.is_disconnect_packet_from_server) == (code, True)
            back.next()

    @case("reconnect.fresh_credentials", on=FAULTS)
    def fresh_credentials(self, kit: Kit) -> None:
        """Each attempt takes the options that jmqtt_connecting returns for it: a new password, say."""
        client = kit.create()
        count = 0

        def fresh(options: Options) -> Options:
            nonlocal count
            count += 1
            return options.changed(username="user", password=f"token {count}")

        Attempts.of(kit, client, fresh)
        kit.connect(client)
        for connection in (1, 2, 3):
            packet = kit.broker.wait_for("connect", connection=connection)
            assert (packet.username, packet.password) == ("user", b"token %d" % connection)
            kit.broker.wait_for("connack", sent=True, connection=connection)
            kit.broker.reset(connection)
        assert client.options.password is None, "the options of one attempt were kept"

    # --- closing meanwhile --------------------------------------------------------------------------

    @case("reconnect.close_in_backoff", on=FAULTS)
    def close_in_backoff(self, kit: Kit) -> None:
        """Closing while a long pause is under way is prompt."""
        client, lost, _ = watched(kit, reconnect_min=60.0, reconnect_max=60.0)
        kit.broker.reset()
        lost.next()
        assert _time_to_close(client) < 2 * _BUSY

    @case("reconnect.close_in_attempt", on=FAULTS)
    def close_in_attempt(self, kit: Kit) -> None:
        """Closing while an attempt hangs, its SYN unanswered, is prompt, however long connect_timeout is."""
        host, port = kit.black_hole()
        client = kit.connect(connect_timeout=20.0)
        attempts = Attempts.of(kit, client, lambda options: options.changed(host=host, port=port))
        kit.broker.reset()
        attempts.next()
        assert _time_to_close(client) < 2 * _BUSY

    @case("reconnect.close_in_handshake", on=FAULTS, needs="tls")
    def close_in_handshake(self, kit: Kit) -> None:
        """Closing while an attempt waits for the other end's part of the TLS handshake is prompt."""
        listener = kit.listener()
        host, port = listener.getsockname()
        client = kit.connect(connect_timeout=20.0)
        tls = {"host": host, "port": port, "tls": True, "ca_certs": None}
        Attempts.of(kit, client, lambda options: options.changed(**tls))
        kit.broker.reset()
        connection, _ = listener.accept()
        kit.keep(connection.close)
        connection.settimeout(kit.patience)
        assert connection.recv(1), "there is no ClientHello"
        assert _time_to_close(client) < 2 * _BUSY

    @case("reconnect.close_in_upgrade", on=FAULTS, needs="websockets")
    def close_in_upgrade(self, kit: Kit) -> None:
        """Closing while an attempt waits for a web server to take the websocket is prompt (section 6)."""
        listener = kit.listener()
        host, port = listener.getsockname()
        client = kit.connect(connect_timeout=20.0)
        web = {"host": host, "port": port, "transport": "websockets"}
        Attempts.of(kit, client, lambda options: options.changed(**web))
        kit.broker.reset()
        connection, _ = listener.accept()
        kit.keep(connection.close)
        connection.settimeout(kit.patience)
        assert connection.recv(3) == b"GET", "there is no request"
        assert _time_to_close(client) < 2 * _BUSY

    @case("connect.close_in_first_upgrade", on=FAULTS, needs="websockets")
    def close_in_first_upgrade(self, kit: Kit) -> None:
        """Closing while the first attempt waits for a web server is prompt, and whoever connects is told."""
        listener = kit.listener()
        host, port = listener.getsockname()
        client = kit.create(transport="websockets", host=host, port=port, connect_timeout=20.0)
        told = kit.recorder()

        def connect() -> None:
            try:
                told(client.connect_to_server())
            except Exception as exc:  # noqa: BLE001 - it is looked at below
                told(exc)

        opening = threading.Thread(target=connect)
        opening.start()
        connection, _ = listener.accept()
        kit.keep(connection.close)
        connection.settimeout(kit.patience)
        assert connection.recv(3) == b"GET", "there is no request"
        assert _time_to_close(client) < 2 * _BUSY
        (outcome,) = told.next()
        assert isinstance(outcome, ConnectError), outcome
        opening.join()

    @case("reconnect.close_before_connack", on=FAULTS)
    def close_before_connack(self, kit: Kit) -> None:
        """Closing while an attempt waits for CONNACK is prompt."""
        kit.broker.on("connect", connection=2).silence()
        client = kit.connect(connect_timeout=20.0)
        kit.broker.reset()
        kit.broker.wait_for("connect", connection=2)
        assert _time_to_close(client) < 2 * _BUSY


def _failing(kit: Kit, until: int, **options: Any) -> JMqtt:
    """A client that has lost its connection, and whose attempts fail up to this connection."""
    for connection in range(2, until + 1):
        kit.broker.on("connect", connection=connection).reset()
    client = kit.connect(**options)
    kit.broker.reset()
    return client


def _pauses(kit: Kit, count: int) -> list[float]:
    """How long the first so many pauses were: from a connection's end to the next one."""
    kit.broker.wait_for("accept", nth=count + 1, timeout=2 * kit.patience)
    times = [entry for entry in kit.broker.log if entry.kind in ("accept", "lost")]
    found = [
        later.at - earlier.at
        for earlier, later in pairwise(times)
        if (earlier.kind, later.kind) == ("lost", "accept")
    ]
    return found[:count]


def _stops(kit: Kit, code: int) -> None:
    client = kit.connect(**_QUICK)
    kit.broker.before("connack").change(reason_code=code)
    kit.broker.reset()
    kit.broker.wait_for("connack", sent=True, connection=2)
    _no_attempt(kit, client, 2, AuthError)


def _no_attempt(kit: Kit, client: JMqtt, connections: int, error: type[Exception]) -> None:
    threading.Event().wait(0.3)  # nothing announces that nothing happens
    assert kit.broker.accepted == connections, "another attempt was made"
    assert not client.is_connected()
    with kit.raises(error):
        client.wait_until_connected(0)


def _time_to_close(client: JMqtt) -> float:
    started = time.monotonic()
    client.disconnect_from_server()
    return time.monotonic() - started
