"""TLS on every network backend, with certificates that the test makes: who is believed, by either side."""

import logging
import ssl
from contextlib import contextmanager

import pytest
import trustme

import juham_core as juham
from juham_core.broker import EmbeddedBroker

pytestmark = pytest.mark.needs("tcp", "tls")

PATIENCE = 10


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trusted(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@contextmanager
def listening(authority, name, *, asks=False):
    """A broker whose certificate is for this name; one that asks for a certificate of the client's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if asks:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    with EmbeddedBroker(ssl=context) as broker:
        yield {"host": "127.0.0.1", "port": broker.port, "tls": True, "reconnect": False}


def connected(client):
    client.connect_to_server()
    client.wait_until_connected(PATIENCE)
    return client.is_connected()


def test_a_trusted_broker_is_believed(create, authority, trusted):
    with listening(authority, "127.0.0.1") as where:
        client = create(**where, ca_certs=trusted)
        assert connected(client)
        client.disconnect_from_server()


def test_a_stranger_is_not(create, trusted):
    with listening(trustme.CA(), "127.0.0.1") as where, pytest.raises(juham.ConnectError):
        connected(create(**where, ca_certs=trusted))


def test_who_is_trusted_by_nobody_is_not(create, authority):
    with listening(authority, "127.0.0.1") as where, pytest.raises(juham.ConnectError):
        connected(create(**where))


def test_the_certificate_of_another_host_is_not(create, authority, trusted):
    with listening(authority, "elsewhere.example") as where, pytest.raises(juham.ConnectError):
        connected(create(**where, ca_certs=trusted))


def test_insecure_believes_whoever_it_is_and_says_so(create, caplog):
    with listening(trustme.CA(), "elsewhere.example") as where, caplog.at_level(logging.WARNING, "juham"):
        client = create(**where, insecure=True)
        assert connected(client)
        client.disconnect_from_server()
    (line,) = (record.getMessage() for record in caplog.records if record.name == "juham.backend")
    assert "insecure is set" in line


def test_each_proves_who_it_is(create, authority, trusted, tmp_path):
    mine = authority.issue_cert("me@example.org")
    certificate, key = tmp_path / "me.pem", tmp_path / "me.key"
    mine.cert_chain_pems[0].write_to_path(certificate)
    mine.private_key_pem.write_to_path(key)
    with listening(authority, "127.0.0.1", asks=True) as where:
        client = create(**where, ca_certs=trusted, certfile=str(certificate), keyfile=str(key))
        assert connected(client)
        client.disconnect_from_server()
        with pytest.raises(juham.ConnectError):
            connected(create(**where, ca_certs=trusted))


def test_a_certificate_of_a_stranger_s_is_no_proof(create, authority, trusted, tmp_path):
    other = trustme.CA().issue_cert("me@example.org")
    path = tmp_path / "other.pem"
    other.private_key_and_cert_chain_pem.write_to_path(path)
    with listening(authority, "127.0.0.1", asks=True) as where, pytest.raises(juham.ConnectError):
        connected(create(**where, ca_certs=trusted, certfile=str(path)))
