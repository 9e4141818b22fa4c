"""The tree that routes by topic filter: a topic finds its values, however many filters there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import ClassVar, Generic, TypeAlias, TypeVar

T = TypeVar("T")


class _Leaf(tuple[T, ...]):
    """A place where filters end and none goes on: their values, and no more.

    That is what most places of a large tree are, and the fewer objects there are to look at, the more of
    them are in the processor's caches.
    """

    __slots__ = ()
    name: ClassVar[None] = None
    child: ClassVar[None] = None
    children: ClassVar[None] = None
    plus: ClassVar[None] = None
    below: ClassVar[tuple[()]] = ()

    @property
    def here(self) -> tuple[T, ...]:
        """The values."""
        return self

    def is_empty(self) -> bool:
        """True if nothing is held here."""
        return not self

    def named(self) -> Iterator[tuple[str, _Place[T]]]:
        """Nothing goes on here."""
        return iter(())

    def follow(self, level: str) -> None:
        """Nothing goes on here."""


class _Node(Generic[T]):
    """A place where filters go on; they may end there, too."""

    __slots__ = ("below", "child", "children", "here", "name", "plus")

    def __init__(self, here: tuple[T, ...] = ()) -> None:
        self.name: str | None = None
        """The first child's name: most nodes have one child at most, which takes no dict."""
        self.child: _Place[T] | None = None
        self.children: dict[str, _Place[T]] | None = None
        """The others."""
        self.plus: _Place[T] | None = None
        """Where ``+`` leads."""
        self.here = here
        """Values of the filter that ends here."""
        self.below: tuple[T, ...] = ()
        """Values of the filter that goes on with ``#``."""

    def is_empty(self) -> bool:
        """True if nothing is held here or further on."""
        return not (self.here or self.below or self.children) and self.plus is None and self.child is None

    def named(self) -> Iterator[tuple[str, _Place[T]]]:
        """The children with names."""
        if self.name is not None and self.child is not None:
            yield self.name, self.child
        yield from (self.children or {}).items()

    def follow(self, level: str) -> _Place[T] | None:
        """Where a level of a filter leads."""
        if level == "+":
            return self.plus
        if level == self.name:
            return self.child
        return self.children.get(level) if self.children else None

    def enter(self, level: str) -> _Node[T]:
        """As :meth:`follow`, but make what is missing, and have filters go on there."""
        found = self.follow(level)
        if not isinstance(found, _Node):
            found = _Node(found or ())
            self.put(level, found)
        return found

    def put(self, level: str, place: _Place[T]) -> None:
        """Have a level lead there."""
        if level == "+":
            self.plus = place
        elif self.children and level in self.children:
            self.children[level] = place
        elif self.name is None or self.name == level:
            self.name, self.child = sys.intern(level), place
        else:
            if self.children is None:
                self.children = {}
            self.children[sys.intern(level)] = place

    def forget(self, level: str) -> None:
        """Let go of where a level leads."""
        if level == "+":
            self.plus = None
        elif level == self.name:
            self.name, self.child = None, None
        elif self.children:
            del self.children[level]


_Place: TypeAlias = "_Node[T] | _Leaf[T]"


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
        last = "" if ends_below else levels.pop()
        node = self._root
        for level in levels:
            node = node.enter(level)
        if ends_below:
            node.below = _with(node.below, value)
            return
        place = node.follow(last)
        if isinstance(place, _Node):
            place.here = _with(place.here, value)
        else:
            node.put(last, _Leaf(_with(place or (), value)))

    def remove(self, topic_filter: str, value: T | None = None) -> bool:
        """Let go of one value, or of all a filter holds; True if there was anything to let go of."""
        levels, ends_below = _levels(topic_filter)
        path: list[tuple[_Node[T], str]] = []
        place: _Place[T] | None = self._root
        for level in levels:
            if not isinstance(place, _Node):
                return False
            path.append((place, level))
            place = place.follow(level)
        if place is None:
            return False
        held = place.below if ends_below else place.here
        kept = () if value is None else tuple(other for other in held if other != value)
        if isinstance(place, _Node):
            if ends_below:
                place.below = kept
            else:
                place.here = kept
        elif not ends_below:
            place = _Leaf(kept)
            parent, level = path[-1]
            parent.put(level, place)
        for parent, level in reversed(path):
            if not place.is_empty():
                break
            parent.forget(level)
            place = parent
        return len(kept) != len(held)

    def get(self, topic_filter: str) -> list[T]:
        """What is held under exactly this filter."""
        levels, ends_below = _levels(topic_filter)
        node: _Place[T] | None = self._root
        for level in levels:
            node = node.follow(level) if node is not None else None
        if node is None:
            return []
        return list(node.below if ends_below else node.here)

    def match(self, topic: str) -> list[T]:  # noqa: C901  # the hottest loop of all is kept in one piece
        """What is held under every filter that matches the topic; equal values from two filters come once."""
        found: list[T] = []
        nodes: list[_Place[T]] = [self._root]
        # Section 4.7.2: a wildcard in the first level does not match a topic that begins with '$'.
        wild = not topic.startswith("$")
        for level in topic.split("/"):
            following: list[_Place[T]] = []
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
            if type(node) is _Leaf:
                found += node
            else:
                found += node.here
                found += node.below  # 'a/#' matches 'a'
        return found if len(found) < 2 else _unique(found)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        pending: list[tuple[str, _Place[T]]] = [("", self._root)]
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


def _with(values: tuple[T, ...], value: T) -> tuple[T, ...]:
    return values if value in values else (*values, value)


def _unique(values: list[T]) -> list[T]:
    unique: list[T] = []
    for value in values:
        if value not in unique:
            unique.append(value)
    return unique
