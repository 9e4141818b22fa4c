"""What the options of a connection may be, each by itself and together: the checks of ``Options``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from juham_core import credentials
from juham_core.errors import NotSupportedError, OptionError
from juham_core.message import check_qos
from juham_core.topics import check_sendable, check_topic
from juham_core.wire.properties import Properties
from juham_core.wire.terms import MQTT_5, MQTT_311, Will

if TYPE_CHECKING:
    from juham_core.options import Options

_TRANSPORTS: Final = ("tcp", "websockets", "unix", "memory")
_SECONDS: Final = (
    "connect_timeout",
    "ack_timeout",
    "close_timeout",
    "reconnect_min",
    "reconnect_max",
    "reconnect_reset",
)
_SENT: Final = frozenset({"client_id", "username"})
_MAY_BE_NONE: Final = frozenset({"port", "session_expiry", "max_packet_size"})


def check(options: Options) -> None:
    """Raise OptionError, or a kin of it, unless the options make sense, each and together."""
    if not options.host:
        raise OptionError("the option 'host' is a name, an address or a path, and not empty")
    if options.transport not in _TRANSPORTS:
        raise OptionError(
            f"the option 'transport' is tcp, websockets, unix or memory, not {options.transport!r}"
        )
    if options.handlers not in ("thread", "inline"):
        raise OptionError(f"the option 'handlers' is thread or inline, not {options.handlers!r}")
    if options.protocol not in (MQTT_311, MQTT_5):
        raise OptionError(f"the option 'protocol' is 4 (MQTT 3.1.1) or 5, not {options.protocol!r}")
    for name, low, high in _RANGES:
        _check_range(options, name, low, high)
    for name in _SECONDS:
        value = getattr(options, name)
        if not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise OptionError(f"the option {name!r} is a number of seconds, not {value!r}")
    if options.reconnect_max < options.reconnect_min:
        raise OptionError("the option 'reconnect_max' is at least 'reconnect_min'")
    _check_outbox(options)
    for name in ("host", "bind_address", "client_id", "username"):
        _check_text(name, getattr(options, name))
    _check_no_url(options)
    _check_paths(options)
    _check_password(options.password)
    credentials.check(options)
    _check_connect(options)


def _check_outbox(options: Options) -> None:
    outbox: Any = options.outbox
    if outbox is not None and (not isinstance(outbox, str) or not outbox or "\0" in outbox):
        raise OptionError(f"the option 'outbox' is the path of a file, not {outbox!r}")
    if options.outbox_sync not in ("normal", "full"):
        raise OptionError(f"the option 'outbox_sync' is normal or full, not {options.outbox_sync!r}")


def _check_password(password: Any) -> None:
    fits = (
        _fits(password)
        if isinstance(password, str)
        else password is None or (isinstance(password, bytes) and len(password) <= 0xFFFF)
    )
    if not fits:
        raise OptionError("the option 'password' is a str or bytes of at most 65,535 bytes in UTF-8")


def _check_connect(options: Options) -> None:
    if options.protocol == MQTT_311:
        secret = options.password if options.password is not None else options.password_file
        if secret is not None and options.username is None:
            raise OptionError("MQTT 3.1.1 has no password without a username (section 3.1.2.9)")
        if options.client_id == "" and not options.clean_start:
            raise OptionError(
                "under MQTT 3.1.1 a persistent session (clean_start=False) needs a client_id, and not an "
                "empty one (section 3.1.3.1): give it, or add protocol=5, where the broker may choose it"
            )
        if options.properties or (isinstance(options.will, Will) and options.will.properties):
            raise NotSupportedError("CONNECT carries properties only under MQTT 5: add protocol=5")
    if options.properties:
        options.properties.check_sendable("connect")
        # Few have any, and the codec takes long to import.
        from juham_core.wire.property_codec import encode_properties  # noqa: PLC0415

        encode_properties(options.properties, "connect")
    _check_will(options.will)


def _check_will(will: Any) -> None:
    if will is None:
        return
    if not isinstance(will, Will):
        raise OptionError(f"the option 'will' is a Will, not {type(will).__name__}; see will_set()")
    check_sendable(check_topic(will.topic))
    check_qos(will.qos)
    payload: Any = will.payload
    if not isinstance(payload, bytes) or len(payload) > 0xFFFF:
        raise OptionError("the payload of the option 'will' is bytes, 65,535 at most; see will_set()")
    Properties(will.properties).check_sendable("will")


_RANGES: Final = (
    ("port", 0, 65_535),
    ("keepalive", 0, 65_535),
    ("session_expiry", 0, 0xFFFF_FFFF),
    ("max_inflight", 1, 65_000),
    ("max_queued", 0, 2**31),
    ("max_requests", 1, 2**31),
    ("max_received", 1, 2**31),
    ("max_received_bytes", 1, 2**53),
    ("max_packet_size", 256, 268_435_460),
    ("outbox_max_messages", 1, 2**53),
    ("outbox_max_bytes", 1, 2**53),
)


def _check_text(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or "\0" in value or not _fits(value)):
        raise OptionError(f"the option {name!r} is a str without NUL of at most 65,535 bytes in UTF-8")
    if value is not None and name in _SENT and not value.isprintable():
        _check_sendable(name, value)


def _check_sendable(name: str, value: str) -> None:
    from juham_core.text import refusable  # noqa: PLC0415  # nearly all is printable

    refused = refusable(value)
    if refused is not None:
        raise OptionError(
            f"the option {name!r} contains {refused}, for which a broker may refuse each attempt to connect"
        )


def _check_no_url(options: Options) -> None:
    """A URL in another place is not repeated: it may have a password in it, and these are shown."""
    for name in ("host", "bind_address", "outbox"):
        value: str = getattr(options, name) or ""
        a_path = name == "outbox" or (name == "host" and options.transport == "unix")
        if "://" in value or ("@" in value and not a_path):
            what = "a path" if a_path else "a name or an address"
            raise OptionError(f"the option {name!r} is {what}, not a URL: juham_core.connect() takes one")


def _check_paths(options: Options) -> None:
    for name in ("ca_certs", "certfile", "keyfile"):
        value = getattr(options, name)
        if value is not None and (not isinstance(value, str | os.PathLike) or "\0" in os.fspath(value)):
            raise OptionError(f"the option {name!r} is the path of a file, not {value!r}")
    path: Any = options.path
    if not isinstance(path, str) or not path.startswith("/"):
        raise OptionError(f"the option 'path' of a websocket begins with '/', unlike {path!r}")


def _fits(value: str) -> bool:
    try:
        return len(value.encode()) <= 0xFFFF
    except UnicodeEncodeError:  # lone surrogates, which MQTT forbids as UTF-8 does (section 1.5.4)
        return False


def _check_range(options: Options, name: str, low: int, high: int) -> None:
    value = getattr(options, name)
    if value is None and name in _MAY_BE_NONE:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError(f"the option {name!r} is a whole number from {low:,} to {high:,}, not {value!r}")
