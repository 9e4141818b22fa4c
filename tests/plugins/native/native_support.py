"""What the tests of the native backend share: a protocol without I/O, quick clients, and a scripted peer."""

import socket

from clients import SECONDS, clients_of
from juham_native import JNative
from juham_native.protocol import MqttProtocol
from juham_native.session import Session

from juham_core.errors import MalformedPacketError
from juham_core.options import Options
from juham_core.wire import Connack, Connect, Decoder, Pingreq, Pingresp, encode


class Reports:
    """What a protocol reports, written down; acts like a client that handles nothing until it is told to."""

    def __init__(self, room=1 << 20):
        self.log = []
        self.room = room
        self.releases = True
        self.later = []

    def messages(self):
        return [entry[1] for entry in self.log if entry[0] == "message"]

    def _connack(self, session_present, reason_code, properties, *, resent=False):
        self.log.append(("connack", session_present, reason_code, dict(properties), resent))

    def _received_many(self, messages):
        for m in messages:
            self.log.append(
                ("message", (m.topic, m.payload, m.qos, m.retain, m.dup, m.mid, dict(m.properties)))
            )

    def _acknowledged_many(self, keys):
        self.log += [("acknowledged", key, 0, {}) for key in keys]

    def _acknowledged(self, key, reason_code, properties):
        self.log.append(("acknowledged", key, reason_code, dict(properties)))

    def _suback(self, key, reason_codes, properties):
        self.log.append(("suback", key, reason_codes, dict(properties)))

    def _unsuback(self, key, reason_codes, properties):
        self.log.append(("unsuback", key, reason_codes, dict(properties)))

    def _pubrec(self, key):
        return self.releases

    def _said_goodbye(self, packet):
        self.log.append(("goodbye", packet.reason_code, dict(packet.properties)))

    def _is_overfull(self):
        return False

    def _has_room(self, count):
        return count <= self.room

    def _after_handlers(self, function):
        self.later.append(function)


class Conversation:
    """A protocol, what it reported, and the bytes it sent."""

    def __init__(self, protocol=4, session=None, accepted=True, room=1 << 20, **options):
        self.options = Options(client_id="native-test", protocol=protocol, **options)
        self.session = session or Session(self.options)
        self.reports = Reports(room)
        self.sent = []
        self.protocol = MqttProtocol(
            self.options, self.session, self.reports, lambda package, **_: self.sent.append(package)
        )
        if accepted:
            self.feed(encode(Connack(), protocol))
            self.reports.log.clear()

    def feed(self, *pieces):
        """Feed bytes until the protocol has had enough; the error that it raised, if any."""
        for piece in pieces:
            try:
                self.protocol.receive(piece)
            except MalformedPacketError as exc:
                return exc
            if self.protocol.ended:
                break
        return None

    def packets(self):
        """What was sent, read by the core's decoder."""
        decoder = Decoder(self.options.protocol)
        decoder.feed(b"".join(self.sent))
        self.sent.clear()
        return list(decoder.packets())


client, connected = clients_of(JNative, "native-test")


class Peer:
    """A broker that does what the test says, packet by packet."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(SECONDS)
        self.port = self.listener.getsockname()[1]
        self.sock = None

    def accept(self, **connack):
        """Take the next connection and answer its CONNECT; return that."""
        self.cut()
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(SECONDS)
        self._decoder = Decoder()
        self._packets = []
        connect = self.expect(Connect)
        self.protocol = connect.protocol
        self.send(Connack(**connack))
        return connect

    def read(self, *, pings=False):
        """The next packet, pings answered and left out unless asked for; None at the end."""
        while True:
            while not self._packets:
                data = self.sock.recv(65536)
                if not data:
                    return None
                self._decoder.feed(data)
                self._packets += self._decoder.packets()
            packet = self._packets.pop(0)
            if pings or not isinstance(packet, Pingreq):
                return packet
            self.send(Pingresp())

    def expect(self, kind):
        packet = self.read()
        assert isinstance(packet, kind), packet
        return packet

    def send(self, *packets):
        self.sock.sendall(b"".join(encode(packet, self.protocol) for packet in packets))

    def cut(self):
        if self.sock is not None:
            self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        self.listener.close()
