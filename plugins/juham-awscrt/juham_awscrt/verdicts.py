"""What awscrt's reason codes and errors mean: the one place where they are told apart."""

from __future__ import annotations

from typing import Any, Final

from juham_core.errors import PublishError
from juham_core.options import Options
from juham_core.wire.reasons import UNSPECIFIED_ERROR

_BAD_PACKETS: Final = frozenset(
    {
        "AWS_ERROR_MQTT5_PACKET_VALIDATION",
        "AWS_ERROR_MQTT5_PUBLISH_OPTIONS_VALIDATION",
        "AWS_ERROR_MQTT5_SUBSCRIBE_OPTIONS_VALIDATION",
        "AWS_ERROR_MQTT5_UNSUBSCRIBE_OPTIONS_VALIDATION",
        "AWS_ERROR_MQTT5_ENCODE_SIZE_UNSUPPORTED_PACKET_TYPE",
        "AWS_ERROR_MQTT5_USER_PROPERTY_VALIDATION",
    }
)


def code_of(reason_code: Any) -> int:
    """A reason code as a number; awscrt makes None of one it does not know, which is no success."""
    return UNSPECIFIED_ERROR if reason_code is None else int(reason_code)


def is_refusal(error: BaseException) -> bool:
    """True if awscrt will not send this packet on any connection like this one.

    Among the reasons: it is larger than the broker takes, or the broker has no retained messages. Any other
    error is that of the connection, and says nothing about the packet.
    """
    return isinstance(error, PublishError) or getattr(error, "name", "") in _BAD_PACKETS


def is_over(error: BaseException) -> bool:
    """True if with this error nothing is left of the connection; else awscrt tells it before it ends it."""
    return not getattr(error, "name", "").startswith("AWS_ERROR_MQTT5_")


def plain(options: Options) -> bool:
    """True if CONNECT is the first thing to be sent: neither TLS nor websockets come before it."""
    return not options.tls and options.transport != "websockets"


def transport_stood(error: BaseException, options: Options) -> bool:
    """True if the attempt failed after CONNECT had gone out."""
    name = getattr(error, "name", "")
    if name == "AWS_IO_SOCKET_CLOSED":
        return plain(options)
    return bool(name.startswith("AWS_ERROR_MQTT"))
