"""paho's client with a faster network loop: many packets to a read, to a write and to a wake-up.

paho reads a packet in three system calls, and wakes its thread and writes once for each that goes out. Here
what has arrived is read at once and taken apart in memory, what waits is written together, and who queues a
packet wakes the thread only if nobody has. So TCP_NODELAY can be set, without which small packets wait for
the other side's delayed acknowledgements. All that a packet means is still paho's to know.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MessageType, MQTTErrorCode, _ConnectionState
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket  # type: ignore[attr-defined, unused-ignore]  # it moved
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from juham_core.errors import MalformedPacketError
from juham_core.locks import TryLock
from juham_core.wire.reasons import PACKET_TOO_LARGE

CHUNK: Final = 65_536
"""Bytes that are read, or written, at once."""
MOST_READ: Final = 262_144
"""Bytes that are read at once of a packet that is larger."""
PAUSE: Final = 0.05
"""Seconds after which reading makes room for writing and keepalive, and writing for reading."""

SUCCESS: Final = MQTTErrorCode.MQTT_ERR_SUCCESS
AGAIN: Final = MQTTErrorCode.MQTT_ERR_AGAIN
LOST: Final = MQTTErrorCode.MQTT_ERR_CONN_LOST
PROTOCOL: Final = MQTTErrorCode.MQTT_ERR_PROTOCOL
LEAVING: Final = (_ConnectionState.MQTT_CS_DISCONNECTING, _ConnectionState.MQTT_CS_DISCONNECTED)
PUBLISH: Final = int(MessageType.PUBLISH)
DISCONNECT: Final = int(MessageType.DISCONNECT)
LONGEST: Final = 268_000_000
"""Bytes of payload past which paho is asked whether the packet is too large."""


class FastClient(Client):
    """A ``paho.mqtt.client.Client`` to whoever uses it, whichever of its loops runs.

    Its methods name paho's class instead of ``super()``: they are lent to JPaho2, whose base is that class.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        """See ``paho.mqtt.client.Client``."""
        self._inbox = bytearray()
        self._wanted = 2  # what the inbox must hold before it is worth a look
        self._unfinished = False
        self._reader = 0  # the thread inside loop_read
        self._woken: Any = None  # the pair of sockets through which the loop has been woken
        self._writing = TryLock()
        self._sent: deque[Any] = deque()
        self._resident: Any = None  # in the place of a thread, where the client lives in an event loop
        self._held = False  # nothing is read, or handled that has been, until the handlers have caught up
        self._drained = False  # the last read has left nothing
        Client.__init__(self, *args, **named)
        self._heard = "_last_bytes_received" if hasattr(self, "_last_bytes_received") else "_last_msg_in"

    # --- the socket -----------------------------------------------------------------------------------

    def _create_socket_connection(self) -> socket.socket:
        sock: socket.socket = Client._create_socket_connection(self)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _sock_close(self) -> None:
        self._inbox = bytearray()
        self._wanted = 2
        self._unfinished = False
        self._held = False
        self._woken = None
        Client._sock_close(self)

    # --- reading --------------------------------------------------------------------------------------

    def _loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        if self._unfinished:  # a handler had raised: nothing more need arrive for the rest to be handled
            rc = self.loop_read()
            if rc or self._sock is None:
                return rc
        return Client._loop(self, timeout)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what has arrived and handle it; see ``paho.mqtt.client.Client.loop_read``."""
        del max_packets  # paho pays no attention to it either
        sock = self._sock
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        rc = SUCCESS
        self._reader = threading.get_ident()
        try:
            rc = self._read(sock)
        finally:
            self._reader = 0
            if rc == SUCCESS and self._out_packet and self._sock is sock:
                self._flush()
        if rc != SUCCESS and self._sock is sock:
            return self._loop_rc_handle(rc)
        return rc

    def loop_misc(self) -> MQTTErrorCode:
        """See ``paho.mqtt.client.Client.loop_misc``."""
        if self._unfinished and not self._held:  # an external loop has nothing else to call
            rc = self.loop_read()
            if rc:
                return rc
        return Client.loop_misc(self)

    def _read(self, sock: Any) -> MQTTErrorCode:
        """Read and handle until what is left can be seen from outside, by select()."""
        if self._unfinished:
            rc = self._take(b"", sock)
            if rc or self._sock is not sock or self._held:
                return rc
        pending = getattr(sock, "pending", None)  # TLS and websockets keep back what they have read
        until = time.monotonic() + PAUSE if self._transport == "websockets" else 0.0
        while True:
            try:
                data = self._sock_recv(max(CHUNK, min(MOST_READ, self._wanted - len(self._inbox))))
            except BlockingIOError:
                if pending is not None and pending():
                    continue
                return SUCCESS
            except OSError as exc:
                self._easy_log(LogLevel.MQTT_LOG_ERR, "failed to receive on socket: %s", exc)
                return LOST
            if not data:
                return LOST
            self._note_heard()
            self._drained = pending is None and len(data) < CHUNK
            rc = self._take(data, sock)
            if rc or self._sock is not sock or self._held:
                return rc
            if not (pending is not None and pending()) and time.monotonic() >= until:
                return SUCCESS

    def _take(self, data: bytes | bytearray, sock: Any) -> MQTTErrorCode:
        """Handle the packets that are complete now, and keep the rest."""
        if self._inbox:
            self._inbox += data
            data = self._inbox
        packet: Any = self._in_packet
        rc, at, end = SUCCESS, 0, len(data)
        due = time.monotonic() + PAUSE
        self._unfinished = True
        try:
            while end - at >= self._wanted:
                start, size = at + 2, data[at + 1]
                if size > 127:
                    start, size = _remaining_length(data, at + 1, end)
                    self._check_size(start - at + size)
                stop = start + size
                if stop > end:
                    self._wanted = stop - at
                    break
                self._wanted = 2
                packet["command"], packet["remaining_length"] = data[at], size
                packet["packet"] = data[start:stop]
                rc = self._packet_handle()
                if self._held:  # this packet waits, too
                    break
                at = stop
                if time.monotonic() > due and rc == SUCCESS:
                    rc = self._pause()
                    due = time.monotonic() + PAUSE
                if rc != SUCCESS or self._sock is not sock or self._state in LEAVING:
                    break
            self._unfinished = self._held
        except MalformedPacket as exc:
            self._easy_log(LogLevel.MQTT_LOG_DEBUG, "Received malformed packet: %s", exc)
            rc = PROTOCOL
        finally:
            if self._sock is sock:
                self._keep(data, at)
        packet["packet"] = b""
        return rc

    def _check_size(self, size: int) -> None:
        """Raise if a packet is larger than JMqtt, which sets the bound, takes."""
        most = getattr(self, "_largest_packet", size)
        if size > most:
            raise MalformedPacketError(
                f"a packet of {size:,} bytes; max_packet_size={most:,} is the most that is taken",
                reason_code=PACKET_TOO_LARGE,
            )

    def _keep(self, data: bytes | bytearray, at: int) -> None:
        """Keep what has not been handled for the next time."""
        if data is self._inbox:
            del self._inbox[:at]  # a large packet that grows is not copied each time
        else:
            self._inbox += memoryview(data)[at:]

    def _pause(self) -> MQTTErrorCode:
        """Amid much to be handled: look after keepalive, and send what there is to send."""
        self._note_heard()
        rc = Client.loop_misc(self)
        if rc == SUCCESS and self._sock is not None:
            self._flush()
        return rc

    def _note_heard(self) -> None:
        with self._msgtime_mutex:
            setattr(self, self._heard, time.monotonic())

    # --- writing --------------------------------------------------------------------------------------

    def _packet_queue(
        self,
        command: int,
        packet: bytes | bytearray,
        mid: int,
        qos: int,
        info: Any = None,
    ) -> MQTTErrorCode:
        self._out_packet.append(
            {
                "command": command,
                "mid": mid,
                "qos": qos,
                "pos": 0,
                "to_process": len(packet),
                "packet": packet,
                "info": info,
            }
        )
        thread = threading.get_ident()
        if self._reader == thread:
            return SUCCESS  # loop_read sends it, with whatever else comes of what has arrived
        if self._resident is not None:
            return SUCCESS if self._resident.write_soon(thread) else MQTTErrorCode.MQTT_ERR_NO_CONN
        return self._have_written()

    def _have_written(self) -> MQTTErrorCode:
        """Have paho's thread write what waits, or the external loop, or do it here if there is neither."""
        wake = self._sockpairW
        # Whoever was told clears this before it looks at what waits: see _packet_write.
        if wake is not None and self._woken is not wake:
            self._woken = wake
            with contextlib.suppress(BlockingIOError):
                wake.send(b"0")
        if self._thread is None and self._on_socket_register_write is None:
            if not self._in_callback_mutex.locked():
                return self.loop_write()
        elif self._on_socket_register_write is not None:
            self._call_socket_register_write()
        return SUCCESS

    def _flush(self) -> None:
        """After reading: send what it has brought about, or have the external loop do so."""
        if self._on_socket_register_write is not None and self._resident is None:
            self._call_socket_register_write()
        else:
            self.loop_write()

    def _packet_write(self) -> MQTTErrorCode:
        """Send what waits: by one thread at a time, which looks again once others may."""
        self._woken = None
        self._complete()
        bounded = self._thread is not None or self._resident is not None
        until = time.monotonic() + PAUSE if bounded else float("inf")
        rc = SUCCESS
        while self._out_packet and self._sock is not None and rc == SUCCESS:
            if not self._writing.taken:
                return SUCCESS
            try:
                self._woken = None
                rc = self._send_chunk()
            finally:
                self._writing.release()
            self._complete()
            if time.monotonic() > until:
                break
        with self._msgtime_mutex:
            self._last_msg_out = time.monotonic()
        return rc

    def _take_out(self) -> tuple[deque[Any], list[Any]]:
        """Take packets out of the line for one piece, and what is to be sent of each: DISCONNECT last."""
        waiting = self._out_packet
        batch: deque[Any] = deque()
        parts: list[Any] = []
        size = 0
        while waiting and size < CHUNK:
            packet = waiting.popleft()
            batch.append(packet)
            piece: Any = packet["packet"]
            if packet["pos"]:
                piece = memoryview(piece)[packet["pos"] :]
            parts.append(piece)
            size += len(piece)
            if packet["command"] & 0xF0 == DISCONNECT:
                break
        return batch, parts

    def _send_chunk(self) -> MQTTErrorCode:
        """Send some of the packets that wait, in one piece; put back what the system did not take."""
        waiting = self._out_packet
        batch, parts = self._take_out()
        if not parts:
            return AGAIN
        try:
            sent = self._sock_send(parts[0] if len(parts) == 1 else b"".join(parts))
        except BlockingIOError:
            waiting.extendleft(reversed(batch))
            return AGAIN
        except (AttributeError, ValueError):  # closed by another thread
            waiting.extendleft(reversed(batch))
            return SUCCESS
        except OSError as exc:
            waiting.extendleft(reversed(batch))
            self._easy_log(LogLevel.MQTT_LOG_ERR, "failed to send on socket: %s", exc)
            return LOST
        left = sent
        while batch and left >= batch[0]["to_process"]:
            packet = batch.popleft()
            left -= packet["to_process"]
            self._sent.append(packet)
        if batch:
            batch[0]["pos"] += left
            batch[0]["to_process"] -= left
            waiting.extendleft(reversed(batch))
        return SUCCESS if sent else AGAIN

    def _complete(self) -> None:
        """Tell those concerned that their packets have been sent."""
        while True:
            try:
                packet = self._sent.popleft()
            except IndexError:
                return
            kind = packet["command"] & 0xF0
            if kind == PUBLISH and packet["qos"] == 0:
                self._tell_published(packet)
            elif kind == DISCONNECT:
                self._do_on_disconnect(packet_from_broker=False, v1_rc=SUCCESS)
                self._sock_close()
                if self._state is _ConnectionState.MQTT_CS_DISCONNECTING:
                    self._state = _ConnectionState.MQTT_CS_DISCONNECTED

    def _tell_published(self, packet: Any) -> None:
        if self._on_publish is not None:
            with self._callback_mutex:
                on_publish: Any = self.on_publish
            if on_publish:
                arguments: tuple[Any, ...] = (packet["mid"],)
                if self._callback_api_version is not CallbackAPIVersion.VERSION1:
                    kind = PacketTypes.PUBACK
                    arguments = (packet["mid"], ReasonCode(kind), PahoProperties(kind))  # type: ignore[no-untyped-call]  # paho leaves it so
                with self._in_callback_mutex:
                    try:
                        on_publish(self, self._userdata, *arguments)
                    except Exception as exc:
                        self._easy_log(LogLevel.MQTT_LOG_ERR, "Caught exception in on_publish: %s", exc)
                        if not self.suppress_exceptions:
                            raise
        if packet["info"] is not None:
            packet["info"]._set_as_published()

    def _send_publish(
        self,
        mid: int,
        topic: bytes,
        payload: bytes | bytearray = b"",
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        info: Any = None,
        properties: PahoProperties | None = None,
    ) -> MQTTErrorCode:
        plain = type(topic) is bytes and type(payload) is bytes and len(payload) < LONGEST
        if not plain or self._logger is not None or self._on_log is not None:
            return Client._send_publish(self, mid, topic, payload, qos, retain, dup, info, properties)
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        head = len(topic).to_bytes(2, "big") + topic
        if qos:
            head += mid.to_bytes(2, "big")
        if self._protocol == MQTTv5:
            head += b"\0" if properties is None else properties.pack()  # type: ignore[no-untyped-call]  # as above
        first = PUBLISH | bool(dup) << 3 | qos << 1 | bool(retain)
        packet = b"".join((_fixed_header(first, len(head) + len(payload)), head, payload))
        return self._packet_queue(PUBLISH, packet, mid, qos, info)


def _fixed_header(first: int, size: int) -> bytearray:
    """The first byte of a packet and its remaining length (MQTT 5 section 2.1)."""
    header = bytearray((first,))
    while size > 127:
        header.append(size & 127 | 128)
        size >>= 7
    header.append(size)
    return header


def _remaining_length(data: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    """Where a packet goes on after its remaining length, and that length; past the end if it is cut off."""
    size = 0
    for position in range(at, min(at + 4, end)):
        byte = data[position]
        size |= (byte & 127) << 7 * (position - at)
        if byte < 128:
            return position + 1, size
    if end - at >= 4:
        raise MalformedPacket("the remaining length has more than four bytes")
    return end, 1
