"""Which client of paho's the backends are built on: the fast one, where paho is known from the inside."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

KNOWN: Final = frozenset({"2.0.0", "2.1.0", "2.2.0"})
"""The versions of paho-mqtt whose private methods :mod:`juham_paho.fast` was written for."""

if TYPE_CHECKING or version("paho-mqtt") in KNOWN:
    from juham_paho.fast import FastClient as PahoClient
else:
    from paho.mqtt.client import Client as PahoClient

__all__ = ["KNOWN", "PahoClient"]
