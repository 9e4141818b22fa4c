"""BackendConformance: the class that a backend's author derives from, and that is all there is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from juham_core.jmqtt import JMqtt
from juham_core.testing.cases.acknowledging import AcknowledgingCases
from juham_core.testing.cases.backoff import BackoffCases
from juham_core.testing.cases.connect import ConnectCases
from juham_core.testing.cases.endurance import EnduranceCases
from juham_core.testing.cases.failover import FailoverCases
from juham_core.testing.cases.handlers import HandlerCases
from juham_core.testing.cases.hostile import HostileCases
from juham_core.testing.cases.inline import InlineCases
from juham_core.testing.cases.lifecycle import LifecycleCases
from juham_core.testing.cases.loop import LoopCases
from juham_core.testing.cases.matching import MatchingCases
from juham_core.testing.cases.mqtt5 import Mqtt5Cases
from juham_core.testing.cases.mqtt5_session import Mqtt5SessionCases
from juham_core.testing.cases.outbox import OutboxCases
from juham_core.testing.cases.overfull import OverfullCases
from juham_core.testing.cases.overlapping import OverlappingCases
from juham_core.testing.cases.oversized import OversizedCases
from juham_core.testing.cases.packaging import PackagingCases
from juham_core.testing.cases.pressure import PressureCases
from juham_core.testing.cases.publish import PublishCases
from juham_core.testing.cases.receipts import ReceiptCases
from juham_core.testing.cases.reconnect import ReconnectCases
from juham_core.testing.cases.resuming import ResumingCases
from juham_core.testing.cases.security import SecurityCases
from juham_core.testing.cases.shapes import ShapeCases
from juham_core.testing.cases.streams import StreamCases
from juham_core.testing.cases.subscribe import SubscribeCases
from juham_core.testing.cases.threads import ThreadsCases
from juham_core.testing.cases.transports import TransportCases
from juham_core.testing.cases.unanswered import UnansweredCases
from juham_core.testing.cases.wills import WillCases
from juham_core.testing.definition import Case, cases_of


class BackendConformance(
    PackagingCases,
    PublishCases,
    ReceiptCases,
    SubscribeCases,
    MatchingCases,
    HandlerCases,
    InlineCases,
    ShapeCases,
    AcknowledgingCases,
    LifecycleCases,
    LoopCases,
    ThreadsCases,
    ConnectCases,
    TransportCases,
    ReconnectCases,
    ResumingCases,
    BackoffCases,
    FailoverCases,
    HostileCases,
    OversizedCases,
    OverfullCases,
    SecurityCases,
    UnansweredCases,
    StreamCases,
    WillCases,
    Mqtt5Cases,
    Mqtt5SessionCases,
    OverlappingCases,
    OutboxCases,
    EnduranceCases,
    PressureCases,
):
    """The contract of :class:`~juham_core.jmqtt.JMqtt`, case by case, for one backend.

    >>> class TestMine(BackendConformance):
    ...     backend = "mine"

    pytest runs each case in each place where it can be tried, and shows it as
    ``TestMine::publish.payload_bytes[mosquitto]``.
    """

    backend: ClassVar[str | type[JMqtt]]
    """The name of the backend, by which it is found through its entry point like any other."""
    known_failures: ClassVar[Mapping[str, str]] = {}
    """Cases that are known to fail, and why; one that passes nevertheless is a failure.

    ``"publish.payload_bytes"``, or ``"publish.payload_bytes[mosquitto]"`` for one place.
    """
    options: ClassVar[Mapping[str, Any]] = {}
    """Options with which every client is configured, for a library that needs one."""
    face: ClassVar[str] = ""
    """``"asyncio"``: through :class:`~juham_core.aio.AsyncMqtt`, where the case has a meaning there."""

    def test_the_plugin_is_loaded(self, request: Any) -> None:
        """Without the plugin, pytest would find no case and be content with that."""
        assert request.config.pluginmanager.hasplugin("juham"), (
            "the conformance kit's pytest plugin is not loaded: pytest -p juham_core.testing.plugin"
        )


def catalogue(suite: type[BackendConformance] = BackendConformance) -> list[Case]:
    """Every case there is: identifier, rule, level, and what it needs."""
    return cases_of(suite)
