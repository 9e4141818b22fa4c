"""The examples do what they say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import run, soon, until

import juham_core as juham

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(backend, broker, monkeypatch):
    """``example(name)``: the module, which will connect to the broker under test."""
    monkeypatch.setenv("JUHAM_URL", broker.url)
    monkeypatch.setenv("JUHAM_BACKEND", backend)

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_lifespan_of_a_web_application(example, observer, capsys):
    lifespan = example("lifespan")
    observer.subscribe("home/+/lamp/set")

    async def main():
        app = SimpleNamespace(state=SimpleNamespace())
        async with lifespan.lifespan(app):
            observer.publish("home/hall/temperature", b"21.5", qos=1)
            observer.publish("home/hall/temperature", b"broken", qos=1)
            await until(lambda: app.state.temperatures == {"hall": 21.5})
            assert await lifespan.read_temperature(app, "hall") == {"room": "hall", "temperature": 21.5}
            assert await lifespan.switch_lamp(app, "hall", on=True) == {"room": "hall", "lamp": True}
        assert not app.state.mqtt.is_connected()

    run(main())
    assert observer.next().payload == b"ON"
    run(lifespan.main())
    assert "temperature" in capsys.readouterr().out


def test_a_light(example, observer):
    light = example("light")
    observer.subscribe("juham/lamp/state")

    async def state():
        return json.loads((await asyncio.to_thread(observer.next)).payload)

    async def main():
        shining = asyncio.create_task(light.main())
        assert await state() == {"state": "OFF", "brightness": 255}
        observer.publish("juham/lamp/set", b'{"state": "ON", "brightness": 40}', qos=1)
        assert await state() == {"state": "ON", "brightness": 40}
        observer.publish("juham/lamp/set", b"nonsense", qos=1)
        observer.publish("juham/lamp/set", b'{"state": "OFF"}', qos=1)
        assert await state() == {"state": "OFF", "brightness": 40}
        async with juham.aio.connect() as mqtt, mqtt.messages("juham/lamp/available", qos=1) as available:
            assert (await soon(anext(available))).payload == b"online"
            async with mqtt.messages(light.DISCOVERY, qos=1) as discovery:
                about = json.loads((await soon(anext(discovery))).payload)
                assert about["command_topic"] == "juham/lamp/set"
            shining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await shining
            assert (await soon(anext(available))).payload == b"offline"
            for topic in ("juham/lamp/available", "juham/lamp/state", light.DISCOVERY):
                await mqtt.publish(topic, b"", 1, retain=True)

    run(main())


@pytest.mark.needs("mqtt_5")
def test_request_and_response(example):
    assert run(example("request_response").main()) == [sum(range(n)) for n in range(10)]
