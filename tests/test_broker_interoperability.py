"""The broker and other people's clients."""

import shutil
import subprocess
import threading

import pytest
from broker_sockets import PATIENCE

from juham_core.broker import EmbeddedBroker
from juham_core.wire import (
    MQTT_5,
    MQTT_311,
)


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.mark.skipif(
    not (shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")),
    reason="mosquitto_pub and mosquitto_sub are not installed",
)
@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquitto_clients(broker, version):
    common = ["-h", "127.0.0.1", "-p", str(broker.port), "-V", version, "-q", "2", "-t", "home/hall"]
    command = ["mosquitto_pub", *common, "-r", "-m", "21.5"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    command = ["mosquitto_sub", *common, "-C", "1", "-F", "%t %p %q %r"]
    output = subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True).stdout
    assert output == "home/hall 21.5 2 1\n"


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
def test_paho(broker, version):
    paho = pytest.importorskip("paho.mqtt.client")
    received, subscribed, done = [], threading.Event(), threading.Event()

    def on_message(client, userdata, message):
        received.append((message.qos, message.payload))
        if len(received) == 30:
            done.set()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
    client.on_connect = lambda client, *_: client.subscribe("a/#", 2)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert subscribed.wait(PATIENCE)
    for number in range(30):
        client.publish("a/b", b"%d" % number, qos=number % 3)
    assert done.wait(PATIENCE)
    client.disconnect()
    client.loop_stop()
    assert sorted(received) == sorted((number % 3, b"%d" % number) for number in range(30))
