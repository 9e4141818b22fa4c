"""The brokers of the trials, and where their accounts go: with ``--long`` into docs/reliability."""

import pytest
import tables
import trials
from brokers import require_mosquitto
from durable import DurableMosquitto


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="5,000 messages of each QoS, into docs/reliability")


def is_long(config):
    return config.getoption("--long", default=False)


@pytest.fixture(scope="session")
def size(request):
    """How large trials are: as short as shows anything at all, or as long as convinces."""
    return trials.Size(5000, 50) if is_long(request.config) else trials.Size(300, 6)


@pytest.fixture
def restarts(request):
    """The same for trials in which the broker ends."""
    return trials.Size(5000, 20) if is_long(request.config) else trials.Size(300, 3)


@pytest.fixture(scope="session")
def account(request):
    """Enter accounts: ``account(accounts)``; the long run writes them down at its end."""
    entered = []
    yield entered.extend
    if is_long(request.config):
        tables.enter(entered)


@pytest.fixture(scope="module")
def unlimited():
    """A Mosquitto that takes and gives whatever number of messages in flight."""
    require_mosquitto(pytest.skip, pytest.fail)
    with DurableMosquitto() as broker:
        yield broker


@pytest.fixture(scope="module")
def limited():
    """A Mosquitto with its own default: 20 messages in flight in either direction."""
    require_mosquitto(pytest.skip, pytest.fail)
    with DurableMosquitto(limits="") as broker:
        yield broker
