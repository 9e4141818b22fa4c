"""A hook plugin that traces what every client does with OpenTelemetry: connecting, publishing, receiving.

Run it: ``pip install opentelemetry-sdk``, then ``JUHAM_URL=mqtt://localhost python examples/tracing.py``.

Nothing goes into a span but what is listed here: no password, no payload, no text of an exception. Under
MQTT 5 each message carries the context of its span as ``traceparent``, so that a trace goes on where it is
received.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

import juham_core as juham

MQTT_5 = 5


class Tracing:
    """The plugin: ``juham_core.hooks.register(Tracing(tracer_provider))``."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        """Trace by way of a provider, or of the one that the program has set."""
        self._tracer = trace.get_tracer("juham", tracer_provider=provider)
        self._attempts: dict[int, Span] = {}  # of clients that are connecting

    @juham.hookimpl
    def jmqtt_connecting(self, client: juham.JMqtt, options: juham.Options) -> None:
        """Begin the span of an attempt; one that has come to nothing ends as an error."""
        self._fail_attempt(client)
        self._attempts[id(client)] = self._tracer.start_span(
            "connect",
            kind=SpanKind.CLIENT,
            attributes={
                **_who(client),
                "server.address": options.host,
                "server.port": options.effective_port,
                "network.protocol.version": "5" if options.protocol == MQTT_5 else "3.1.1",
                "juham.server": options.describe(),
            },
        )

    @juham.hookimpl
    def jmqtt_connected(self, client: juham.JMqtt, session_present: bool) -> None:
        """End it well."""
        span = self._attempts.pop(id(client), None)
        if span is not None:
            span.set_attribute("juham.session_present", session_present)
            span.end()

    @juham.hookimpl
    def jmqtt_closed(self, client: juham.JMqtt) -> None:
        """Leave no attempt behind."""
        self._fail_attempt(client)

    @juham.hookimpl
    def jmqtt_publishing(self, client: juham.JMqtt, message: juham.MqttMsg) -> juham.MqttMsg | None:
        """Note a publish, within whatever span the application is in, and send its context along."""
        with self._tracer.start_as_current_span(
            f"publish {message.topic}",
            kind=SpanKind.PRODUCER,
            attributes={**_who(client), **_what(message), "messaging.operation.type": "send"},
        ):
            if client.options.protocol != MQTT_5:
                return None
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
        pairs = [*message.properties.get("user_property", []), *carrier.items()]
        properties = juham.Properties({**message.properties, "user_property": pairs})
        return juham.MqttMsg(
            message.topic, message.payload, message.qos, message.retain, properties=properties
        )

    @juham.hookimpl
    def jmqtt_published(self, client: juham.JMqtt, receipt: juham.PublishReceipt) -> None:
        """Note what has become of a publish."""
        with self._tracer.start_as_current_span(
            "settle", kind=SpanKind.CLIENT, attributes={**_who(client), "juham.mid": receipt.mid}
        ) as span:
            _judge(span, receipt.exception())

    @juham.hookimpl
    def jmqtt_handled(
        self,
        client: juham.JMqtt,
        message: juham.MqttMsg,
        handler: Callable[..., Any],
        seconds: float,
        exception: BaseException | None,
    ) -> None:
        """Note that a message was received and handled, as a part of the trace of whoever has sent it."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"process {message.topic}",
            context=propagate.extract(dict(message.properties.get("user_property", []))),
            kind=SpanKind.CONSUMER,
            start_time=ended - int(seconds * 1e9),
            attributes={
                **_who(client),
                **_what(message),
                "messaging.operation.type": "process",
                "code.function.name": getattr(handler, "__qualname__", type(handler).__qualname__),
            },
        )
        _judge(span, exception)
        span.end(ended)

    def _fail_attempt(self, client: juham.JMqtt) -> None:
        span = self._attempts.pop(id(client), None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR))
            span.end()


def _who(client: juham.JMqtt) -> dict[str, Any]:
    return {"messaging.system": "mqtt", "messaging.client.id": client.client_id, "juham.client": client.name}


def _what(message: juham.MqttMsg) -> dict[str, Any]:
    return {
        "messaging.destination.name": message.topic,
        "messaging.message.body.size": len(message.payload),
        "juham.qos": message.qos,
        "juham.retain": message.retain,
    }


def _judge(span: Span, error: BaseException | None) -> None:
    """Say how it ended: by the kind of the error, for its text may hold what is in the message."""
    if error is not None:
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))


def main() -> None:
    """Print the spans of a message that a client sends to itself."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - a program sets its own
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    juham.hooks.register(Tracing(provider))
    with juham.connect(name="traced", protocol=MQTT_5) as mqtt:
        mqtt.on_message = lambda _client, _userdata, message: print(message)
        mqtt.subscribe("juham/traced", qos=1).wait(5)
        mqtt.publish("juham/traced", "hello", qos=1).wait(5)


if __name__ == "__main__":
    main()
