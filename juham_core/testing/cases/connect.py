"""Cases about the first connection: who is let in, what is refused, and in what time."""

from __future__ import annotations

from juham_core.errors import ConnectError
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit


class ConnectCases:
    """The subject ``connect``."""

    @case("connect.refused_port", on=FAULTS)
    def refused_port(self, kit: Kit) -> None:
        """A port where nobody listens raises ConnectError at the call."""
        kit.broker.refuse()
        client = kit.create()
        with kit.raises(ConnectError):
            client.connect_to_server()
        assert not client.is_connected()
