"""Topic names and topic filters (MQTT 5 section 4.7): pure functions."""

from __future__ import annotations

from typing import Final

from juham_core.errors import TopicError

MAX_TOPIC_BYTES: Final = 65_535
SHARE_PREFIX: Final = "$share/"
SHARED_BY_NOBODY: Final = "$share"
_MOST_CHECKED: Final = 4096
known: Final[dict[str, None]] = {}
"""Topics that were published to lately, and are in order: most programs use few, again and again."""


def check_topic(topic: object) -> str:
    """Return the topic name if it may be published to; raise :class:`TopicError` if not.

    Forbidden are anything but str, the empty string, the wildcards ``#`` and ``+``, NUL, text that UTF-8
    cannot carry (lone surrogates) and more than 65,535 bytes (MQTT 5 sections 1.5.4 and 4.7.3).
    """
    if type(topic) is str and topic in known:
        return topic
    text = _check_text(topic, "topic")
    if "#" in text or "+" in text:
        raise TopicError(f"cannot publish to {_shown(text)}: '#' and '+' are wildcards, for subscribing only")
    if text.isprintable():  # so that who sends it need not look again: see check_sendable()
        if len(known) >= _MOST_CHECKED:
            known.clear()
        known[text] = None
    return text


def check_sendable(text: str, what: str = "topic") -> str:
    """Return a valid topic or filter; raise :class:`TopicError` where a broker may end the connection for it.

    Such are those with control characters or with code points that are no characters (section 1.5.4), and
    the filter ``$share``, which MQTT allows.
    """
    if text == SHARED_BY_NOBODY and what == "topic filter":
        raise TopicError(
            "invalid topic filter '$share': a broker may end the connection for it; a shared subscription "
            "reads $share/GROUP/FILTER"
        )
    if text.isprintable():
        return text
    from juham_core.text import refusable  # noqa: PLC0415  # nearly all is printable

    refused = refusable(text)
    if refused is not None:
        raise TopicError(
            f"invalid {what} {_shown(text)}: it contains {refused}, for which a broker may end the connection"
        )
    return text


def is_topic_name(topic: str) -> bool:
    """Tell whether text that was decoded may be the topic of a message: for what a broker has sent."""
    return bool(topic) and "#" not in topic and "+" not in topic and "\0" not in topic


def check_filter(topic_filter: object) -> str:
    """Return the topic filter if it may be subscribed to; raise :class:`TopicError` if not.

    ``+`` must fill a level and ``#`` must fill the last one (section 4.7.1). A shared subscription reads
    ``$share/GROUP/FILTER`` with a group free of wildcards and a filter that is not empty (section 4.8.2).
    """
    text = _check_text(topic_filter, "topic filter")
    _, plain = split_share(text)
    levels = plain.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position != len(levels) - 1):
            raise TopicError(f"invalid topic filter {_shown(text)}: '#' must stand alone in the last level")
        if "+" in level and level != "+":
            raise TopicError(f"invalid topic filter {_shown(text)}: '+' must stand alone in its level")
    return text


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """Split ``$share/GROUP/FILTER`` into group and filter; a plain filter has the group None."""
    if not topic_filter.startswith(SHARE_PREFIX):
        return None, topic_filter
    group, separator, plain = topic_filter[len(SHARE_PREFIX) :].partition("/")
    if not group or not separator or not plain or "+" in group or "#" in group:
        raise TopicError(
            f"invalid shared subscription {_shown(topic_filter)}: "
            "it reads $share/GROUP/FILTER, with a group free of wildcards"
        )
    return group, plain


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a valid topic filter matches a valid topic name (section 4.7).

    ``a/#`` matches ``a`` itself; one that begins with a wildcard matches no topic that begins with ``$``.
    """
    _, plain = split_share(topic_filter)
    if topic.startswith("$") and plain[0] in "+#":
        return False
    wanted, levels = plain.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position == len(levels) or level not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a topic that both filters match; both valid and unshared (section 3.3.4)."""
    if "$" in (one[0], other[0]) and (one[0] in "+#" or other[0] in "+#"):
        return False
    left, right = one.split("/"), other.split("/")
    for mine, yours in zip(left, right, strict=False):
        if mine == "#" or yours == "#":
            return True
        if mine not in (yours, "+") and yours != "+":
            return False
    longer = max(left, right, key=len)
    return len(left) == len(right) or longer[min(len(left), len(right)) :] == ["#"]


def _check_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise TopicError(f"a {what} is a str, not {type(text).__name__}")
    if not text:
        raise TopicError(f"a {what} has at least one character")
    if "\0" in text:
        raise TopicError(f"invalid {what} {_shown(text)}: it contains NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise TopicError(f"invalid {what} {_shown(text)}: it is not valid UTF-8 ({exc.reason})") from exc
    if size > MAX_TOPIC_BYTES:
        raise TopicError(f"a {what} has at most {MAX_TOPIC_BYTES:,} bytes; {_shown(text)} has {size:,}")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
