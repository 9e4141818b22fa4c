from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import subprocess
import sys
import threading

import pytest
import trustme
from awscrt import io
from awscrt_support import Inbox, eventually
from juham_awscrt import verifying
from leaks import kept

import juham_core as juham
from juham_core.broker import EmbeddedBroker
from juham_core.errors import ConnectError, ConnectTimeoutError
from juham_core.testing.faults import FaultBroker
from juham_core.wire import Connack, Connect, Decoder, encode

CRASH = """
import sys
import juham_core as juham
client = juham.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@contextlib.contextmanager
def tls_broker(authority, *names, mutual=False):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    with EmbeddedBroker(ssl=context) as broker:
        yield broker


def connected(client):
    client.connect_to_server()
    client.wait_until_connected(5)
    return client.is_connected()


def refuses(client):
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.connect_to_server()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_tls(make, authority, ca_file, name):
    with tls_broker(authority, name) as broker:
        client = make(host=name, port=broker.port, tls=True, ca_certs=ca_file)
        assert connected(client)
        client.publish("a", "x" * 100_000, qos=1).wait(5)
        client.disconnect_from_server()


def test_tls_refuses_an_authority_it_does_not_trust(make, authority):
    with tls_broker(authority, "localhost") as broker:
        refuses(make(host="localhost", port=broker.port, tls=True))


def test_tls_refuses_another_host_name(make, authority, ca_file):
    with tls_broker(authority, "elsewhere.example") as broker:
        refuses(make(host="localhost", port=broker.port, tls=True, ca_certs=ca_file))


def test_a_broker_is_verified_beforehand_once(make, authority, ca_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    broker = FaultBroker(ssl=context).start()
    try:
        client = make(port=broker.port, tls=True, ca_certs=ca_file, reconnect_min=0.01)
        assert connected(client)
        assert broker.accepted == 2
        broker.reset()
        broker.wait_for("connack", sent=True, nth=2)
        assert broker.accepted == 3
        assert [entry.connection for entry in broker.log if entry.kind == "connect"] == [2, 3]
    finally:
        client.disconnect_from_server()
        broker.stop()


def test_a_broker_that_was_trusted_and_is_no_longer_is_found_out(make, authority, ca_file):
    """The attempt after the one that awscrt has found wanting says why."""
    with tls_broker(authority, "127.0.0.1") as broker:
        client = make(port=broker.port, tls=True, ca_certs=ca_file, connect_timeout=2)
        assert connected(client)
        client.disconnect_from_server()
    assert client._trusted
    with kept(), tls_broker(trustme.CA(), "127.0.0.1") as broker:
        client.configure(port=broker.port)
        client._trusted = {verifying.subject(client.options)}
        with pytest.raises(ConnectTimeoutError, match="refuses a certificate"):
            client.connect_to_server()
        refuses(client)


def test_insecure_tls_takes_any_certificate(make, authority):
    with tls_broker(authority, "elsewhere.example") as broker:
        client = make(host="localhost", port=broker.port, tls=True, insecure=True)
        assert connected(client)
        client.disconnect_from_server()


@pytest.mark.parametrize("files", ["one", "two"])
def test_mutual_tls(make, authority, ca_file, tmp_path, files):
    mine = authority.issue_cert("me@example.org")
    certificate, key = tmp_path / "me.pem", tmp_path / "me.key"
    mine.cert_chain_pems[0].write_to_path(certificate)
    mine.private_key_pem.write_to_path(key)
    if files == "one":
        mine.private_key_and_cert_chain_pem.write_to_path(certificate)
        key = None
    with tls_broker(authority, "localhost", mutual=True) as broker:
        options = {"host": "localhost", "port": broker.port, "tls": True, "ca_certs": ca_file}
        client = make(**options, certfile=str(certificate), keyfile=str(key) if key else None)
        assert connected(client)
        client.disconnect_from_server()
        stranger = make(**options, reconnect=False)
        with pytest.raises(ConnectError):
            connected(stranger)


def test_tls_to_a_peer_that_says_nothing(make, listener):
    with pytest.raises(ConnectTimeoutError):
        make(port=listener.port, tls=True, connect_timeout=0.5).connect_to_server()


def test_a_unix_socket(make, tmp_path):
    path = str(tmp_path / "broker.sock")
    with EmbeddedBroker(unix_path=path):
        client = make(transport="unix", host=path)
        assert connected(client)
        client.publish("a", "x", qos=1).wait(5)
        client.disconnect_from_server()


def test_a_websocket(make):
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = make(
            port=server.getsockname()[1],
            transport="websockets",
            path="/there?x=1",
            ws_headers={"Authorization": "Bearer x"},
        )
        dialling = threading.Thread(target=client.connect_to_server)
        dialling.start()
        connection, _ = server.accept()
        with connection:
            connection.settimeout(10)
            stream = connection.makefile("rb")
            request = [stream.readline().strip().decode()]
            while request[-1]:
                request.append(stream.readline().strip().decode())
            headers = dict(line.lower().split(": ", 1) for line in request[1:-1])
            assert request[0] == "GET /there?x=1 HTTP/1.1"
            assert headers["sec-websocket-protocol"] == "mqtt"
            assert headers["authorization"] == "bearer x"
            key = next(line[19:] for line in request if line.lower().startswith("sec-websocket-key"))
            digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: "
                + base64.b64encode(digest)
                + b"\r\n\r\n"
            )
            decoder = Decoder()
            decoder.feed(read_frame(stream))
            assert isinstance(next(decoder.packets()), Connect)
            answer = encode(Connack(), 5)
            connection.sendall(bytes([0x82, len(answer)]) + answer)
            client.wait_until_connected(5)
            dialling.join()
            closing = threading.Thread(target=client.disconnect_from_server)
            closing.start()
            assert read_frame(stream) == b"\xe0\x02\x00\x00"  # DISCONNECT
            assert read_frame(stream)[:2] in (b"", b"\x03\xe8")  # the websocket's own end
            connection.sendall(b"\x88\x00")
        closing.join()


def read_frame(stream):
    """The content of one short frame, unmasked."""
    _, length = stream.read(2)
    mask = stream.read(4)
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(stream.read(length & 0x7F)))


def test_a_crash_sends_the_will_and_a_goodbye_does_not(connect, broker, topic):
    client = connect()
    inbox = Inbox()
    client.on_message = inbox
    client.subscribe(f"{topic}/#", 1).wait(5)
    url = broker.url.replace("mqtt:", "mqtt+awscrt:")
    with juham.connect(f"{url}?will_topic={topic}/polite&will_payload=x"):
        pass
    rude = subprocess.Popen(
        [sys.executable, "-c", CRASH, f"{url}?will_topic={topic}/rude&will_payload=gone&will_qos=1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with rude:
        assert rude.stdout.readline() == b"connected\n"
        rude.kill()
    message = inbox.get()
    assert (message.topic, message.payload, message.qos) == (f"{topic}/rude", b"gone", 1)


def test_a_release_that_is_not_deliberate_sends_no_disconnect(make, begin, listener):
    client = begin(make(port=listener.port))
    peer = listener.welcome()
    client.wait_until_connected(5)
    client._close(False)
    assert peer.receive() is None


def test_the_event_loops_that_awscrt_shares_are_not_begun(connect):
    client = connect()
    client.disconnect_from_server()
    assert io.EventLoopGroup._static_event_loop_group is None


def test_a_hundred_connections_leave_nothing(make, broker):
    before = threading.active_count()
    for _ in range(100):
        client = make(**broker.options)
        assert connected(client)
        client.disconnect_from_server()
    eventually(lambda: threading.active_count() == before)


def test_a_client_that_is_held_does_not_hold_up_the_close(connect, caplog):
    client = connect()
    native = client.native
    client.disconnect_from_server()
    assert "client.native" in caplog.text
    del native
