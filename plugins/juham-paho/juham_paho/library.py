"""Which client of paho's the backends are built on: the fast one, where paho is known from the inside."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Final

from paho.mqtt import __version__
from paho.mqtt.client import Client

KNOWN: Final = frozenset({"2.0.0", "2.1.0", "2.2.0"})
"""The versions of paho-mqtt whose private methods :mod:`juham_paho.fast` was written for."""

if TYPE_CHECKING or __version__ in KNOWN:
    from juham_paho.fast import FastClient as PahoClient
else:
    PahoClient = Client

__all__ = ["KNOWN", "PahoClient", "lend"]


def lend(borrower: type[Client]) -> None:
    """Give a class whose base is paho's client the methods in which ``PahoClient`` differs from it."""
    if PahoClient is not Client:
        for name, method in vars(PahoClient).items():
            if isinstance(method, FunctionType) and name not in vars(borrower):
                setattr(borrower, name, method)
