"""Cases about which messages a subscription brings, and to which handlers."""

from __future__ import annotations

from juham_core.testing.definition import case
from juham_core.testing.kit import Kit
from juham_core.testing.waiting import Inbox


class MatchingCases:
    """The subject ``subscribe``, continued."""

    # --- filters ------------------------------------------------------------------------------------

    @case("subscribe.hash_parent")
    def hash_parent(self, kit: Kit) -> None:
        """The filter a/# matches a itself (MQTT 5 section 4.7.1.2)."""
        _matches(kit, "a/#", {"a": True, "a/b": True, "a/b/c": True, "ab": False})

    @case("subscribe.plus")
    def plus(self, kit: Kit) -> None:
        """The filter a/+/c has exactly one level, which may be empty, where + is (section 4.7.1.3)."""
        _matches(kit, "a/+/c", {"a/b/c": True, "a//c": True, "a/c": False, "a/b/b/c": False})

    @case("subscribe.hash_not_dollar")
    def hash_not_dollar(self, kit: Kit) -> None:
        """A filter that begins with a wildcard sees no topic that begins with $ (section 4.7.2)."""
        client = kit.connect()
        everything, one_level = Inbox(), Inbox()
        client.message_callback_add("#", everything)
        client.message_callback_add(f"+/{kit.topic}", one_level)
        dollar = kit.inbox(client, f"$kit/{kit.topic}")
        kit.subscribe(client, ["#", f"+/{kit.topic}"])
        observer = kit.observer()
        observer.publish(f"$kit/{kit.topic}", b"hidden")
        assert dollar.next().topic == f"$kit/{kit.topic}"
        observer.publish(f"x/{kit.topic}", b"seen")
        assert one_level.next().payload == b"seen"
        while (message := everything.next()).payload != b"seen":  # others may publish on a given broker
            assert not message.topic.startswith("$"), message.topic

    # --- handlers -----------------------------------------------------------------------------------

    @case("subscribe.overlapping")
    def overlapping(self, kit: Kit) -> None:
        """A message that matches several overlapping filters reaches each of their handlers once."""
        client = kit.connect()
        wide, narrow = Inbox(), Inbox()
        client.message_callback_add(f"{kit.topic}/#", wide)
        client.message_callback_add(f"{kit.topic}/a", narrow)
        kit.subscribe(client, [f"{kit.topic}/#", f"{kit.topic}/a"])
        observer = kit.observer()
        for payload in (b"first", b"second"):
            observer.publish(f"{kit.topic}/a", payload)
            assert narrow.next().payload == payload
            assert wide.next().payload == payload

    @case("subscribe.two_handlers")
    def two_handlers(self, kit: Kit) -> None:
        """Of two handlers of one filter both are called; when one is removed, the other still is."""
        client = kit.connect()
        first, second = Inbox(), Inbox()
        client.message_callback_add(kit.topic, first)
        client.message_callback_add(kit.topic, second)
        kit.subscribe(client, kit.topic)
        observer = kit.observer()
        observer.publish(kit.topic, b"both")
        assert (first.next().payload, second.next().payload) == (b"both", b"both")
        client.message_callback_remove(kit.topic, first)
        observer.publish(kit.topic, b"one")
        assert second.next().payload == b"one"
        client.disconnect_from_server()
        first.nothing()

    @case("subscribe.on_message_gets_the_rest")
    def on_message_gets_the_rest(self, kit: Kit) -> None:
        """on_message gets what no handler of a filter has got, and nothing else."""
        client = kit.connect()
        mine = Inbox()
        client.message_callback_add(f"{kit.topic}/mine", mine)
        rest = kit.inbox(client, f"{kit.topic}/#")
        observer = kit.observer()
        observer.publish(f"{kit.topic}/mine", b"1")
        observer.publish(f"{kit.topic}/rest", b"2")
        assert mine.next().payload == b"1"
        assert rest.next().payload == b"2"

    @case("subscribe.message_attributes")
    def message_attributes(self, kit: Kit) -> None:
        """A handler gets topic, payload, QoS and flags as they came, and a mid above QoS 0."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        observer = kit.observer()
        for qos in (0, 1):
            observer.publish(kit.topic, b"\x00\xff", qos=qos)
            message = inbox.next()
            assert (message.topic, message.payload, message.qos) == (kit.topic, b"\x00\xff", qos)
            assert (message.retain, message.dup) == (False, False)
            assert bool(message.mid) == bool(qos)

    @case("subscribe.qos_is_lowered")
    def qos_is_lowered(self, kit: Kit) -> None:
        """A message comes with the lower of the QoS it was sent with and the one granted (section 3.8.4)."""
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic, qos=0)
        kit.observer().publish(kit.topic, b"x", qos=1)
        assert inbox.next().qos == 0

    @case("subscribe.retain_flag")
    def retain_flag(self, kit: Kit) -> None:
        """The retain flag is set on the replay of a retained message and not on a live one (3.3.1.3)."""
        observer = kit.observer()
        observer.publish(kit.topic, b"old", retain=True)
        client = kit.connect()
        inbox = kit.inbox(client, kit.topic)
        replay = inbox.next()
        assert (replay.payload, replay.retain) == (b"old", True)
        observer.publish(kit.topic, b"new", retain=True)
        live = inbox.next()
        assert (live.payload, live.retain) == (b"new", False)
        observer.publish(kit.topic, b"", retain=True)

    # --- shared subscriptions -----------------------------------------------------------------------

    @case("subscribe.shared", needs="shared_subscriptions")
    def shared(self, kit: Kit) -> None:
        """Of the members of a shared subscription each message reaches one (MQTT 5 section 4.8.2)."""
        inbox = Inbox()
        members = [kit.connect(), kit.connect()]
        for member in members:
            # As the filter is known to the broker, and as its messages look: both lead here.
            member.message_callback_add(f"$share/group/{kit.topic}/#", inbox)
            kit.subscribe(member, f"$share/group/{kit.topic}/#")
        observer = kit.observer()
        for n in range(20):
            observer.publish(f"{kit.topic}/{n}", b"%d" % n)
        assert sorted(int(payload) for payload in inbox.payloads(20)) == list(range(20))
        for member in members:
            member.disconnect_from_server()
        inbox.nothing()

    @case("subscribe.shared_groups", needs="shared_subscriptions")
    def shared_groups(self, kit: Kit) -> None:
        """Groups are told apart by name and by filter: each of them gets every message of its own."""
        filters = [
            f"$share/one/{kit.topic}/a",
            f"$share/two/{kit.topic}/a",
            f"$share/one/{kit.topic}/+",
        ]
        inboxes = [kit.inbox(kit.connect(), topic_filter) for topic_filter in filters]
        kit.observer().publish(f"{kit.topic}/a", b"x")
        for inbox in inboxes:
            assert inbox.next().payload == b"x"

    @case("subscribe.shared_ends", needs="shared_subscriptions")
    def shared_ends(self, kit: Kit) -> None:
        """A member that unsubscribes leaves the group, and the others get everything."""
        leaving, staying = kit.connect(), kit.connect()
        left = kit.inbox(leaving, f"$share/group/{kit.topic}")
        stayed = kit.inbox(staying, f"$share/group/{kit.topic}")
        leaving.unsubscribe(f"$share/group/{kit.topic}").wait(kit.patience)
        observer = kit.observer()
        for n in range(5):
            observer.publish(kit.topic, b"%d" % n)
        assert stayed.payloads(5) == [b"%d" % n for n in range(5)]
        leaving.disconnect_from_server()
        left.nothing()


def _matches(kit: Kit, topic_filter: str, topics: dict[str, bool]) -> None:
    client = kit.connect()
    by_filter = Inbox()
    client.message_callback_add(f"{kit.topic}/{topic_filter}", by_filter)
    rest = kit.inbox(client, f"{kit.topic}/end")
    kit.subscribe(client, f"{kit.topic}/{topic_filter}")
    observer = kit.observer()
    for topic in topics:
        observer.publish(f"{kit.topic}/{topic}", b"")
    observer.publish(f"{kit.topic}/end", b"")
    expected = [f"{kit.topic}/{topic}" for topic, is_matched in topics.items() if is_matched]
    assert [message.topic for message in by_filter.take(len(expected))] == expected
    assert rest.next().topic == f"{kit.topic}/end"
    by_filter.nothing()
