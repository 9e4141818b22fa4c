"""What a backend lacks raises where it is asked for; and TLS where the kit does not try it."""

import ssl

import pytest
import trustme

import juham_core as juham
from juham_core.broker import EmbeddedBroker

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


@pytest.mark.parametrize("capability", OPTIONS)
def test_an_option_of_a_plugin_s_needs_its_capability_too(create, capability):
    """To go on without it would be worse: with a password and without TLS, say."""
    client = create(reconnect=False)
    if getattr(client.capabilities, capability):
        return

    class Plugin:
        @juham.hookimpl
        def jmqtt_connecting(self, client, options):
            return options.changed(**OPTIONS[capability]) if client is asked[0] else None

    asked, plugin = [client], Plugin()
    juham.hooks.register(plugin)
    try:
        with pytest.raises(juham.ConnectError, match=client.capabilities.meaning(capability)):
            client.connect_to_server()
    finally:
        juham.hooks.unregister(plugin)
        client.disconnect_from_server()


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


@pytest.mark.needs("tcp", "tls")
class TestTls:
    @pytest.mark.needs("ssl_context")
    def test_a_context_of_the_application_s_own(self, create, encrypted, authority):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        port = encrypted("127.0.0.1").port
        client = create(host="127.0.0.1", port=port, tls=True, ssl_context=context)
        client.connect_to_server()
        client.wait_until_connected(5)
        client.disconnect_from_server()

    def test_files_that_cannot_be_used(self, create):
        with pytest.raises(juham.OptionError, match="missing"):
            create(host="127.0.0.1", port=1, tls=True, ca_certs="/missing.pem").connect_to_server()
        if type(create()).tls_set is juham.JMqtt.tls_set:  # paho clients raise what paho raises
            with pytest.raises(juham.OptionError, match="missing"):
                create().tls_set("/missing.pem")
