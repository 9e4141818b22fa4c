"""Clients of the asyncio face, on every backend and broker."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest
from observer import Observer
from proxy import Proxy

import juham_core as juham


@pytest.fixture
def aio(backend, broker):
    """``aio(**options)``: what connects to the broker under test."""

    def make(**options):
        return juham.aio.connect(broker.url, backend=backend, **{"close_timeout": 2.0, **options})

    return make


@pytest.fixture
def observer_of():
    """``observer_of(url)``: a client of that broker that has nothing to do with any backend."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(Observer(url)))


@pytest.fixture
def proxy_to():
    """``proxy_to(broker)``: a proxy before a broker that cuts connections."""
    with ExitStack() as stack:
        yield lambda broker: stack.enter_context(closing(Proxy((broker.host, broker.port))))
