"""Brokers and clients for the tests of juham-awscrt; skipped as a whole where it is not installed."""

from __future__ import annotations

import importlib.util
import threading

import pytest

import juham_core as juham
from juham_core.broker import EmbeddedBroker

collect_ignore_glob = [] if importlib.util.find_spec("juham_awscrt") else ["test_*.py"]


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def make():
    """Make clients, not connected, which the end of the test closes."""
    clients = []

    def new(**options):
        client = juham.create("awscrt")
        client.configure(**{"host": "127.0.0.1", "connect_timeout": 5, "close_timeout": 5, **options})
        clients.append(client)
        return client

    yield new
    for client in clients:
        client.disconnect_from_server()


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
def begin():
    """Start to connect clients to a broker that the test itself plays."""
    threads = []

    def start(client):
        thread = threading.Thread(target=client.connect_to_server)
        threads.append(thread)
        thread.start()
        return client

    yield start
    for thread in threads:
        thread.join()
