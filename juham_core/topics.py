"""Topic names and topic filters (MQTT 5 section 4.7): pure functions, and the tree that routes by filter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from juham_core.errors import TopicError

MAX_TOPIC_BYTES: Final = 65_535
SHARE_PREFIX: Final = "$share/"
_MOST_CHECKED: Final = 4096
_checked: dict[str, None] = {}
"""Topics that were published to lately: most programs use few, again and again."""


def check_topic(topic: object) -> str:
    """Return the topic name if it may be published to; raise :class:`TopicError` if not.

    Forbidden are anything but str, the empty string, the wildcards ``#`` and ``+``, NUL, text that UTF-8
    cannot carry (lone surrogates) and more than 65,535 bytes (MQTT 5 sections 1.5.4 and 4.7.3).
    """
    if type(topic) is str and topic in _checked:
        return topic
    text = _check_text(topic, "topic")
    if "#" in text or "+" in text:
        raise TopicError(f"cannot publish to {_shown(text)}: '#' and '+' are wildcards, for subscribing only")
    if len(_checked) >= _MOST_CHECKED:
        _checked.clear()
    _checked[text] = None
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


T = TypeVar("T")


class _Node(Generic[T]):
    """What is held at one place of the tree, in few objects: of many filters, most are not in a cache."""

    __slots__ = ("below", "child", "children", "here", "name", "plus")

    def __init__(self) -> None:
        self.name: str | None = None
        """The first child's name: most nodes have one child at most, which takes no dict."""
        self.child: _Node[T] | None = None
        self.children: dict[str, _Node[T]] | None = None
        """The others."""
        self.plus: _Node[T] | None = None
        """Where ``+`` leads."""
        self.here: tuple[T, ...] = ()
        """Values of the filter that ends here."""
        self.below: tuple[T, ...] = ()
        """Values of the filter that goes on with ``#``."""

    def is_empty(self) -> bool:
        """True if nothing is held here or further on."""
        return not (self.here or self.below or self.children) and self.plus is None and self.child is None

    def named(self) -> Iterator[tuple[str, _Node[T]]]:
        """The children with names."""
        if self.name is not None and self.child is not None:
            yield self.name, self.child
        yield from (self.children or {}).items()

    def follow(self, level: str) -> _Node[T] | None:
        """Where a level of a filter leads."""
        if level == "+":
            return self.plus
        if level == self.name:
            return self.child
        return self.children.get(level) if self.children else None

    def enter(self, level: str) -> _Node[T]:
        """As :meth:`follow`, but make what is missing."""
        found = self.follow(level)
        if found is None:
            found = _Node()
            if level == "+":
                self.plus = found
            elif self.name is None:
                self.name, self.child = sys.intern(level), found
            else:
                if self.children is None:
                    self.children = {}
                self.children[sys.intern(level)] = found
        return found

    def forget(self, level: str) -> None:
        """Let go of where a level leads."""
        if level == "+":
            self.plus = None
        elif level == self.name:
            self.name, self.child = None, None
        elif self.children:
            del self.children[level]


class FilterTree(Generic[T]):
    """Values by topic filter, found by topic in time that grows with the topic's depth.

    The number of filters does not matter: each level of the topic follows at most its own name, ``+`` and
    ``#``. A filter may hold several values; equal ones are held once. Not locked: its owner is, and a reader
    may go through what it has found while the owner changes the tree.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, topic_filter: str, value: T) -> None:
        """Hold the value under a (valid, unshared) filter, unless an equal one is held there already."""
        levels, ends_below = _levels(topic_filter)
        node = self._root
        for level in levels:
            node = node.enter(level)
        if ends_below:
            if value not in node.below:
                node.below = (*node.below, value)
        elif value not in node.here:
            node.here = (*node.here, value)

    def remove(self, topic_filter: str, value: T | None = None) -> bool:
        """Let go of one value, or of all a filter holds; True if there was anything to let go of."""
        levels, ends_below = _levels(topic_filter)
        path: list[tuple[_Node[T], str]] = []
        node: _Node[T] | None = self._root
        for level in levels:
            if node is None:
                return False
            path.append((node, level))
            node = node.follow(level)
        if node is None:
            return False
        held = node.below if ends_below else node.here
        kept = () if value is None else tuple(other for other in held if other != value)
        if ends_below:
            node.below = kept
        else:
            node.here = kept
        for parent, level in reversed(path):
            if not node.is_empty():
                break
            parent.forget(level)
            node = parent
        return len(kept) != len(held)

    def get(self, topic_filter: str) -> list[T]:
        """What is held under exactly this filter."""
        levels, ends_below = _levels(topic_filter)
        node: _Node[T] | None = self._root
        for level in levels:
            node = node.follow(level) if node is not None else None
        if node is None:
            return []
        return list(node.below if ends_below else node.here)

    def match(self, topic: str) -> list[T]:  # noqa: C901  # the hottest loop of all is kept in one piece
        """What is held under every filter that matches the topic; equal values from two filters come once."""
        found: list[T] = []
        nodes = [self._root]
        # Section 4.7.2: a wildcard in the first level does not match a topic that begins with '$'.
        wild = not topic.startswith("$")
        for level in topic.split("/"):
            following: list[_Node[T]] = []
            for node in nodes:
                if wild:
                    if node.below:
                        found += node.below
                    if node.plus is not None:
                        following.append(node.plus)
                if node.name == level:
                    if node.child is not None:
                        following.append(node.child)
                elif node.children is not None:
                    named = node.children.get(level)
                    if named is not None:
                        following.append(named)
            nodes = following
            wild = True
            if not nodes:
                break
        for node in nodes:
            found += node.here
            found += node.below  # 'a/#' matches 'a'
        return found if len(found) < 2 else _unique(found)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        pending: list[tuple[str, _Node[T]]] = [("", self._root)]
        while pending:
            path, node = pending.pop()
            for value in node.here:
                yield path[:-1], value
            for value in node.below:
                yield f"{path}#", value
            if node.plus is not None:
                pending.append((f"{path}+/", node.plus))
            pending += [(f"{path}{level}/", child) for level, child in node.named()]

    def __bool__(self) -> bool:
        return not self._root.is_empty()


def _levels(topic_filter: str) -> tuple[list[str], bool]:
    """The levels of a filter before its ``#``, and whether it has one."""
    levels = topic_filter.split("/")
    if levels[-1] != "#":
        return levels, False
    return levels[:-1], True


def _unique(values: list[T]) -> list[T]:
    unique: list[T] = []
    for value in values:
        if value not in unique:
            unique.append(value)
    return unique
