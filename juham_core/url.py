"""The URL that names a broker, a backend and the options of a connection in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from juham_core.errors import OptionError
from juham_core.message import check_qos, encode_payload
from juham_core.options import SCHEMES, SECRETS, WILL_PARTS, Options, unknown_option
from juham_core.servers import Server
from juham_core.topics import check_topic
from juham_core.wire.terms import MQTT_5, MQTT_311, Will

_PROTOCOLS: Final = {"3.1.1": MQTT_311, "311": MQTT_311, "4": MQTT_311, "5": MQTT_5, "5.0": MQTT_5}


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("it is true or false")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it is a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it is a number") from None


def _protocol(text: str) -> int:
    if text not in _PROTOCOLS:
        raise ValueError("it is 3.1.1 or 5")
    return _PROTOCOLS[text]


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "client_id": str,
    "password_file": str,
    "keepalive": _whole,
    "clean_start": _flag,
    "session_expiry": _whole,
    "protocol": _protocol,
    "bind_address": str,
    "connect_timeout": _number,
    "ack_timeout": _number,
    "close_timeout": _number,
    "ca_certs": str,
    "certfile": str,
    "keyfile": str,
    "keyfile_password": str,
    "insecure": _flag,
    "reconnect": _flag,
    "reconnect_min": _number,
    "reconnect_max": _number,
    "reconnect_reset": _number,
    "max_inflight": _whole,
    "max_queued": _whole,
    "max_requests": _whole,
    "max_received": _whole,
    "max_received_bytes": _whole,
    "outbox": str,
    "outbox_max_messages": _whole,
    "outbox_max_bytes": _whole,
    "outbox_sync": str,
    "handlers": str,
    "max_packet_size": _whole,
    "manual_ack": _flag,
}
_WILL_PARSERS: Final[dict[str, Callable[[str], Any]]] = dict(
    zip(WILL_PARTS, (str, str, _whole, _flag), strict=True)
)


_URL: Final = re.compile(r"(?:([^:/?#]*)://)?([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)


class _Parts(NamedTuple):
    scheme: str
    user: str | None
    hosts: str
    path: str
    query: str


def parse_url(url: str) -> tuple[str | None, dict[str, Any]]:
    """Split ``scheme[+backend]://[user[:password]@]host[:port][,host[:port]...][/path][?options]``.

    Returns the backend's name, if the URL has one, and the options it spells. User, password, host and path
    are percent-decoded. Raises OptionError, which never repeats the URL, for it may hold a password.
    """
    parts = _split(url)
    scheme, _, backend = parts.scheme.partition("+")
    if scheme not in SCHEMES:
        raise OptionError(
            f"unknown scheme {scheme!r}: a URL begins with {', '.join(SCHEMES)}, "
            "each followed by +BACKEND if one is to be chosen, as in mqtt+gmqtt://localhost"
        )
    transport, tls, _ = SCHEMES[scheme]
    options: dict[str, Any] = {"transport": transport, "tls": tls}
    if transport == "unix":
        options["host"] = _socket_path(parts)
    else:
        options.update(_servers(parts.hosts, transport))
        if parts.path not in ("", "/"):
            if transport != "websockets":
                raise OptionError(f"a {scheme} URL has no path; topics are named when subscribing")
            options["path"] = unquote(parts.path)
    if parts.user is not None:
        username, colon, password = parts.user.partition(":")
        options["username"] = unquote(username)
        if colon:
            options["password"] = unquote(password)
    options.update(_parse_query(parts.query))
    # The checks of Options itself, while it is plain that the URL is to blame.
    Options(**options)
    return backend or None, options


def _split(url: Any) -> _Parts:
    # Not by urlsplit: it knows one host, and from which Python on it refuses others differs.
    if not isinstance(url, str):
        raise OptionError(f"a URL is a str, not {type(url).__name__}")
    found = _URL.fullmatch(url)
    if found is None:
        raise OptionError("not a URL: it cannot be taken apart")
    scheme, authority, path, query, fragment = found.groups(default="")
    user, at, hosts = authority.rpartition("@")
    if fragment or "@" in query.partition("=")[0] or (hosts and "@" in path):
        # Most likely a password: whatever stands before would be taken for the host.
        raise OptionError(
            "a '#', '?' or '/' in a user name or password is written %23, %3F or %2F in a URL, "
            "and a '@' in a path %40"
        )
    if "@" in user and "," in user.partition("@")[2]:
        raise OptionError("user and password stand once in a URL, before the first of several hosts")
    return _Parts(scheme.lower(), user if at else None, hosts, path, query)


def _socket_path(parts: _Parts) -> str:
    path = parts.hosts + parts.path
    if not path:
        raise OptionError("a unix URL names its socket: unix:///run/mosquitto.sock")
    if "," in path:
        raise OptionError("a unix URL names one socket: a ',' in its path is written %2C")
    return unquote(path)


def _servers(hosts: str, transport: str) -> dict[str, Any]:
    if "," not in hosts:
        server = Server.parse(f"localhost{hosts}" if hosts[:1] in ("", ":") else hosts)
        found: dict[str, Any] = {"host": _decoded(server).host}
        return found if server.port is None else {**found, "port": server.port}
    if transport == "memory":
        raise OptionError("a memory URL names one broker, in this process: there is no other to turn to")
    return {"servers": tuple(str(_decoded(Server.parse(each))) for each in hosts.split(","))}


def _decoded(server: Server) -> Server:
    return Server(unquote(server.host).lower(), server.port)


def _parse_query(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    will: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        parser = _PARSERS.get(name) or _WILL_PARSERS.get(name)
        if parser is None:
            raise unknown_option(name, [*_PARSERS, *_WILL_PARSERS])
        target = will if name in _WILL_PARSERS else options
        if name in target:
            raise OptionError(f"the option {name!r} stands twice in the URL")
        try:
            target[name] = parser(text)
        except ValueError as exc:
            shown = "its value" if name in SECRETS else repr(text)
            raise OptionError(f"the option {name!r} cannot be {shown}: {exc}") from None
    if will:
        if "will_topic" not in will:
            raise OptionError("a will needs the option 'will_topic'")
        options["will"] = Will(
            check_topic(will["will_topic"]),
            encode_payload(will.get("will_payload")),
            check_qos(will.get("will_qos", 0)),
            will.get("will_retain", False),
        )
    return options
