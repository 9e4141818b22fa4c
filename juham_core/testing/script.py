"""The vocabulary in which a fault broker is told to misbehave: which packet, and what then.

``broker.on("publish", nth=3).reset()`` reads as it works. A rule says which packets it is about; the steps
that follow say what happens to them, in order. A step that ends the connection, answers or withholds keeps
the packet from its destination; without such a step it goes its way first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from juham_core.testing.patience import patience
from juham_core.wire import Packet, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback, Unsuback

if TYPE_CHECKING:
    from typing_extensions import Self

_ANSWERS = (Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback)
Anything = Packet | bytes
"""What a script can send: a packet, or bytes that need not be one."""
Where = Callable[[Any], bool]


class Target(Protocol):
    """What the steps of a rule do things to: one connection of the fault broker, in its event loop."""

    def write(self, what: Anything, /) -> None:
        """Send past all rules."""

    def write_part(self, packet: Packet, size: int, /) -> None:
        """Send the first ``size`` bytes of a packet."""

    def reset(self) -> None:
        """End with RST."""

    def hang_up(self) -> None:
        """End with FIN, once all that was written has gone out."""

    def fall_silent(self) -> None:
        """Take no notice of what comes and send nothing from now on, and stay connected."""

    def freeze(self) -> None:
        """Not even read from now on."""

    def stop_reading(self) -> None:
        """Read nothing more, and go on sending."""

    def hold(self, seconds: float | None = None, /) -> Callable[[], None]:
        """Keep back what is sent from now on, for so long or until what it returns is called."""


Step = Callable[[Target, Any], Any]


class Rule:
    """What happens to packets of one kind; made by :meth:`FaultBroker.on` and :meth:`FaultBroker.before`.

    Every step returns the rule, so that steps chain: ``.send(Disconnect(0x8B)).close()``.
    """

    def __init__(
        self, kind: str, *, nth: int | None, connection: int | None, where: Where | None, sent: bool
    ) -> None:
        self.kind = kind
        self.sent = sent
        self._nth = nth
        self._connection = connection
        self._where = where
        self._seen = 0
        self._steps: list[Step] = []
        self._passes = True
        self._happened = threading.Event()
        self._held: list[Callable[[], None]] = []

    # --- steps --------------------------------------------------------------------------------------

    def reset(self) -> Self:
        """End the connection with RST, as a crash or a firewall does; the packet is lost."""
        return self._stop(lambda link, _: link.reset())

    def close(self) -> Self:
        """End the connection with FIN after what was sent; the packet is lost."""
        return self._stop(lambda link, _: link.hang_up())

    def silence(self) -> Self:
        """Leave the connection half-open: nothing is answered any more; the packet is lost."""
        return self._stop(lambda link, _: link.fall_silent())

    def freeze(self) -> Self:
        """Read nothing any more, so that what the client sends piles up on its side; the packet is lost."""
        return self._stop(lambda link, _: link.freeze())

    def ignore(self) -> Self:
        """Read nothing more, as by :meth:`freeze`, but go on sending, until :meth:`FaultBroker.read_on`."""
        return self._then(lambda link, _: link.stop_reading())

    def withhold(self) -> Self:
        """Lose the packet and go on."""
        return self._stop(lambda _link, _: None)

    def answer(self, *packets: Anything) -> Self:
        """Send these in place of what the broker would do.

        Where ``packet_id`` is 0, that of the packet answered is filled in.
        """

        def step(link: Target, packet: Any) -> None:
            for each in packets:
                link.write(_numbered(each, packet))

        return self._stop(step)

    def send(self, *packets: Anything) -> Self:
        """Send these as well."""

        def step(link: Target, packet: Any) -> None:
            for each in packets:
                link.write(_numbered(each, packet))

        return self._then(step)

    def change(self, **fields: Any) -> Self:
        """Send the packet with these fields changed, past all other rules. For :meth:`FaultBroker.before`."""
        return self._stop(lambda link, packet: link.write(replace(packet, **fields)))

    def twice(self) -> Self:
        """Send the packet, and once more with DUP set if it is a PUBLISH. For :meth:`FaultBroker.before`."""

        def step(link: Target, packet: Any) -> None:
            link.write(packet)
            link.write(replace(packet, dup=True) if isinstance(packet, Publish) and packet.qos else packet)

        return self._stop(step)

    def cut(self, after: int) -> Self:
        """Send the first ``after`` bytes of the packet, then RST. For :meth:`FaultBroker.before`."""

        def step(link: Target, packet: Any) -> None:
            link.write_part(packet, after)
            link.reset()

        return self._stop(step)

    def hold(self) -> Self:
        """Keep back the packet (that is sent) and all that is sent after it, until :meth:`release`."""

        def step(link: Target, packet: Any) -> None:
            self._held.append(link.hold())
            if self.sent:
                link.write(packet)

        return self._stop(step) if self.sent else self._then(step)

    def delay(self, seconds: float) -> Self:
        """Keep back the packet (that is sent) and all that is sent after it, for so long."""

        def step(link: Target, packet: Any) -> None:
            link.hold(seconds)
            if self.sent:
                link.write(packet)

        return self._stop(step) if self.sent else self._then(step)

    # --- for the case -------------------------------------------------------------------------------

    def release(self) -> None:
        """Let go of what :meth:`hold` has kept back so far; from any thread."""
        while self._held:
            self._held.pop()()

    @property
    def happened(self) -> bool:
        """True once the rule has applied to a packet."""
        return self._happened.is_set()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the rule has applied; AssertionError after ``timeout`` seconds."""
        timeout = patience() if timeout is None else timeout
        if not self._happened.wait(timeout):
            raise AssertionError(f"{self} did not come to pass within {timeout} s")

    def __repr__(self) -> str:
        which = "every" if self._nth is None else f"#{self._nth}"
        on = "any connection" if self._connection is None else f"connection {self._connection}"
        return f"<{'before' if self.sent else 'on'} {self.kind} {which} of {on}>"

    # --- for the broker's thread --------------------------------------------------------------------

    def applies(self, kind: str, packet: Packet | int | None, connection: int, sent: bool) -> bool:
        """Count the packet if it is of this kind; True if the rule is about it."""
        if kind != self.kind or sent != self.sent or not self._steps:
            return False
        if self._connection not in (None, connection) or (self._where and not self._where(packet)):
            return False
        self._seen += 1
        return self._nth in (None, self._seen)

    def apply(self, link: Target, packet: Packet | int | None, pass_on: Callable[[], None]) -> None:
        """Let the packet pass if nothing keeps it, and take the steps."""
        if self._passes:
            pass_on()
        for step in self._steps:
            step(link, packet)
        self._happened.set()

    def _then(self, step: Step) -> Self:
        self._steps.append(step)
        return self

    def _stop(self, step: Step) -> Self:
        self._passes = False
        self._steps.append(step)
        return self


def _numbered(what: Anything, answered: Any) -> Anything:
    packet_id = getattr(answered, "packet_id", 0)
    if packet_id and isinstance(what, _ANSWERS) and not what.packet_id:
        return replace(what, packet_id=packet_id)
    return what
