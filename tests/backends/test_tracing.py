"""The example of a hook plugin that traces: its spans tell what happened, and no secret."""

import importlib.util
from pathlib import Path

import pytest
from waiting import PATIENCE, Inbox, eventually

import juham_core as juham
from juham_core.broker import EmbeddedBroker

export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
processors = pytest.importorskip("opentelemetry.sdk.trace.export")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
trace = pytest.importorskip("opentelemetry.trace")

EXAMPLE = Path(__file__).parents[2] / "examples" / "tracing.py"
PASSWORD, TOKEN, WRONG = "pass-5d1f", "token-93ab", "wrong-77c0"
PAYLOAD = "payload-20e4"

pytestmark = pytest.mark.needs("tcp", "mqtt_5")


class Token:
    """A plugin that has a client connect with a token."""

    def __init__(self, name):
        self._name = name

    @juham.hookimpl
    def jmqtt_connecting(self, client, options):
        return options.changed(password=TOKEN) if client.name == self._name else None


@pytest.fixture
def spans(topic):
    """``spans()``: what has been traced so far of the clients whose names begin with the topic."""
    spec = importlib.util.spec_from_file_location("example_tracing", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    exporter, provider = export.InMemorySpanExporter(), sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processors.SimpleSpanProcessor(exporter))
    plugins = [module.Tracing(provider), Token(f"{topic} token")]
    for plugin in plugins:
        juham.hooks.register(plugin)
    yield lambda: [
        span for span in exporter.get_finished_spans() if span.attributes["juham.client"].startswith(topic)
    ]
    for plugin in plugins:
        juham.hooks.unregister(plugin)
    provider.shutdown()


@pytest.fixture
def guarded():
    """A broker that knows a user by a password, and one by a token."""
    with EmbeddedBroker(users={"anna": PASSWORD, "robot": TOKEN}) as broker:
        yield broker


def url_of(broker, user, password):
    return f"mqtt://{user}:{password}@{broker.url.removeprefix('mqtt://')}"


def test_a_message_is_one_trace_from_publisher_to_handler(spans, guarded, backend, topic):
    inbox = Inbox()

    def handler(client, userdata, message):
        inbox(client, userdata, message)
        raise ValueError(PASSWORD)

    url = url_of(guarded, "anna", PASSWORD)
    with juham.connect(url, backend=backend, name=topic, protocol=5) as mqtt:
        mqtt.on_message = handler
        mqtt.subscribe(topic, qos=1).wait(PATIENCE)
        mqtt.publish(topic, PAYLOAD, qos=1).wait(PATIENCE)
        inbox.next()
        assert eventually(lambda: {span.name.split()[0] for span in spans()} >= {"process", "settle"})
    found = {span.name: span for span in spans()}
    assert set(found) == {"connect", f"publish {topic}", "settle", f"process {topic}"}
    published, processed = found[f"publish {topic}"], found[f"process {topic}"]
    assert processed.parent.span_id == published.context.span_id
    assert processed.context.trace_id == published.context.trace_id
    assert processed.attributes["error.type"] == "ValueError"
    assert processed.status.status_code is trace.StatusCode.ERROR
    assert found["settle"].status.status_code is trace.StatusCode.UNSET
    assert found["connect"].attributes["server.port"] == guarded.port


def test_no_secret_is_in_a_span(spans, guarded, backend, topic):
    for user, password, name in (("anna", PASSWORD, "password"), ("robot", WRONG, "token")):
        url = url_of(guarded, user, password)
        with juham.connect(url, backend=backend, name=f"{topic} {name}", protocol=5) as mqtt:
            mqtt.publish(topic, PAYLOAD, qos=1).wait(PATIENCE)
    options = {"username": "anna", "password": WRONG, "protocol": 5}
    with pytest.raises(juham.AuthError):
        juham.connect(guarded.url, backend=backend, name=f"{topic} wrong", **options)
    attempts = [span for span in spans() if span.name == "connect"]
    assert [span.status.status_code.name for span in attempts] == ["UNSET", "UNSET", "ERROR"]
    for span in spans():
        text = span.to_json()
        for secret in (PASSWORD, TOKEN, WRONG, PAYLOAD):
            assert secret not in text, f"{secret} is in the span {span.name!r}"
