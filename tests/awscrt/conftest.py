"""Brokers and clients for the tests of juham-awscrt; skipped as a whole where it is not installed."""

from __future__ import annotations

import contextlib
import importlib.util
import threading

import pytest
from awscrt_peer import Listener

import juham_core as juham
from juham_core.broker import EmbeddedBroker

collect_ignore_glob = [] if importlib.util.find_spec("juham_awscrt") else ["test_*.py"]


@pytest.fixture
def closing():
    """What the test leaves open is closed in the opposite order: clients before their brokers."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def broker(closing):
    return closing.enter_context(EmbeddedBroker())


@pytest.fixture
def listener(closing):
    return closing.enter_context(Listener())


@pytest.fixture
def make(closing):
    """Make clients that are not connected."""

    def new(**options):
        client = juham.create("awscrt")
        client.configure(**{"host": "127.0.0.1", "connect_timeout": 5, "close_timeout": 5, **options})
        closing.callback(client.disconnect_from_server)
        return client

    return new


@pytest.fixture
def connect(make):
    """Make clients that are connected and whose handlers run."""

    def new(port, **options):
        client = make(port=port, **options)
        client.connect_to_server()
        client.wait_until_connected(5)
        client.loop_start()
        return client

    return new


@pytest.fixture
def begin(closing):
    """Start to connect clients to a broker that the test itself plays."""

    def start(client):
        thread = threading.Thread(target=client.connect_to_server)
        closing.callback(thread.join)
        thread.start()
        return client

    return start
