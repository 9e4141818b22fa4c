"""What paho's network thread does for a backend: reports, and methods in the place of paho's own.

paho's are replaced where they lose something: a socket, a refusal, an exception, the order of messages. All
reports come from here and from :mod:`juham_paho.messages`, and so from paho's network thread, or in the event
loop in which :mod:`juham_paho.resident` does its work.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import (
    Client,
    MQTTv5,
    mqtt_ms_publish,
    mqtt_ms_queued,
    mqtt_ms_resend_pubrel,
)
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from juham_core.errors import MalformedPacketError
from juham_core.jmqtt import JMqtt
from juham_core.options import Options
from juham_core.wire.reasons import KEEP_ALIVE_TIMEOUT, PACKET_TOO_LARGE, UNSPECIFIED_ERROR, connack_to_v5
from juham_paho import settings, sockets
from juham_paho.messages import Messages
from juham_paho.properties import to_core

if TYPE_CHECKING:
    import asyncio

    from juham_paho.resident import Resident

log = logging.getLogger("juham.paho")

_PAUSE: Final = 0.05
"""Seconds for which a broker is waited for that does not read; then it is time to look after keepalive."""

REPLACED: Final = (
    "_create_socket",
    "_sock_recv",
    "_sock_close",
    "_thread_main",
    "_handle_connack",
)
NEEDED: Final = (
    *REPLACED,
    *("_create_socket_connection", "_reset_sockets", "_in_packet", "_packet_queue", "_send_publish"),
    *("_mid_generate", "_update_inflight", "_out_packet", "_out_messages", "_inflight_messages"),
)
"""What JMqtt's use of a client relies on; a client that is used as paho's does not."""


class Network:
    """The side of one backend and its paho client that paho's thread runs, or an event loop."""

    def __init__(self, backend: JMqtt, client: Client, paho: Any) -> None:
        self._backend = backend
        self._client = client
        self._paho = paho
        self._options = Options()
        self._messages = Messages(backend, client)
        self._thread: threading.Thread | None = None
        self._callers_loop: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._resident: Resident | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._lingers = False
        self._verdict: tuple[bool, int, Any] | None = None
        self._ending: tuple[bool, int, Any] | None = None
        self._originals: dict[str, Callable[..., Any]] = {}
        # What paho calls for its events; messages are served by replaced methods.
        self.callbacks: Final[dict[str, Callable[..., None] | None]] = {
            "on_connect": self._on_connect,
            "on_disconnect": self._on_disconnect,
            "on_subscribe": self._on_subscribe,
            "on_unsubscribe": self._on_unsubscribe,
            "on_publish": None,
            "on_message": None,
        }

    def _replace(self) -> None:
        settings.require(self._client, (*NEEDED, *self._messages.handlers))
        methods = {name: getattr(self, name) for name in REPLACED} | self._messages.handlers
        for name, method in methods.items():
            if name not in self._originals:
                self._originals[name] = getattr(self._client, name)
                setattr(self._client, name, method)

    def _put_back(self) -> None:
        for name in self._originals:
            delattr(self._client, name)
        self._originals.clear()

    # --- in the place of paho's own methods -----------------------------------------------------------

    def _create_socket(self) -> Any:
        transport, self._socket = sockets.open_transport(
            self._client, self._options, self._client._ssl_context, self._backend._dialling
        )
        return transport

    def _sock_recv(self, size: int) -> Any:
        packet = self._client._in_packet
        if packet["have_remaining"]:
            whole = 1 + len(packet["remaining_count"]) + packet["remaining_length"]
            most = self._options.largest_packet
            if whole > most:
                text = f"a packet of {whole:,} bytes; max_packet_size={most:,} is the most that is taken"
                raise MalformedPacketError(text, reason_code=PACKET_TOO_LARGE)
        if self._messages.owes_too_much() and self._wait_to_write():
            raise BlockingIOError
        return self._originals["_sock_recv"](size)

    def _wait_to_write(self) -> bool:
        """Give the broker the time to take what it is owed; False if there is something that must be read.

        What TLS has read already no select() would tell of. An event loop does the waiting itself.
        """
        sock: Any = self._socket
        if sock is None or (hasattr(sock, "pending") and sock.pending()):
            return False
        if self._resident is None:
            select.select([], [sock], [], _PAUSE)
        return True

    def _sock_close(self) -> None:
        sock, self._socket = self._socket, None
        resident = self._resident
        if resident is not None:
            resident.unwatch()
        if self._lingers and sock is not None:
            if resident is not None:
                resident.keep(sock)
            else:
                sockets.linger(sock)
        self._originals["_sock_close"]()

    def _thread_main(self) -> None:
        self._messages.home = threading.get_ident()
        self._thread = threading.current_thread()  # before anything is reported: who closes waits for it
        error: Exception | None = None
        try:
            self._paho.loop_forever()
        except Exception as exc:  # noqa: BLE001 - what it was becomes the reason that the connection ended
            error = exc
        finally:
            with contextlib.suppress(Exception):  # a callback of the application for sockets
                self._client._sock_close()
            self._ended(error)

    def _ended(self, error: Exception | None) -> None:
        if self._closing:
            return
        from_server, code, properties = self._ending or (False, UNSPECIFIED_ERROR, None)
        if error is None and code == KEEP_ALIVE_TIMEOUT and not from_server:
            error = TimeoutError("the broker did not answer within the keepalive")
        self._backend._lost(error, code, to_core(properties), from_server=from_server)

    def _handle_connack(self) -> MQTTErrorCode:
        packet = bytes(self._client._in_packet["packet"][:2])
        five = self._client._protocol == MQTTv5
        rc: MQTTErrorCode = self._originals["_handle_connack"]()
        verdict = self._verdict
        if len(packet) == 2 and not five:
            # Some refusals paho keeps to itself.
            code = connack_to_v5(packet[1])
            verdict = (code == 0 and bool(packet[0] & 1), code, None)
        if verdict is not None:
            # Not before paho has sent again what was in flight: newer messages go after it.
            present, code, properties = verdict
            self._report(self._backend._connack, present, code, to_core(properties), resent=True)
        return rc

    # --- paho's callbacks, in the shape of version 2 --------------------------------------------------

    def _on_connect(
        self, _client: Client, _userdata: Any, flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        self._verdict = (flags.session_present, code.value, properties)
        if code.value:
            return
        core = to_core(properties)
        if core and core.server_keep_alive is not None:
            self._client._keepalive = core.server_keep_alive
        with self._client._out_message_mutex:
            waiting = list(self._client._out_messages.values())
            if not flags.session_present:
                # The broker has forgotten what it had of QoS 2: the exchange begins anew.
                self._messages.forget_received()
                for message in waiting:
                    if message.state == mqtt_ms_resend_pubrel:
                        message.state = mqtt_ms_publish
            limit = core.receive_maximum if core else None
            if limit is not None and limit < len(waiting):
                self._client._max_inflight_messages = limit
                for message in waiting[limit:]:
                    message.state = mqtt_ms_queued

    def _on_disconnect(
        self, _client: Client, _userdata: Any, flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        if self._ending is not None:
            return
        from_server = flags.is_disconnect_packet_from_server
        number = code.value
        if from_server:  # before 2.2.0 paho overlooks a code without properties after it
            number = (self._client._in_packet["packet"] or b"\0")[0]
        self._ending = (from_server, number, properties)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        self._report(self._backend._suback, mid, [code.value for code in codes], to_core(properties))

    def _on_unsubscribe(
        self, _client: Client, _userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        self._report(self._backend._unsuback, mid, [code.value for code in codes], to_core(properties))

    def _report(self, report: Callable[..., None], *args: Any, **named: Any) -> None:
        try:
            report(*args, **named)
        except Exception:  # the connection must live on
            log.exception("%s: could not take a report from paho", self._backend.name)
