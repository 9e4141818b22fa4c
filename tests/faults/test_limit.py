"""What Mosquitto does under MQTT 3.1.1 with a message beyond its limit: it acknowledges and drops it."""

import subprocess

import pytest
import tables
from brokers import FOUND
from conftest import is_long

from juham_core import Options
from juham_core.testing.observer import SocketObserver
from juham_core.wire import Pubcomp, Publish, Pubrec, Pubrel, encode

LIMIT = 20
"""What Mosquitto calls max_inflight_messages, by default."""


class Talk:
    """A client that says what it is told to, and keeps what both sides said about one message."""

    def __init__(self, where, packet_id):
        self._where = where
        self._watched = packet_id
        self.lines = []

    def connect(self):
        self._observer = SocketObserver(*self._where, client_id="talk", clean_start=False)
        connack = self._observer.connack
        self.lines.append(f"< CONNACK session_present={int(connack.session_present)}")

    def say(self, *packets):
        for packet in packets:
            self._note(">", packet)
        self._observer._socket.sendall(b"".join(encode(packet, 4) for packet in packets))

    def hear(self, kind, count):
        """The next packets of this kind; fewer if the broker ends the connection."""
        heard = []
        try:
            while len(heard) < count:
                for packet in self._observer._read(5):
                    if isinstance(packet, kind):
                        heard.append(packet)
                        self._note("<", packet)
        except (AssertionError, OSError):
            self.lines.append("< the broker ends the connection")
            self._observer.vanish()
        return [packet.packet_id for packet in heard]

    def close(self):
        self._observer.close()

    def _note(self, direction, packet):
        if packet.packet_id == self._watched:
            what = f"{packet.kind.upper()} id={packet.packet_id}"
            if isinstance(packet, Publish):
                what += f" qos={packet.qos} payload={packet.payload.decode()!r}"
            self.lines.append(f"{direction} {what}")


def version():
    done = subprocess.run([FOUND, "-h"], capture_output=True, text=True, check=False)
    return done.stdout.split()[2]


def test_mosquitto_acknowledges_what_it_drops_beyond_its_limit(limited, topic, request):
    if version() != "2.0.11":
        pytest.skip(f"this is what Mosquitto 2.0.11 does, and here is {version()}")
    talk = Talk(limited.where, LIMIT + 1)
    with SocketObserver(*limited.where) as witness:
        witness.subscribe(topic, qos=2)
        talk.connect()
        packets = [Publish(topic, b"%d" % number, 2, packet_id=number) for number in range(1, LIMIT + 2)]
        talk.say(*packets[:-1])
        talk.hear(Pubrec, LIMIT)
        talk.say(packets[-1])
        assert talk.hear(Pubrec, 2) == [LIMIT + 1]  # and then it ends the connection
        talk.connect()
        talk.say(*(Pubrel(number) for number in range(1, LIMIT + 2)))
        assert LIMIT + 1 in talk.hear(Pubcomp, LIMIT + 1)
        talk.close()
        arrived = {int(message.payload) for message in witness.drain()}
    assert arrived == set(range(1, LIMIT + 1))
    if is_long(request.config):
        tables.write("wire", ["```text", *talk.lines, "```"])


def test_the_window_of_a_client_is_within_it():
    assert Options().max_inflight <= LIMIT
