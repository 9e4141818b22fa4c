"""The fault broker behind TLS."""

import socket
import ssl

from juham_core.testing import FaultBroker, certificates
from juham_core.wire import Connack, Connect, encode


def test_tls():
    with FaultBroker(ssl=certificates.server_context()) as faulty:
        context = ssl.create_default_context(cafile=certificates.AUTHORITY)
        with (
            socket.create_connection((faulty.host, faulty.port), 5) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secured,
        ):
            secured.sendall(encode(Connect("secure")))
            assert secured.recv(100) == encode(Connack())
        assert faulty.url.startswith("mqtts://")
