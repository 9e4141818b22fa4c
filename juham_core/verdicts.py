"""What reason codes and the errors of the system mean for the life of a connection, and how they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from juham_core.errors import AuthError, ConnectError
from juham_core.wire import reasons
from juham_core.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from juham_core.options import Options

CREDENTIALS: Final = frozenset(
    {
        reasons.CLIENT_IDENTIFIER_NOT_VALID,
        reasons.BAD_USER_NAME_OR_PASSWORD,
        reasons.NOT_AUTHORIZED,
        reasons.BANNED,
        reasons.BAD_AUTHENTICATION_METHOD,
    }
)
"""Refusals that say who asks is not welcome: an AuthError, and no further attempt."""
STOPPING: Final = CREDENTIALS | {reasons.SESSION_TAKEN_OVER}
"""What trying again cannot mend, nor another server: they share the users and the sessions."""
FINAL: Final = STOPPING | {
    reasons.UNSUPPORTED_PROTOCOL_VERSION,
    reasons.USE_ANOTHER_SERVER,
    reasons.SERVER_MOVED,
}
"""What trying the same server again cannot mend."""


def refusal(
    code: int, where: str, why: str | None = None, reference: str | None = None
) -> ConnectError:
    """The error for a CONNACK that refuses (MQTT 5 section 3.2.2.2).

    ``why`` is the broker's reason string, ``reference`` the server it names instead (section 4.13).
    """
    text = f"{where} refused the connection: {reason(code, why, reference)}"
    if code in CREDENTIALS:
        return AuthError(f"{text}; check username, password and client_id", reason_code=code)
    return ConnectError(text, reason_code=code)


def reason(code: int, why: str | None, reference: str | None) -> str:
    """A reason code in words, with what the broker adds."""
    said = f"{ReasonCode(code)} ({why})" if why else str(ReasonCode(code))
    if reference is None:
        return said
    return f"{said}; it names {reference!r}, which is followed only if it is among the servers of the options"


def suspicion(count: int, client_id: str | None) -> str:
    """What to think of so many connections in a row that were accepted and did not last."""
    return (
        f"; {count} connections in a row were accepted and soon closed: most likely another client connects "
        f"with the same client_id {client_id!r}, or the broker closes on what is sent right after "
        "connecting, such as a publish it does not allow; attempts go on, ever slower"
    )


def unreachable(exc: Exception, options: Options) -> ConnectError:
    """The error for a transport that did not come about, with what to look at next."""
    what = str(exc) or type(exc).__name__
    error = ConnectError(f"cannot connect to {options.describe()}: {what}{_advice(exc, options)}")
    error.__cause__ = exc
    return error


def _advice(exc: Exception, options: Options) -> str:
    import socket  # noqa: PLC0415  # for errors alone

    if isinstance(exc, ConnectionRefusedError):
        return "; does a broker listen there?"
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "; is the name of the host right?"
    if isinstance(exc, FileNotFoundError) and options.transport == "unix":
        return "; does a broker listen on this socket?"
    if options.tls:
        import ssl  # noqa: PLC0415  # as above

        if isinstance(exc, ssl.SSLCertVerificationError):
            return "; ca_certs names the file of the authorities to trust"
        if isinstance(exc, ssl.SSLError | ConnectionResetError):
            return "; does the broker speak TLS on this port, and does it ask for a certificate (certfile)?"
    if options.transport == "websockets" and isinstance(exc, ConnectionError):
        return "; does the broker speak websockets on this port, at this path?"
    return ""


def as_connect_error(exc: Exception) -> ConnectError:
    """What an attempt raised, as the one kind of error."""
    if isinstance(exc, ConnectError):
        return exc
    error = ConnectError(str(exc))
    error.__cause__ = exc
    return error
