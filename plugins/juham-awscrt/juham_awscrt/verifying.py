"""Whether a broker is to be trusted, found out before awscrt's own TLS does.

awscrt verifies each connection, too. But it waits for 10 to 30 seconds, on purpose, before it says that it
finds a certificate wanting, and keeps its thread and the socket for as long. So before the first connection
to a broker, and before the one that follows a failure, Python's ssl makes a handshake with the same files.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

from juham_core.dial import Attempt, dial
from juham_core.errors import ConnectTimeoutError
from juham_core.options import Options


def subject(options: Options) -> Hashable | None:
    """What is to be found out, as something to compare; None if nobody has to be trusted."""
    if not options.tls or options.transport == "unix" or not options.verifies:
        return None
    return options.host, options.effective_port, options.ca_certs, options.certfile, options.keyfile


def verify(options: Options, deadline: float, attempt: Attempt) -> None:
    """Make a TLS handshake and nothing else; blocks until ``deadline`` (time.monotonic).

    Raises OSError, and of that ssl.SSLError if the broker is not to be trusted, ConnectTimeoutError when the
    time is over and ConnectError once ``attempt`` has been given up.
    """
    context = options.make_ssl_context()
    assert context is not None, "options with TLS make a context"
    sock = dial(options.host, options.effective_port, "", deadline, attempt)
    try:
        sock = context.wrap_socket(sock, server_hostname=options.host, do_handshake_on_connect=False)
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        attempt.waits_for(sock)
        sock.do_handshake()
    except TimeoutError as exc:
        raise ConnectTimeoutError(f"{options.describe()} did not finish the TLS handshake in time") from exc
    finally:
        attempt.over()
        sock.close()
