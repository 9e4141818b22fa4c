"""Every error Juham raises, in one tree under :class:`JuhamError`.

Each class also derives from the built-in exception a Python programmer would try first, so
``except ConnectionError`` or ``except ValueError`` catch what they promise without importing this module.
"""

from __future__ import annotations

from collections.abc import Mapping


class JuhamError(Exception):
    """The root of the tree: catches whatever Juham raises on purpose."""


# --- bad input: raised at the call, before anything is sent -------------------------------------------


class InvalidArgumentError(JuhamError, ValueError):
    """An argument that MQTT or this library does not allow; nothing was sent."""


class TopicError(InvalidArgumentError):
    """A topic name or topic filter that MQTT forbids (MQTT 5 section 4.7)."""


class PayloadError(InvalidArgumentError):
    """A payload of the wrong type, or one larger than a packet can carry (268,435,455 bytes)."""


class QosError(InvalidArgumentError):
    """A quality of service other than 0, 1 or 2."""


class OptionError(InvalidArgumentError):
    """A connection option or URL that is unknown, malformed or contradicts another."""


class NotSupportedError(JuhamError):
    """The backend, or the protocol version in use, lacks what was asked for; nothing was sent."""


# --- the connection -----------------------------------------------------------------------------------


class ConnectError(JuhamError, ConnectionError):
    """No connection could be made.

    ``reason_code`` is the broker's CONNACK code where there was one, else None. ``errors``, where several
    servers were tried, is what each of them said, by its address.
    """

    def __init__(
        self,
        message: str,
        *,
        reason_code: int | None = None,
        errors: Mapping[str, ConnectError] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.errors = dict(errors or {})


class AuthError(ConnectError):
    """The broker refused the credentials or the client identifier: trying again would not help."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """The broker did not answer within the time allowed."""


class NotConnectedError(JuhamError, ConnectionError):
    """What was asked needs a connection, and there is none or it ended first."""


# --- publishing and subscribing -----------------------------------------------------------------------


class ReceiptTimeoutError(JuhamError, TimeoutError):
    """``wait`` gave up. The request itself is still under way, and the receipt may be waited for again."""


class DeadlockError(JuhamError, RuntimeError):
    """A wait for what only the thread that waits could bring: inside a handler, or in an event loop."""


class PublishError(JuhamError):
    """The broker answered a publish with a negative reason code (MQTT 5 section 3.4.2.1)."""

    def __init__(self, message: str, *, reason_code: int | None = None) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class SubscribeError(JuhamError):
    """The broker refused one or more topic filters; ``refused`` maps each to its reason code."""

    def __init__(self, message: str, *, refused: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.refused = dict(refused or {})


class QueueFullError(JuhamError):
    """The queue of messages that wait for the broker is full; the message was not accepted."""


class OutboxError(JuhamError, OSError):
    """The outbox cannot be used, or could not store the message, which was then not accepted.

    Its file is in use by another process, the disk is full or fails, or the file is not an outbox.
    """


class MalformedPacketError(JuhamError, ValueError):
    """The other side sent what MQTT forbids; the connection cannot go on (MQTT 5 section 4.13).

    ``reason_code`` is what a DISCONNECT of MQTT 5 says about it (or a CONNACK, where the CONNECT was bad):
    0x81 malformed, 0x82 protocol error, 0x84 unsupported version (only for a CONNECT), 0x94 topic alias
    invalid, 0x95 packet too large.
    """

    def __init__(self, message: str, *, reason_code: int = 0x81) -> None:
        super().__init__(message)
        self.reason_code = reason_code


# --- finding a backend --------------------------------------------------------------------------------


class BackendError(JuhamError):
    """A backend could not be had by its name.

    ``name`` is the name that was asked for, ``distribution`` the package concerned, where one is.
    """

    def __init__(self, message: str, *, name: str | None = None, distribution: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.distribution = distribution


class BackendNotFoundError(BackendError, LookupError):
    """No installed distribution provides a backend of this name."""


class BackendImportError(BackendError, ImportError):
    """The distribution is installed, but importing its backend failed; the cause is chained."""

    # ImportError has attributes of the same name for the module concerned.
    name: str | None
    distribution: str | None


class BackendInvalidError(BackendError, TypeError):
    """What the entry point names is no usable backend: no JMqtt, or one with methods missing."""


class BackendVersionError(BackendError):
    """The backend was written for a contract version that this juham-core does not speak."""


class BackendAmbiguousError(BackendError):
    """Several distributions claim the name, or several backends could be the default."""


class BackendBlockedError(BackendError, PermissionError):
    """The allow or block list of the environment excludes the backend."""


# --- configuration ------------------------------------------------------------------------------------


class ConfigError(JuhamError, ValueError):
    """A configuration file that cannot be read as what it should be; the message names the file."""


class ClassNotFoundError(JuhamError, LookupError):
    """No class is registered, and no installed backend provides one, under this class id."""


def interrupted(exc: BaseException) -> PublishError:
    """What becomes of a request that a program was ended in, by KeyboardInterrupt for one."""
    return PublishError(f"{type(exc).__name__} came while it was being sent: the broker may have it or not")


def translated(exc: Exception, what: str) -> JuhamError:
    """What a client library raised, in our own words."""
    if isinstance(exc, JuhamError):
        return exc
    error = PublishError(f"the client library failed to {what}: {type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
