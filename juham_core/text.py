"""Text for which a broker may end the connection: sent again with the next, that would go on for ever."""

from __future__ import annotations

import re
from typing import Final

_REFUSED: Final = (
    "[\\x00-\\x1f\\x7f-\\x9f\\ufdd0-\\ufdef"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
"""Control characters, and code points that Unicode keeps from being characters."""


def refusable(text: str) -> str | None:
    """The first code point that MQTT advises against, as ``U+000A``, or None (MQTT 5 section 1.5.4).

    Whoever receives it may treat the packet as malformed, and Mosquitto does so.
    """
    if text.isprintable():  # as nearly all is, and no such code point
        return None
    found = re.search(_REFUSED, text)
    return None if found is None else f"U+{ord(found[0]):04X}"
