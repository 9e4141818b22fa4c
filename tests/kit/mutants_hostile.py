"""Mutants that a hostile broker can crash, hang, fool or exhaust; see mutants.py."""

from __future__ import annotations

from mutants import mutant
from toy import JToy

from juham_core.errors import MalformedPacketError
from juham_core.message import MqttMsg
from juham_core.wire import Decoder, packets
from juham_core.wire.reasons import PACKET_TOO_LARGE


class _DiesOf(JToy):
    """A toy whose reading thread ends, without a word, on what it did not expect."""

    unexpected = ()

    def _read(self, sock):
        decoder = Decoder(self._protocol, max_packet_size=self._attempted.largest_packet)
        try:
            while self._step(sock, decoder):
                pass
        except self.unexpected:
            return
        except (OSError, MalformedPacketError) as exc:
            self._ended(sock, exc)
            return
        self._ended(sock, None)

    def _check_answers(self, now):
        """It trusts its broker, and waits for ever."""


@mutant("hostile.garbage", "stops reading at the first malformed packet, and stays")
class JDiesOfGarbage(_DiesOf):
    unexpected = MalformedPacketError


@mutant("hostile.packets", "stops reading at a packet that it knows nothing of")
class JDiesOfTheUnknown(JDiesOfGarbage):
    pass


@mutant("hostile.reason_codes", "stops reading at a reason code that it knows nothing of")
class JDiesOfReasons(JDiesOfGarbage):
    pass


@mutant("hostile.garbage_for_connack", "waits for CONNACK for ever, whatever comes in its place")
class JPatientWithGarbage(JDiesOfGarbage):
    def _attempt(self, server):
        self._options = self._options.changed(connect_timeout=1000)
        super()._attempt(server)


@mutant("hostile.endless_connack", "waits for as long as something comes")
class JWaitsWhileItDrips(JToy):
    def _attempt(self, server):
        self._options = self._options.changed(connect_timeout=1000)
        super()._attempt(server)


@mutant("hostile.refusal_unknown", "takes a refusal that it does not know for a yes")
class JTakesNoForYes(JToy):
    def _connack(self, session_present, reason_code=0, *args, **more):
        super()._connack(session_present, 0, *args, **more)

    def _read(self, sock):
        data = b""
        while len(data) < 4:
            data += self._receive(sock)
        self._connack(False, 0)


class _Lenient(JToy):
    """A toy that takes PUBLISH apart itself, without looking closely."""

    def _read(self, sock):
        self._arrived = b""
        super()._read(sock)

    def _step(self, sock, decoder):
        data = self._receive(sock)
        if self._protocol == packets.MQTT_5:
            self._look_closely(decoder, data)
            return data != b""
        self._arrived += data
        while self._arrived[1:] and len(self._arrived) >= (end := 2 + self._arrived[1]):  # all here are short
            packet, self._arrived = self._arrived[:end], self._arrived[end:]
            size = int.from_bytes(packet[2:4], "big")
            topic = packet[4 : 4 + size].decode(errors="replace")
            if packet[:1] == b"\x30" and not self._knows(topic):
                self._delivery.received(MqttMsg(topic, packet[4 + size :], 0, False))
            else:
                self._look_closely(decoder, packet)
        return data != b""

    def _look_closely(self, decoder, data):
        decoder.feed(data)
        for packet in decoder.packets():
            handler = self._HANDLERS.get(type(packet))
            if handler is not None:
                handler(self, packet)

    def _knows(self, topic):
        return topic.startswith("juham/")


@mutant("hostile.text", "delivers what is no text as if it were")
class JReplacesErrors(_Lenient):
    pass


@mutant("hostile.topic", "delivers a message whose topic is a filter")
class JDeliversFilters(_Lenient):
    pass


@mutant("hostile.unknown_identifiers", "dies of an answer to what it never asked")
class JDiesOfAnswers(JToy):
    def _on_answer(self, packet):
        if packet.packet_id == 0x7777:
            raise MalformedPacketError("never asked")
        super()._on_answer(packet)

    def _ended(self, sock, error):
        if not isinstance(error, MalformedPacketError):
            super()._ended(sock, error)

    def _check_answers(self, now):
        """It trusts its broker, and waits for ever."""


@mutant("hostile.pubrec_flood", "keeps 4 kB for every PUBREC")
class JRemembersAll(JToy):
    def _on_answer(self, packet):
        self.__dict__.setdefault("kept", []).append(b"x" * 4096 + packet.packet_id.to_bytes(2, "big"))
        super()._on_answer(packet)


@mutant("hostile.suback_count", "ignores a SUBACK that does not fit, and waits on")
class JWaitsForFittingSuback(JToy):
    def _suback(self, key, codes, *args):
        if len(codes) == 1:
            super()._suback(key, codes, *args)

    def _check_answers(self, now):
        """It trusts its broker, and waits for ever."""


@mutant("hostile.topic_alias", "makes up a topic for an alias that was never set")
class JMakesUpTopics(JToy):
    def _received(self, topic, *args, **more):
        properties = more.pop("properties", None)
        if not topic:
            topic = "made/up"
        super()._received(topic, *args, properties=properties if topic != "made/up" else None, **more)


@mutant("hostile.connack_values", "believes a broker that takes no packet at all")
class JBelievesZero(JToy):
    mute = False

    def _ended(self, sock, error):
        self.mute = isinstance(error, MalformedPacketError) and not self.is_connected()
        if self.mute:
            self._connack(False)
        else:
            super()._ended(sock, error)

    def _send(self, packet):
        if not self.mute:
            super()._send(packet)

    def _check_answers(self, now):
        """It trusts its broker, and waits for ever."""


@mutant("hostile.announced", "makes room for all that is announced")
class JMakesRoom(JToy):
    def _receive(self, sock):
        data = super()._receive(sock)
        if data.startswith(b"\x30\xff\xff\xff\x7f"):
            self.room = b"\1" * (256 * 1024 * 1024)
        return data


@mutant("hostile.too_large", "takes packets of any size")
class JUnlimited(JToy):
    def _attempt(self, server):
        self._options = self._options.changed(max_packet_size=None)
        super()._attempt(server)


@mutant("hostile.just_large_enough", "counts the payload alone")
class JCountsPayloads(JUnlimited):
    def _received(self, topic, payload, *rest):
        if len(payload) > 10_000:
            raise MalformedPacketError("too large", reason_code=PACKET_TOO_LARGE)
        super()._received(topic, payload, *rest)


@mutant("hostile.too_large_memory", "gathers a packet before it looks how large that is")
class JGathers(JToy):
    def _attempt(self, server):
        self._options = self._options.changed(max_packet_size=268_435_460)
        super()._attempt(server)

    def _received(self, topic, payload, *rest):
        if len(payload) > 33_000_000:
            raise MalformedPacketError("too large", reason_code=PACKET_TOO_LARGE)
        super()._received(topic, payload, *rest)


@mutant("hostile.too_large_announced", "waits for the end of a packet that is too large")
class JGathersWhatIsAnnounced(JGathers):
    pass


@mutant("hostile.too_large_by_default", "takes whatever MQTT can frame")
class JTakesWhatMqttFrames(JToy):
    def _attempt(self, server):
        self._options = self._options.changed(max_packet_size=268_435_460)
        super()._attempt(server)


@mutant("hostile.limit_announced", "does not tell the broker of its limit")
class JSilentAboutLimits(JToy):
    def _open(self, options):
        super()._open(options.changed(properties={}))
