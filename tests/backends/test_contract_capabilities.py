"""The contract: what a backend declares works, and what it does not declare raises."""

import ssl
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from leaks import refused_tls
from waiting import Inbox, OldShape, eventually
from websocket import WebsocketProxy

import juham_core as juham
from juham_core.broker import EmbeddedBroker
from juham_core.wire import Puback, Pubcomp, Publish, Pubrec, Pubrel

OPTIONS = {
    "mqtt_311": {"protocol": 4},
    "mqtt_5": {"protocol": 5},
    "tcp": {"transport": "tcp"},
    "tls": {"tls": True},
    "websockets": {"transport": "websockets"},
    "unix_sockets": {"transport": "unix"},
    "in_process": {"transport": "memory"},
    "bind_address": {"bind_address": "127.0.0.1"},
    "persistent_session": {"clean_start": False},
    "manual_ack": {"manual_ack": True},
}


def test_capabilities_are_known_without_an_object(create):
    declared = {name for name, _, has in type(create()).capabilities.rows() if has}
    assert declared >= {"mqtt_311"} or declared >= {"mqtt_5"}
    assert declared & {"tcp", "in_process"}


@pytest.mark.parametrize("capability", OPTIONS)
def test_an_option_needs_its_capability(create, backend, capability):
    client = create()
    before = client.options
    if getattr(client.capabilities, capability):
        client.configure(**OPTIONS[capability])
        return
    with pytest.raises(juham.NotSupportedError, match=client.capabilities.meaning(capability)):
        client.configure(**OPTIONS[capability])
    assert client.options == before
    with pytest.raises(juham.NotSupportedError):
        juham.create(backend, **OPTIONS[capability])


@pytest.mark.lacks("qos_2")
def test_qos_2_missing(create):
    client = create()
    with pytest.raises(juham.NotSupportedError, match="QoS 2"):
        client.publish("a", "x", qos=2)
    with pytest.raises(juham.NotSupportedError, match="QoS 2"):
        client.subscribe("a", qos=2)


@pytest.mark.lacks("shared_subscriptions")
def test_shared_subscriptions_missing(create):
    with pytest.raises(juham.NotSupportedError, match="shared subscriptions"):
        create().subscribe("$share/group/a")


@pytest.mark.lacks("bind_address")
def test_a_local_address_missing(create):
    with pytest.raises(juham.NotSupportedError, match="local address"):
        create().connect_to_server(bind_address="127.0.0.1")


@pytest.mark.needs("tcp", "bind_address")
def test_a_local_address(create, peer):
    client = create()
    client.connect_to_server("127.0.0.1", peer.port, bind_address="127.0.0.2")
    conversation = peer.take_up()
    assert conversation.client_address == "127.0.0.2"
    conversation.accept()
    client.wait_until_connected(5)


@pytest.mark.needs("unix_sockets")
def test_a_unix_socket(backend, closing, tmp_path, topic):
    path = tmp_path / "broker.sock"
    with EmbeddedBroker(unix_path=str(path)):
        client = closing(juham.connect(f"unix://{path}", backend=backend))
        client.publish(topic, "x", qos=1).wait(5)
        client.disconnect_from_server()
    with pytest.raises(juham.ConnectError):
        juham.connect(f"unix://{path}", backend=backend)


@pytest.mark.needs("websockets")
def test_a_websocket(backend, closing, embedded, topic):
    proxy = WebsocketProxy((embedded.host, embedded.port))
    try:
        url = f"ws://127.0.0.1:{proxy.port}/somewhere"
        client = closing(juham.connect(url, backend=backend, ws_headers={"X-Token": "t"}))
        client.on_message = inbox = Inbox()
        client.subscribe(topic, qos=1).wait(5)
        for payload in (b"x", bytes(range(256)) * 4, b"large" * 20_000):
            client.publish(topic, payload, qos=1).wait(5)
            assert inbox.next().payload == payload
        client.disconnect_from_server()
    finally:
        proxy.close()
    ((path, headers),) = proxy.requests
    assert (path, headers["sec-websocket-protocol"], headers["x-token"]) == ("/somewhere", "mqtt", "t")


@pytest.mark.needs("persistent_session")
def test_a_persistent_session(create, broker, observer, topic, protocol):
    client_id = f"lasting-{topic[5:]}"

    def connected():
        client = create(**broker.options, client_id=client_id, clean_start=False, protocol=protocol)
        client.on_connect, client.on_message = verdict, inbox = OldShape(), Inbox()
        client.loop_start()
        client.connect_to_server()
        return client, verdict.next()[2]["session present"], inbox

    client, present, _ = connected()
    assert not present
    client.subscribe(topic, qos=1).wait(5)
    client.disconnect_from_server()
    observer.publish(topic, b"meanwhile", qos=1)
    client, present, inbox = connected()
    assert present
    assert inbox.texts(1) == ["meanwhile"]
    client.disconnect_from_server()
    client.configure(clean_start=True)
    client.connect_to_server()  # the broker forgets it
    client.wait_until_connected(5)


@pytest.mark.needs("persistent_session")
def test_a_persistent_session_needs_a_client_id_of_its_own(create, broker):
    client = create(**broker.options, clean_start=False)
    with pytest.raises(juham.OptionError, match="client_id"):
        client.connect_to_server()


@pytest.mark.needs("tcp", "manual_ack")
def test_the_application_acknowledges_qos_1(talking):
    client, conversation = talking(manual_ack=True)
    client.on_message = inbox = Inbox()
    conversation.send(Publish("a", b"1", 1, packet_id=7))
    message = inbox.next()
    client.publish("marker", "x")
    assert conversation.expect(Publish).topic == "marker"
    assert client.ack(message.mid, message.qos) == 0
    assert conversation.expect(Puback).packet_id == 7


