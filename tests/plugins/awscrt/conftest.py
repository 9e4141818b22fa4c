"""Brokers and clients for the tests of juham-awscrt; skipped as a whole where it is not installed."""

from __future__ import annotations

import importlib.util

import pytest
from awscrt_peer import Listener

import juham_core as juham

collect_ignore_glob = [] if importlib.util.find_spec("juham_awscrt") else ["test_*.py"]


@pytest.fixture
def make(closing):
    """Make clients that are not connected."""

    def new(**options):
        client = juham.create("awscrt")
        client.configure(**{"host": "127.0.0.1", "connect_timeout": 5, "close_timeout": 5, **options})
        return closing(client)

    return new


@pytest.fixture
def connect(make, broker):
    """Make clients that are connected to the broker and whose handlers run."""

    def new(**options):
        client = make(**{**broker.options, **options})
        client.connect_to_server()
        client.wait_until_connected(5)
        client.loop_start()
        return client

    return new


@pytest.fixture
def listener():
    """A broker that the test itself plays."""
    with Listener() as listening:
        yield listening


@pytest.fixture
def begin():
    """Start to connect: CONNECT is on its way."""

    def start(client):
        assert client.connect_to_server() == 0
        return client

    return start
