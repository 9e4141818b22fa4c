"""MQTT from Python through any client library, chosen by name at run time.

The names below are the public ones; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from juham_core import aio as aio
    from juham_core import hooks as hooks
    from juham_core.capabilities import Capabilities as Capabilities
    from juham_core.discovery import BackendInfo as BackendInfo
    from juham_core.discovery import backends as backends
    from juham_core.factory import connect as connect
    from juham_core.factory import create as create
    from juham_core.hooks import DROP as DROP
    from juham_core.hookspecs import hookimpl as hookimpl
    from juham_core.jmqtt import JMqtt as JMqtt
    from juham_core.message import MqttMsg as MqttMsg
    from juham_core.message import PublishReceipt as PublishReceipt
    from juham_core.message import Receipt as Receipt
    from juham_core.message import SubscribeReceipt as SubscribeReceipt
    from juham_core.message import UnsubscribeReceipt as UnsubscribeReceipt
    from juham_core.object import Object as Object
    from juham_core.options import Options as Options
    from juham_core.statistics import Statistics as Statistics
    from juham_core.wire.properties import Properties as Properties
    from juham_core.wire.reasons import ReasonCode as ReasonCode
    from juham_core.wire.terms import Subscription as Subscription
    from juham_core.wire.terms import Will as Will

__version__: Final = "1.0.0"

_HOMES: Final = {
    "DROP": "hooks",
    "BackendInfo": "discovery",
    "Capabilities": "capabilities",
    "JMqtt": "jmqtt",
    "MqttMsg": "message",
    "Object": "object",
    "Options": "options",
    "Properties": "wire.properties",
    "PublishReceipt": "message",
    "ReasonCode": "wire.reasons",
    "Receipt": "message",
    "Statistics": "statistics",
    "SubscribeReceipt": "message",
    "Subscription": "wire.terms",
    "UnsubscribeReceipt": "message",
    "Will": "wire.terms",
    "backends": "discovery",
    "connect": "factory",
    "create": "factory",
    "hookimpl": "hookspecs",
}

_MODULES: Final = ("aio", "hooks")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"juham_core.{name}")
    if name in _HOMES:
        module = importlib.import_module(f"juham_core.{_HOMES[name]}")
    else:
        errors = importlib.import_module("juham_core.errors")
        if name.startswith("_") or not hasattr(errors, name) or not name.endswith("Error"):
            raise AttributeError(f"module 'juham_core' has no attribute {name!r}")
        module = errors
    return globals().setdefault(name, getattr(module, name))


def __dir__() -> list[str]:
    errors = importlib.import_module("juham_core.errors")
    named = (name for name in vars(errors) if name.endswith("Error"))
    return sorted({*_HOMES, *named, *_MODULES, "__version__"})
