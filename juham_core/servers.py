"""How the servers of one broker are written: a host, with a port if it is not the scheme's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from juham_core.errors import OptionError

_WRITTEN: Final = r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^\[\]:@/?#,\s]*))(?::(?P<port>[0-9]*))?"


class Server(NamedTuple):
    """One place where the broker may be reached; ``port`` None: the scheme's own."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: Any) -> Server:
        """Read ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port``.

        Raises OptionError, which does not repeat the text: it may be a piece of a password.
        """
        found = re.fullmatch(_WRITTEN, text) if isinstance(text, str) else None
        if found is None:
            raise OptionError(
                "a server is written host, host:port, or [address]:port for IPv6; several in a URL are "
                "separated by commas, and user and password stand once, before the first"
            )
        host = found["address"] if found["address"] is not None else found["name"]
        if not host:
            raise OptionError("one of the servers has no host: there is a comma or a colon too many")
        port = found["port"]
        if port and not (len(port) <= 5 and int(port) <= 65_535):
            raise OptionError("the port of a server is a number from 0 to 65535")
        return cls(host, int(port) if port else None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def servers_of(given: Any) -> tuple[Server, ...]:
    """Read the option ``servers``. Raises OptionError."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise OptionError('the option \'servers\' is a list of str such as ["b1:1883", "b2", "[::1]:1884"]')
    return tuple(Server.parse(each) for each in given)
