"""Cases about packets that are too large, or say that they are: neither memory nor the handlers get them."""

from __future__ import annotations

from juham_core.testing.cases.victim import MEGABYTE, Victim, begin, modest, publish
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import MQTT_5

_LARGEST = 268_435_455
"""The largest remaining length (section 2.1.4)."""


class OversizedCases:
    """The subject ``hostile``, as far as sizes are concerned."""

    @case("hostile.announced", on=FAULTS)
    def announced(self, kit: Kit) -> None:
        """A packet of 256 MiB that is announced costs no more than what comes of it."""
        victim = Victim(kit)
        with modest(kit, 32):
            victim.suffers(begin(0x30, _LARGEST) + bytes(MEGABYTE))

    @case("hostile.too_large", on=FAULTS, needs="packet_limit")
    def too_large(self, kit: Kit) -> None:
        """A packet larger than max_packet_size ends the connection, and reaches no handler."""
        victim = Victim(kit, max_packet_size=10_000)
        victim.suffers(publish(kit, b"t", bytes(5_000)))
        assert victim.strange == ["t"]
        victim.strange.clear()
        kit.broker.send(publish(kit, b"t", bytes(10_000)))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        for _ in range(3):
            victim.suffers(publish(kit, b"t", bytes(MEGABYTE)))
        assert victim.strange == [], "a packet that is too large has reached the handler"

    @case("hostile.just_large_enough", on=FAULTS, needs="packet_limit")
    def just_large_enough(self, kit: Kit) -> None:
        """A packet of max_packet_size bytes is delivered, one byte more ends the connection."""
        victim = Victim(kit, max_packet_size=10_000)
        empty = len(publish(kit, b"t", bytes(9_000))) - 9_000
        victim.suffers(publish(kit, b"t", bytes(10_000 - empty)))
        assert victim.strange == ["t"]
        kit.broker.send(publish(kit, b"t", bytes(10_001 - empty)))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        assert victim.strange == ["t"], "a packet that is too large has reached the handler"

    @case("hostile.too_large_announced", on=FAULTS, needs=("packet_limit", "early_packet_limit"))
    def too_large_announced(self, kit: Kit) -> None:
        """A packet larger than max_packet_size ends the connection once its length is known."""
        victim = Victim(kit, max_packet_size=10_000)
        kit.broker.send(begin(0x30, 20_000))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()

    @case("hostile.too_large_memory", on=FAULTS, needs="packet_limit", seconds=60)
    def too_large_memory(self, kit: Kit) -> None:
        """A packet of 256 MiB that comes in full ends the connection, and costs less than 128 MB."""
        victim = Victim(kit)
        with modest(kit, 128):
            kit.broker.send(begin(0x30, _LARGEST))
            kit.broker.pour(bytes(MEGABYTE), 256, connection=1)
            kit.broker.wait_for("lost", connection=1)
            victim.goes_on()

    @case("hostile.too_large_by_default", on=FAULTS, needs=("packet_limit", "early_packet_limit"))
    def too_large_by_default(self, kit: Kit) -> None:
        """A packet of 64 MiB ends the connection where nobody has asked for such; MQTT 5 says so before."""
        victim = Victim(kit)
        kit.broker.send(begin(0x30, 64 * MEGABYTE))
        kit.broker.wait_for("lost", connection=1)
        victim.goes_on()
        if kit.protocol == MQTT_5:
            assert kit.broker.wait_for("connect").properties.maximum_packet_size < 64 * MEGABYTE

    @case("hostile.limit_announced", on=FAULTS, needs=("mqtt_5", "packet_limit"))
    def limit_announced(self, kit: Kit) -> None:
        """The option max_packet_size goes into CONNECT as Maximum Packet Size (section 3.1.2.11.4)."""
        kit.connect(protocol=MQTT_5, max_packet_size=12_345)
        packet = kit.broker.wait_for("connect")
        assert packet.properties.maximum_packet_size == 12_345
