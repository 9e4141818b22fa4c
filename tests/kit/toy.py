"""JToy: a correct backend in a page, on the core's own codec. The kit must find no fault with it.

It is the base of the mutants, each of which breaks one rule; hence its small methods.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from functools import partial
from typing import ClassVar

from juham_core.capabilities import Capabilities
from juham_core.dial import dial
from juham_core.errors import MalformedPacketError, NotConnectedError, QueueFullError
from juham_core.jmqtt import JMqtt
from juham_core.subscribing import properties_of
from juham_core.wire import MQTT_5, Connect, Decoder, Properties, encode, packets
from juham_core.wire.exchanges import Exchanges, Finished

BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
STUCK = 5.0
PATIENT = 0.5
FAREWELL = 1.0


class JToy(JMqtt):
    """A socket, and a thread that reads it."""

    capabilities = Capabilities(
        mqtt_311=True,
        mqtt_5=True,
        qos_2=True,
        tcp=True,
        tls=True,
        bind_address=True,
        persistent_session=True,
        shared_subscriptions=True,
        manual_ack=True,
        dup_and_mid=True,
        packet_limit=True,
        early_packet_limit=True,
    )

    def _set_up(self, name):
        super()._set_up(name)
        self._exchanges = Exchanges()
        self._state = threading.Lock()  # of the exchanges
        self._turn = threading.Lock()  # to write: packets must not mix
        self._use = threading.Lock()  # of the socket: TLS does not like two threads at once
        self._sock = None
        self._reader = None

    # --- the primitives -----------------------------------------------------------------------------

    def _open(self, options):
        deadline = time.monotonic() + options.connect_timeout
        sock = dial(options.host, options.effective_port, options.bind_address, deadline, self._dialling)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            context = options.make_ssl_context()
            if context is not None:
                sock = context.wrap_socket(
                    sock, server_hostname=options.host, do_handshake_on_connect=False
                )
                self._dialling.waits_for(sock)
                sock.do_handshake()
        except BaseException:
            self._dialling.over()
            sock.close()
            raise
        sock.setblocking(False)
        self._protocol = options.protocol
        self._keepalive = options.keepalive
        self._manual = options.manual_ack
        self._pinged_at = time.monotonic()
        self._unanswered = 0
        self._sock = sock
        self._send(self._make_connect(options))
        self._reader = threading.Thread(target=self._read, args=(sock,), name="toy-reader", daemon=True)
        self._reader.start()

    def _make_connect(self, options):
        properties = Properties(options.properties)
        if options.protocol == MQTT_5 and options.effective_session_expiry:
            properties["session_expiry_interval"] = options.effective_session_expiry
        return Connect(
            options.client_id,
            options.clean_start,
            options.keepalive,
            options.username,
            options.password_bytes,
            options.will,
            options.protocol,
            properties,
        )

    def _close(self, deliberate):
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if deliberate:
            with contextlib.suppress(OSError):
                self._write(sock, packets.Disconnect())
                self._reader.join(FAREWELL)  # the broker closes; closing first could outrun the DISCONNECT
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        if self._reader is not None:
            self._reader.join()
            self._reader = None
        sock.close()

    def _publish(self, message):
        properties = message.properties if self._protocol == MQTT_5 else Properties()
        packet = packets.Publish(
            message.topic, message.payload, message.qos, message.retain, properties=properties
        )
        if self._sock is None:
            raise NotConnectedError("there is no connection")
        key = 0
        if message.qos:
            with self._state:
                packet.dup = self._sent_before
                key = self._exchanges.start(packet, self._wanted_id)
        elif not select.select([], [self._sock], [], PATIENT)[1]:
            raise QueueFullError("the broker does not read: the message was not accepted")
        self._send(packet)
        return key

    def _pubrel(self, key, message):
        with self._state:
            release = self._exchanges.release(key)
        self._send(release)

    def _subscribe(self, subscriptions):
        with self._state:
            key = self._exchanges.take_id()
        self._send(packets.Subscribe(key, subscriptions, properties_of(subscriptions)))
        return key

    def _unsubscribe(self, topic_filters):
        with self._state:
            key = self._exchanges.take_id()
        self._send(packets.Unsubscribe(key, topic_filters))
        return key

    def _ack(self, mid, qos):
        with contextlib.suppress(NotConnectedError):  # the broker will send the message again
            self._send(packets.Puback(mid) if qos == 1 else packets.Pubrec(mid))

    # --- writing ------------------------------------------------------------------------------------

    def _send(self, packet):
        sock = self._sock
        try:
            if sock is None:
                raise NotConnectedError("there is no connection")
            self._write(sock, packet)
        except OSError as exc:
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # the reader finds out, and reports
            if getattr(packet, "qos", 0) == 0:
                raise NotConnectedError(str(exc)) from exc
            # What is kept by the exchanges goes with the next connection.

    def _write(self, sock, packet):
        left = memoryview(encode(packet, self._protocol))
        with self._turn:
            while left:
                with self._use, contextlib.suppress(*BLOCKED):
                    left = left[sock.send(left) :]
                    continue
                if not select.select([], [sock], [], STUCK)[1]:
                    raise TimeoutError("the broker does not read")

    # --- reading ------------------------------------------------------------------------------------

    def _read(self, sock):
        decoder = Decoder(self._protocol, max_packet_size=self._attempted.largest_packet)
        error = None
        try:
            while self._step(sock, decoder):
                pass
        except MalformedPacketError as exc:
            error = exc
            if self._protocol == MQTT_5:
                with contextlib.suppress(OSError):
                    self._write(sock, packets.Disconnect(exc.reason_code))
        except OSError as exc:
            error = exc
        self._ended(sock, error)

    def _ended(self, sock, error):
        if sock is self._sock:  # else it is being closed, or the broker has said goodbye
            self._lost(error)

    def _step(self, sock, decoder):
        """Take in what comes next; False at the end."""
        data = self._receive(sock)
        decoder.feed(data)
        for packet in decoder.packets():
            handler = self._HANDLERS.get(type(packet))
            if handler is None:
                raise MalformedPacketError(f"a broker sends no {packet.kind}", reason_code=0x82)
            handler(self, packet)
        return data != b""

    def _receive(self, sock):
        """The next bytes, b"" at the end; sends PINGREQ twice in a keepalive, and misses the answer."""
        while True:
            with self._use:
                try:
                    data = sock.recv(1 << 18)
                except BLOCKED:
                    pass
                else:
                    self._unanswered = 0
                    return data
            pause = self._keepalive / 2
            due = self._pinged_at + pause - time.monotonic()
            if pause and due <= 0:
                if self._unanswered > 1:
                    raise TimeoutError("the broker has not answered PINGREQ")
                self._unanswered += 1
                self._pinged_at = time.monotonic()
                self._ping(sock)
            else:
                select.select([sock], [], [], due if pause else None)

    def _ping(self, sock):
        self._write(sock, packets.Pingreq())

    def _on_connack(self, packet):
        self._keepalive = packet.properties.get("server_keep_alive", self._keepalive)
        with self._state:
            if not packet.session_present:
                self._exchanges.forget()
            unanswered = self._exchanges.resume() if packet.session_present else []
        for each in unanswered:
            self._send(each)
        self._connack(
            packet.session_present, packet.reason_code, packet.properties, resent=packet.session_present
        )

    def _on_publish_packet(self, packet):
        with self._state:
            is_new = self._exchanges.is_new(packet)
        if is_new:
            self._received(
                packet.topic,
                packet.payload,
                packet.qos,
                packet.retain,
                packet.dup,
                packet.packet_id,
                packet.properties,
            )
        if packet.qos and not self._manual:
            self._delivery.after(partial(self._ack, packet.packet_id, packet.qos))

    def _on_pubrel(self, packet):
        with self._state:
            answer = self._exchanges.released(packet)
        self._send(answer)

    def _on_answer(self, packet):
        taken = isinstance(packet, packets.Pubrec) and packet.reason_code < 0x80
        if taken and not self._pubrec(packet.packet_id):
            return
        with self._state:
            result = self._exchanges.answered(packet)
        if isinstance(result, Finished):
            self._acknowledged(result.packet_id, result.reason_code, result.properties)
        elif result is not None:
            self._send(result)

    def _on_suback(self, packet):
        with self._state:
            self._exchanges.free_id(packet.packet_id)
        self._suback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_unsuback(self, packet):
        with self._state:
            self._exchanges.free_id(packet.packet_id)
        self._unsuback(packet.packet_id, packet.reason_codes, packet.properties)

    def _on_disconnect_packet(self, packet):
        self._lost(None, packet.reason_code, packet.properties, from_server=True)

    _HANDLERS: ClassVar = {  # each goes by name, so that a mutant can override the method
        packets.Connack: lambda self, packet: self._on_connack(packet),
        packets.Publish: lambda self, packet: self._on_publish_packet(packet),
        packets.Pubrel: lambda self, packet: self._on_pubrel(packet),
        packets.Puback: lambda self, packet: self._on_answer(packet),
        packets.Pubrec: lambda self, packet: self._on_answer(packet),
        packets.Pubcomp: lambda self, packet: self._on_answer(packet),
        packets.Suback: lambda self, packet: self._on_suback(packet),
        packets.Unsuback: lambda self, packet: self._on_unsuback(packet),
        packets.Pingresp: lambda self, packet: None,
        packets.Disconnect: lambda self, packet: self._on_disconnect_packet(packet),
    }
