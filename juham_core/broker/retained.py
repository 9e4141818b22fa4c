"""The retained messages of the embedded broker, found by topic filter (MQTT 5 section 3.3.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from juham_core.wire.packets import Publish


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A retained message, when it expires on the broker's clock, and who sent it (for no-local)."""

    publish: Publish
    expires: float | None
    client_id: str | None


class _Node:
    __slots__ = ("children", "kept")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.kept: Kept | None = None


class Retained:
    """The last retained message of each topic, in a tree by topic level. Not locked."""

    def __init__(self) -> None:
        self._root = _Node()
        self._by_topic: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._by_topic)

    def set(self, kept: Kept) -> None:
        """Keep the message instead of its topic's last; an empty payload clears the topic."""
        topic = kept.publish.topic
        if not kept.publish.payload:
            self._clear(topic)
            return
        self._by_topic[topic] = kept
        node = self._root
        for level in topic.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        node.kept = kept

    def match(self, topic_filter: str) -> list[Kept]:
        """The messages whose topics match a (valid, unshared) filter."""
        if "+" not in topic_filter and "#" not in topic_filter:
            kept = self._by_topic.get(topic_filter)
            return [] if kept is None else [kept]
        nodes = [self._root]
        for position, level in enumerate(topic_filter.split("/")):
            if level == "#":
                return _all_below(nodes, hide_dollar=position == 0)
            if level == "+":
                nodes = [
                    child
                    for node in nodes
                    for name, child in node.children.items()
                    if position or not name.startswith("$")
                ]
            else:
                nodes = [node.children[level] for node in nodes if level in node.children]
        return [node.kept for node in nodes if node.kept is not None]

    def discard_expired(self, now: float) -> float | None:
        """Drop what has expired; return when the next message will, or None."""
        later: list[float] = []
        for topic, kept in list(self._by_topic.items()):
            if kept.expires is None:
                continue
            if kept.expires <= now:
                self._clear(topic)
            else:
                later.append(kept.expires)
        return min(later, default=None)

    def _clear(self, topic: str) -> None:
        if self._by_topic.pop(topic, None) is None:
            return
        path: list[tuple[_Node, str]] = []
        node = self._root
        for level in topic.split("/"):
            path.append((node, level))
            node = node.children[level]
        node.kept = None
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.kept is not None or child.children:
                break
            del parent.children[level]


def _all_below(nodes: list[_Node], *, hide_dollar: bool) -> list[Kept]:
    """What the nodes ('a/#' includes 'a' itself) and all beneath them keep."""
    found: list[Kept] = []
    pending = nodes[::-1]
    while pending:
        node = pending.pop()
        if node.kept is not None:
            found.append(node.kept)
        below = [
            child for name, child in node.children.items() if not (hide_dollar and name.startswith("$"))
        ]
        hide_dollar = False
        pending += below[::-1]
    return found
