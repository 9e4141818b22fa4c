"""What the errors of an attempt to connect tell people to look at."""

import socket
import ssl

import pytest

from juham_core.broker import EmbeddedBroker
from juham_core.options import Options
from juham_core.verdicts import unreachable


def told(exc, **options):
    error = unreachable(exc, Options(**options))
    assert error.__cause__ is exc
    return str(error)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as raised:
        socket.create_connection(("127.0.0.1", port), timeout=10)
    text = told(raised.value, host="127.0.0.1", port=port)
    assert text.startswith(f"cannot connect to mqtt://127.0.0.1:{port}: ")
    assert text.endswith("refused; does a broker listen there?")


def test_a_host_of_no_such_name():
    with pytest.raises(socket.gaierror) as raised:
        socket.getaddrinfo("no-number", 1, flags=socket.AI_NUMERICHOST)
    assert told(raised.value).endswith("; is the name of the host right?")


def test_a_port_without_tls():
    with EmbeddedBroker() as broker, socket.create_connection(("127.0.0.1", broker.port), timeout=10) as sock:
        context = ssl.create_default_context()
        with pytest.raises(OSError) as raised:
            context.wrap_socket(sock, server_hostname="localhost")
    assert "does the broker speak TLS on this port" in told(raised.value, tls=True)
    assert "TLS" not in told(ConnectionResetError("reset"))


def test_a_certificate_that_is_not_trusted():
    exc = ssl.SSLCertVerificationError(1, "self-signed certificate")
    assert "certificate; ca_certs names the file of the authorities to trust" in told(exc, tls=True)


def test_a_port_without_websockets():
    exc = ConnectionError("handshake error")
    assert "error; does the broker speak websockets on this port" in told(exc, transport="websockets")


def test_an_error_without_words_has_its_name():
    assert told(ConnectionResetError()) == "cannot connect to mqtt://localhost:1883: ConnectionResetError"
