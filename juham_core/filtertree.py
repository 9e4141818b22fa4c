"""The tree that routes by topic filter: a topic finds its values, however many filters there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Generic, TypeVar

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

    def meeting(self, level: str, first: bool) -> Iterator[_Node[T]]:
        """Where levels lead that have a name in common with this one; ``first``: it is a filter's first."""
        if level == "+":
            for name, child in self.named():
                if not (first and name.startswith("$")):
                    yield child
        else:
            same = self.follow(level)
            if same is not None:
                yield same
        if self.plus is not None and not (first and level.startswith("$")):
            yield self.plus

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

    def overlaps(self, topic_filter: str) -> bool:
        """True if there is a topic that this filter matches and one that is held matches, too.

        As :func:`juham_core.topics.overlap` says it of two filters (section 3.3.4).
        """
        levels, ends_below = _levels(topic_filter)
        nodes = [self._root]
        first = True
        for level in levels:
            following: list[_Node[T]] = []
            for node in nodes:
                if node.below and not (first and level.startswith("$")):
                    return True
                following += node.meeting(level, first)
            nodes, first = following, False
        if not ends_below:
            return any(node.here or node.below for node in nodes)
        if first:  # the filter is '#', which no topic is matched by that begins with '$'
            return bool(self._root.below or next(self._root.meeting("+", True), None))
        return bool(nodes)  # none is in the tree under which nothing is held

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
