"""Certificates for TLS in tests: good, expired, for another host, from a stranger. They protect nothing.

Their keys are public, so nobody may trust the authority outside a test.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).with_name("pem")

AUTHORITY: Final = str(_FOLDER / "authority.pem")
"""The authority that has signed all of them: ``ca_certs`` of a client that trusts them."""
STRANGER: Final = str(_FOLDER / "stranger.pem")
"""An authority that has signed none of them."""
SERVER: Final = str(_FOLDER / "server.pem")
"""Certificate and key for localhost, 127.0.0.1 and ::1."""
WRONG_HOST: Final = str(_FOLDER / "wrong-host.pem")
"""The same for elsewhere.example."""
EXPIRED: Final = str(_FOLDER / "expired.pem")
"""The same for localhost, until the beginning of 2021."""
CLIENT: Final = str(_FOLDER / "client.pem")
"""Certificate and key of a client."""


def server_context(certificate: str = SERVER, *, ask_client: bool = False) -> ssl.SSLContext:
    """What a broker shows; ``ask_client`` makes it insist on a certificate of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if ask_client:
        context.load_verify_locations(AUTHORITY)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