@pytest.mark.needs("tcp", "manual_ack", "qos_2")
def test_the_application_acknowledges_qos_2(talking):
    """It does so with PUBREC or with PUBCOMP, as the library has it: without it the exchange is not over."""
    client, conversation = talking(manual_ack=True)
    client.message_callback_add("a", inbox := Inbox())
    client.message_callback_add("b", later := Inbox())

    def until(kind):
        """What the client sends until a packet of this kind; the broker's part of the exchange is played."""
        kinds = []
        while not isinstance(packet := conversation.next(), kind):
            kinds.append(packet.kind)
            if isinstance(packet, Pubrec):
                conversation.send(Pubrel(packet.packet_id))
        return kinds

    conversation.send(Publish("a", b"2", 2, packet_id=8), Publish("b", b"0"))
    later.next()
    client.publish("marker", "x")
    assert "pubcomp" not in until(Publish)
    message = inbox.next()
    client.publish("marker", "x")
    assert until(Publish) == []
    client.ack(message.mid, message.qos)
    assert "publish" not in until(Pubcomp)


def test_the_application_does_not_acknowledge_unless_told_so(client):
    with pytest.raises(juham.NotSupportedError):
        client.ack(1, 1)


# --- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_certs(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def encrypted(authority):
    """Start brokers that show a certificate for the given names."""
    started = []

    def start(*names, client_certificates=False, **validity):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names, **validity).configure_cert(context)
        if client_certificates:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        started.append(EmbeddedBroker(ssl=context).start())
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


def refused(client):
    """Connect to a broker whose certificate will not do."""
    with refused_tls(client.capabilities):
        with pytest.raises(juham.ConnectError, match=r"(?i)certificate"):
            client.connect_to_server()
        assert not client.is_connected()


@pytest.mark.needs("tcp", "tls")
class TestTls:
    def test_a_certificate_that_is_trusted(self, backend, encrypted, ca_certs, topic):
        url = f"{encrypted('127.0.0.1').url}?ca_certs={ca_certs}"
        assert url.startswith("mqtts://")
        with juham.connect(url, backend=backend) as client:
            client.on_message = inbox = Inbox()
            client.subscribe(topic, qos=1).wait(5)
            client.publish(topic, b"large" * 20_000, qos=1).wait(5)
            assert len(inbox.next().payload) == 100_000

    def test_tls_set(self, create, encrypted, ca_certs):
        client = create()
        client.tls_set(ca_certs)
        client.connect_to_server("127.0.0.1", encrypted("127.0.0.1").port)
        client.wait_until_connected(5)
        client.disconnect_from_server()

    def test_an_authority_that_is_not_trusted(self, create, encrypted):
        refused(create(host="127.0.0.1", port=encrypted("127.0.0.1").port, tls=True))

    def test_a_certificate_for_another_host(self, create, encrypted, ca_certs):
        port = encrypted("other.example").port
        refused(create(host="127.0.0.1", port=port, tls=True, ca_certs=ca_certs))

    def test_a_certificate_that_has_expired(self, create, encrypted, ca_certs):
        yesterday = datetime.now(timezone.utc) - timedelta(days=1)
        port = encrypted("127.0.0.1", not_after=yesterday).port
        refused(create(host="127.0.0.1", port=port, tls=True, ca_certs=ca_certs))

    def test_insecure_accepts_any(self, create, encrypted):
        client = create(host="127.0.0.1", port=encrypted("other.example").port, tls=True, insecure=True)
        client.connect_to_server()
        client.wait_until_connected(5)
        client.disconnect_from_server()

    @pytest.mark.needs("ssl_context")
    def test_a_context_of_the_application_s_own(self, create, encrypted, authority):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        port = encrypted("127.0.0.1").port
        client = create(host="127.0.0.1", port=port, tls=True, ssl_context=context)
        client.connect_to_server()
        client.wait_until_connected(5)
        client.disconnect_from_server()

    def test_a_client_certificate(self, create, encrypted, authority, ca_certs, tmp_path):
        broker = encrypted("127.0.0.1", client_certificates=True)
        mine = authority.issue_cert("client@example.org")
        mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
        common = {"host": "127.0.0.1", "port": broker.port, "tls": True, "ca_certs": ca_certs}
        client = create(**common, certfile=str(tmp_path / "mine.pem"))
        client.connect_to_server()
        client.wait_until_connected(5)
        client.disconnect_from_server()
        client = create(**common, reconnect=False)
        with pytest.raises(juham.ConnectError):  # noqa: PT012 - TLS 1.3 may tell only after the handshake
            client.connect_to_server()
            client.wait_until_connected(5)

    def test_a_plain_port(self, create, peer):
        client = create(**peer.options, tls=True, connect_timeout=0.5)
        with pytest.raises(juham.ConnectError):
            client.connect_to_server()

    def test_files_that_cannot_be_used(self, create):
        with pytest.raises(juham.OptionError, match="missing"):
            create(host="127.0.0.1", port=1, tls=True, ca_certs="/missing.pem").connect_to_server()
        if type(create()).tls_set is juham.JMqtt.tls_set:  # paho clients raise what paho raises
            with pytest.raises(juham.OptionError, match="missing"):
                create().tls_set("/missing.pem")


def test_nothing_of_a_client_is_left_in_the_broker(connect, embedded, broker):
    if broker.kind != "embedded":
        pytest.skip("only the embedded broker can be asked")
    before = embedded.statistics.sessions
    client = connect()
    assert embedded.statistics.sessions == before + 1
    client.disconnect_from_server()
    assert eventually(lambda: embedded.statistics.sessions == before)
