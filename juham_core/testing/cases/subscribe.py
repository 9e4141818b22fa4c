"""Cases about subscribing: what is granted, what is refused, and which handler sees what."""

from __future__ import annotations

from juham_core.errors import SubscribeError
from juham_core.testing.definition import FAULTS, case
from juham_core.testing.kit import Kit
from juham_core.wire import Suback


class SubscribeCases:
    """The subject ``subscribe``."""

    @case("subscribe.refused", on=FAULTS)
    def refused(self, kit: Kit) -> None:
        """A filter that the broker refuses raises SubscribeError, which names it (MQTT 5 section 3.9.3)."""
        kit.broker.on("subscribe").answer(Suback(0, [0x80]))
        client = kit.connect()
        with kit.raises(SubscribeError) as caught:
            client.subscribe(f"{kit.topic}/secret", qos=1).wait(kit.patience)
        error = caught[0]
        assert isinstance(error, SubscribeError)
        assert list(error.refused) == [f"{kit.topic}/secret"]
        assert f"{kit.topic}/secret" in str(error)
