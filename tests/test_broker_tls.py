"""The broker over TLS."""

import shutil
import socket
import ssl
import subprocess

import pytest
from broker_sockets import PATIENCE, RawClient, leaves_nothing

from juham_core.broker import EmbeddedBroker
from juham_core.wire import (
    MQTT_5,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    reasons,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key


@pytest.fixture
def tls_broker(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with EmbeddedBroker(ssl=context) as running:
        yield running


def test_tls(tls_broker, certificate):
    assert tls_broker.url.startswith("mqtts://")
    context = ssl.create_default_context(cafile=certificate[0])
    with socket.create_connection(("127.0.0.1", tls_broker.port), PATIENCE) as plain:
        sock = context.wrap_socket(plain, server_hostname="127.0.0.1")
        with RawClient(tls_broker, sock=sock) as client:
            client.subscribe("a")
            client.exchange("a", bytes(300_000))


@leaves_nothing()
def test_tls_harmed_by_nobody(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with EmbeddedBroker(ssl=context) as broker:
        with RawClient(broker, connect=False) as plain:
            plain.send(Connect("plain", protocol=MQTT_5))
            # The broker answers with a TLS alert, which is no MQTT.
            assert plain.sock.recv(1) in {b"\x15", b""}
        halfway = RawClient(broker, connect=False)
        halfway.sock.sendall(b"\x16\x03\x01")
        trusting = ssl.create_default_context(cafile=certificate[0])
        with socket.create_connection(("127.0.0.1", broker.port), PATIENCE) as sock:
            wrapped = trusting.wrap_socket(sock, server_hostname="127.0.0.1")
            with RawClient(broker, sock=wrapped) as client:
                client.send(Pingreq())
                client.receive(Pingresp)
                broker.stop()
                assert client.receive(Disconnect).reason_code == reasons.SERVER_SHUTTING_DOWN
    halfway.close()
