"""A client that shares nothing with any backend: bare packets, to see what a broker really gets and gives."""

from __future__ import annotations

import itertools
import queue
import secrets
import socket
import threading

from waiting import PATIENCE

from juham_core.memory import MemoryLink, hub_of
from juham_core.url import parse_url
from juham_core.wire import (
    MQTT_5,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    encode,
)


class Observer:
    """Speaks MQTT 5 to the broker of the URL, and acknowledges what it gets."""

    def __init__(self, url):
        options = parse_url(url)[1]
        self.messages: queue.SimpleQueue[Publish] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        way = _InProcess if options["transport"] == "memory" else _Socket
        self._way = way(options, self._take)
        self._say(Connect(client_id=f"observer-{secrets.token_hex(6)}", keepalive=0, protocol=MQTT_5))
        self._answer(Connack)

    def subscribe(self, topic_filter, qos=2, **options):
        self._say(Subscribe(next(self._ids), [Subscription(topic_filter, qos, **options)]))
        assert self._answer(Suback).reason_codes == [qos]

    def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        mid = next(self._ids) if qos else 0
        self._say(Publish(topic, payload, qos, retain, packet_id=mid, properties=Properties(properties)))
        if qos == 1:
            self._answer(Puback)
        elif qos == 2:
            self._answer(Pubrec)
            self._say(Pubrel(mid))
            self._answer(Pubcomp)

    def next(self, timeout=PATIENCE):
        """The next message."""
        try:
            return self.messages.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the broker passed nothing on within {timeout} s") from None

    def texts(self, count):
        return [self.next().payload.decode() for _ in range(count)]

    def close(self):
        self._say(Disconnect())
        self._way.close()

    def _say(self, packet):
        self._way.send(packet)

    def _answer(self, kind):
        packet = self._answers.get(timeout=PATIENCE)
        assert isinstance(packet, kind), packet
        return packet

    def _take(self, packet):
        if isinstance(packet, Publish):
            self.messages.put(packet)
            if packet.qos:
                self._say((Puback if packet.qos == 1 else Pubrec)(packet.packet_id))
        elif isinstance(packet, Pubrel):
            self._say(Pubcomp(packet.packet_id))
        elif packet is not None:
            self._answers.put(packet)


class _Socket:
    def __init__(self, options, take):
        self._sock = socket.create_connection((options["host"], options["port"]), PATIENCE)
        self._sock.settimeout(None)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._take = take
        self._leaving = False
        self._thread = threading.Thread(target=self._read, name="observer")
        self._thread.start()

    def _read(self):
        decoder = Decoder(MQTT_5)
        try:
            while data := self._sock.recv(65_536):
                decoder.feed(data)
                for packet in decoder.packets():
                    self._take(packet)
        except OSError:
            if not self._leaving:  # else it answered a broker that had closed already
                raise

    def send(self, packet):
        self._leaving |= isinstance(packet, Disconnect)
        self._sock.sendall(encode(packet, MQTT_5))

    def close(self):
        self._thread.join()  # the broker closes after DISCONNECT
        self._sock.close()


class _InProcess:
    def __init__(self, options, take):
        self._hub = hub_of(options["host"])
        self._link = MemoryLink(take)
        self._joined = False

    def send(self, packet):
        if self._joined:
            self._hub.call(self._link, packet)
        else:
            self._joined = True
            self._hub.connect(self._link, packet)

    def close(self):
        self._hub.leave(self._link, True)
