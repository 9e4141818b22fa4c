"""The conformance kit: whether a backend keeps the contract of JMqtt, and a broker that misbehaves to order.

A backend's author writes one class, and pytest does the rest::

    from juham_core.testing import BackendConformance

    class TestMine(BackendConformance):
        backend = "mine"

:class:`FaultBroker` and :class:`SocketObserver` serve the tests of anything else that speaks MQTT. pytest
comes with ``pip install "juham-core[testing]>=1"``; :func:`run` does without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from juham_core.testing.conformance import BackendConformance as BackendConformance
    from juham_core.testing.conformance import catalogue as catalogue
    from juham_core.testing.definition import ANY as ANY
    from juham_core.testing.definition import FAULTS as FAULTS
    from juham_core.testing.definition import NONE as NONE
    from juham_core.testing.definition import Case as Case
    from juham_core.testing.definition import case as case
    from juham_core.testing.faults import FaultBroker as FaultBroker
    from juham_core.testing.kit import Kit as Kit
    from juham_core.testing.observer import Observer as Observer
    from juham_core.testing.observer import SocketObserver as SocketObserver
    from juham_core.testing.report import Report as Report
    from juham_core.testing.report import Result as Result
    from juham_core.testing.running import run as run
    from juham_core.testing.running import run_case as run_case

_HOMES: Final = {
    "ANY": "definition",
    "BackendConformance": "conformance",
    "Case": "definition",
    "FAULTS": "definition",
    "FaultBroker": "faults",
    "Kit": "kit",
    "NONE": "definition",
    "Observer": "observer",
    "Report": "report",
    "Result": "report",
    "SocketObserver": "observer",
    "case": "definition",
    "catalogue": "conformance",
    "run": "running",
    "run_case": "running",
}


def __getattr__(name: str) -> Any:
    # Whoever has pytest and juham-core installed loads the plugin, and with it this package: keep it light.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return globals().setdefault(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted(_HOMES)
