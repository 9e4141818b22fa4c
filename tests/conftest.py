"""The fixtures that all tests share: brokers, backends, topics, and the check that nothing is left behind."""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import ExitStack
from functools import cache

import pytest
from brokers import Mosquitto, require_mosquitto
from expected import EXPECTED, OURS, expected_backends
from hypothesis import settings
from leaks import Watch, kept
from observer import Observer
from proxy import Proxy
from scripted import ScriptedPeer

import juham_core as juham
from juham_core import factory
from juham_core.broker import EmbeddedBroker
from juham_core.url import parse_url

# How long an example takes says more about what else the machine does than about what is tested.
settings.register_profile("juham", deadline=None)
settings.load_profile("juham")

MARKERS = (
    "needs(*capabilities): only for backends that declare all of these",
    "lacks(*capabilities): only for backends that declare none of these",
)


@cache
def tested_backends():
    """Those that are tested: all that are installed, unless the environment names some."""
    installed = {info.name for info in juham.backends()}
    return expected_backends() if EXPECTED else sorted(installed.union(OURS))


def pytest_configure(config):
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc):
    """Run a test that asks for a backend on every one that has what the test needs, and its brokers."""
    with_broker = "broker" in metafunc.fixturenames
    if "backend" not in metafunc.fixturenames:
        if with_broker:
            metafunc.parametrize("broker", ["embedded", "mosquitto"], indirect=True)
        return
    cases = []
    for name in tested_backends():
        capabilities = _capabilities(name)
        if capabilities is not None and not _suits(metafunc.definition, capabilities):
            continue
        if not with_broker:
            cases.append((name,))
        elif capabilities is not None and capabilities.in_process:
            cases.append((name, "memory"))
        else:
            cases += [(name, "embedded"), (name, "mosquitto")]
    names = ["backend", "broker"] if with_broker else ["backend"]
    metafunc.parametrize(names, cases, indirect=True, ids=["-".join(case) for case in cases])


def _suits(test, capabilities):
    needed = [name for marker in test.iter_markers("needs") for name in marker.args]
    unwanted = [name for marker in test.iter_markers("lacks") for name in marker.args]
    return all(getattr(capabilities, name) for name in needed) and not any(
        getattr(capabilities, name) for name in unwanted
    )


@cache  # to look through what is installed takes a while
def _capabilities(name):
    """What the backend declares; None if it cannot be had: then the tests run, and say why."""
    try:
        return factory.load(name).capabilities
    except juham.BackendError:
        return None


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    watch = Watch()
    yield
    if "kit" not in request.path.parts:  # the kit looks for itself, and knows what a library cannot help
        watch.check()


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A home of its own for each test, and none of the user's settings."""
    folder = tmp_path_factory.getbasetemp() / f"home-{secrets.token_hex(6)}"
    folder.mkdir()
    for name in os.environ:
        if name.startswith("JUHAM_") and name != "JUHAM_TEST_BACKENDS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


@pytest.fixture(scope="session")
def embedded():
    """The embedded broker that the tests of one process share."""
    broker = EmbeddedBroker()
    with kept():
        broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def mosquitto():
    """The Mosquitto that the tests of one process share."""
    require_mosquitto(pytest.skip, pytest.fail)
    with Mosquitto() as broker:
        yield broker


class Place:
    """A broker under test: where it is, and what it is."""

    def __init__(self, kind, url):
        self.kind = kind
        self.url = url

    @property
    def options(self):
        return parse_url(self.url)[1]


@pytest.fixture
def broker(request):
    """A broker to connect to; in-process backends have one of their own for each test."""
    if request.param == "memory":
        return Place("memory", f"memory://{secrets.token_hex(6)}")
    return Place(request.param, request.getfixturevalue(request.param).url)


@pytest.fixture
def backend(request):
    """The name of the backend under test."""
    return request.param


@pytest.fixture
def topic():
    """The beginning of this test's topics, which no other test uses."""
    return f"test/{secrets.token_hex(6)}"


@pytest.fixture
def closing():
    """Closes what it is given (``closing(client)``), the last first, when the test is over."""
    with ExitStack() as stack:

        def keep(client):
            stack.callback(client.disconnect_from_server)
            return client

        yield keep


@pytest.fixture
def create(backend, closing):
    """Make clients of the backend that are not connected: ``create(**options)``."""
    settings = {"transport": "memory"} if getattr(_capabilities(backend), "in_process", False) else {}

    def make(name=None, **options):
        return closing(juham.create(backend, name, **{"close_timeout": 2.0, **settings, **options}))

    return make


def connect_and_wait(client, answer=lambda: None):
    """Connect, and return once on_connect is over: a handler that is set now sees the next connection."""
    verdict = threading.Event()
    client.on_connect = lambda client, userdata, flags, rc: verdict.set()
    client.loop_start()
    client.connect_to_server()
    answer()
    client.wait_until_connected(5)
    assert verdict.wait(5)
    client.on_connect = None


@pytest.fixture
def connect(create, broker):
    """Make clients of the backend that are connected to the broker, their handlers running."""

    def make(name=None, **options):
        client = create(name, **{**broker.options, **options})
        connect_and_wait(client)
        return client

    return make


@pytest.fixture
def client(connect):
    """A connected client."""
    return connect()


@pytest.fixture
def observer(broker):
    """A client of the broker that has nothing to do with the backend."""
    observer = Observer(broker.url)
    yield observer
    observer.close()


@pytest.fixture
def proxy(broker):
    """A proxy before the broker; ``connect(**proxy.options)`` goes through it."""
    options = broker.options
    proxy = Proxy((options["host"], options["port"]))
    yield proxy
    proxy.close()


@pytest.fixture
def peer():
    """A broker that the test plays itself."""
    peer = ScriptedPeer()
    yield peer
    peer.close()


@pytest.fixture
def talking(create, peer):
    """Connect a client to the scripted peer: ``talking(**options)`` returns both ends."""

    def make(**options):
        client = create(**peer.options, **options)
        conversation = None

        def accept():
            nonlocal conversation
            conversation = peer.take_up()
            conversation.accept()

        connect_and_wait(client, accept)
        return client, conversation

    return make


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def protocol(request, backend):
    """A version of MQTT that the backend speaks."""
    capabilities = _capabilities(backend)
    if not getattr(capabilities, {4: "mqtt_311", 5: "mqtt_5"}[request.param], True):
        pytest.skip(f"{backend} does not declare this version")
    return request.param
