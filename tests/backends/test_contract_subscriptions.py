"""The contract: what subscriptions bring, as far as MQTT leaves it to the client to get right."""

import pytest
from waiting import Inbox, eventually

import juham_core as juham
from juham_core.wire import Publish, Subscribe, Subscription


def test_a_hash_after_a_level_matches_the_level_itself(client, topic):
    client.on_message = inbox = Inbox()
    client.message_callback_add(f"{topic}/a/#", routed := Inbox())
    client.subscribe(f"{topic}/a/#", qos=1).wait(5)
    for name in ("a", "a/b", "a/b/c", "ab"):
        client.publish(f"{topic}/{name}", name, qos=1).wait(5)
    assert routed.texts(3) == ["a", "a/b", "a/b/c"]
    assert routed.count == inbox.count == 0


@pytest.mark.needs("tcp")
def test_a_hash_does_not_see_topics_of_the_broker_s_own(backend, mosquitto, closing, topic):
    """Mosquitto has $SYS topics: `#` brings none of them, though they are there; and so with callbacks."""
    client = closing(juham.connect(mosquitto.url, backend=backend))
    everything, system = Inbox(), Inbox()
    client.message_callback_add("$SYS/#", system)
    client.message_callback_add("#", everything)
    client.subscribe([("#", 0), ("$SYS/broker/version", 0)]).wait(5)
    assert system.next().topic == "$SYS/broker/version"
    client.publish(topic, "mine", qos=1).wait(5)
    topics = []
    while topic not in topics:
        topics.append(everything.next().topic)
    assert not [topic for topic in topics if topic.startswith("$")]


def test_overlapping_filters_call_each_handler_once(client, topic):
    both, deep = Inbox(), Inbox()
    client.message_callback_add(f"{topic}/#", both)
    client.message_callback_add(f"{topic}/+", both)
    client.message_callback_add(f"{topic}/a", deep)
    client.subscribe(f"{topic}/a", qos=1).wait(5)
    for number in range(3):
        client.publish(f"{topic}/a", str(number), qos=1).wait(5)
    assert both.texts(3) == deep.texts(3) == ["0", "1", "2"]
    assert both.count == deep.count == 0


@pytest.mark.needs("shared_subscriptions")
def test_a_shared_subscription_gives_each_message_to_one(connect, topic):
    members = [connect(f"member-{number}") for number in range(3)]
    inboxes = [Inbox() for _ in members]
    for client, inbox in zip(members, inboxes, strict=True):
        client.on_message = inbox
        client.subscribe(f"$share/{topic.replace('/', '-')}/{topic}", qos=1).wait(5)
    publisher = connect("publisher")
    for number in range(30):
        publisher.publish(topic, str(number), qos=1).wait(5)
    assert eventually(lambda: sum(inbox.count for inbox in inboxes) >= 30)
    got = [inbox.texts(inbox.count) for inbox in inboxes]
    assert sorted(int(text) for texts in got for text in texts) == list(range(30))
    assert sum(1 for texts in got if texts) > 1


@pytest.mark.needs("shared_subscriptions")
def test_groups_get_their_own_copies_and_end_with_unsubscribe(connect, topic):
    client, other = connect(), connect()
    client.on_message, other.on_message = first, second = Inbox(), Inbox()
    group = topic.replace("/", "-")
    client.subscribe(f"$share/{group}-a/{topic}", qos=1).wait(5)
    other.subscribe(f"$share/{group}-b/{topic}", qos=1).wait(5)
    client.publish(topic, "1", qos=1).wait(5)
    assert first.texts(1) == second.texts(1) == ["1"]
    client.unsubscribe(f"$share/{group}-a/{topic}").wait(5)
    client.publish(topic, "2", qos=1).wait(5)
    assert second.texts(1) == ["2"]
    assert first.count == 0


def test_unsubscribe_ends_the_messages(connect, topic):
    client, other = connect(), connect()
    client.on_message, other.on_message = inbox, witness = Inbox(), Inbox()
    client.subscribe([f"{topic}/a", f"{topic}/b"], qos=1).wait(5)
    other.subscribe(f"{topic}/#", qos=1).wait(5)
    client.unsubscribe([f"{topic}/a"]).wait(5)
    client.publish(f"{topic}/a", "1", qos=1).wait(5)
    client.publish(f"{topic}/b", "2", qos=1).wait(5)
    assert inbox.texts(1) == ["2"]
    assert witness.texts(2) == ["1", "2"]
    assert client.subscriptions == {f"{topic}/b": 1}


def test_the_ways_to_name_what_is_subscribed_to(client, topic):
    names = [f"{topic}/{letter}" for letter in "abcde"]
    client.subscribe(names[0]).wait(5)
    client.subscribe((names[1], 1)).wait(5)
    client.subscribe([(names[2], 1), (names[3], 0)]).wait(5)
    client.subscribe(Subscription(names[4], 1)).wait(5)
    assert client.subscriptions == dict(zip(names, (0, 1, 1, 0, 1), strict=True))


def test_many_filters_at_once(client, topic):
    names = [(f"{topic}/{number}", 1) for number in range(50)]
    assert client.subscribe(names).wait(5).granted == dict(names)


@pytest.mark.needs("mqtt_5")
def test_no_local(connect, observer, topic):
    client = connect(protocol=5)
    client.on_message = inbox = Inbox()
    client.subscribe(Subscription(topic, 1, no_local=True)).wait(5)
    client.publish(topic, "own", qos=1).wait(5)
    observer.publish(topic, b"other's", qos=1)
    assert inbox.texts(1) == ["other's"]
    assert inbox.count == 0


@pytest.mark.needs("mqtt_5")
def test_retain_as_published_and_retain_handling(connect, observer, topic):
    observer.publish(topic, b"kept", qos=1, retain=True)
    client = connect(protocol=5)
    client.on_message = inbox = Inbox()
    client.subscribe(Subscription(topic, 1, retain_as_published=True, retain_handling=2)).wait(5)
    observer.publish(topic, b"live", qos=1, retain=True)
    message = inbox.next()
    assert (message.payload, message.retain) == (b"live", True)
    observer.publish(topic, b"", retain=True)


@pytest.mark.needs("tcp", "mqtt_5")
def test_subscription_options_on_the_wire(talking, peer):
    client, conversation = talking(protocol=5, reconnect_min=0.01)
    wanted = Subscription("a/+", 1, no_local=True, retain_as_published=True, retain_handling=1)
    client.subscribe([wanted, ("b", 0)])
    for _ in range(2):
        packet = conversation.expect(Subscribe)
        assert packet.subscriptions == [wanted, Subscription("b", 0)]
        conversation.reset()
        conversation = peer.take_up()
        conversation.accept()
    conversation.expect(Subscribe)


@pytest.mark.needs("mqtt_311")
def test_subscription_options_need_mqtt_5(connect, topic):
    client = connect(protocol=4)
    with pytest.raises(juham.NotSupportedError, match="MQTT 5"):
        client.subscribe(Subscription(topic, no_local=True))
    assert client.subscriptions == {}


@pytest.mark.needs("tcp", "qos_2")
def test_a_message_is_handled_once_though_the_broker_sends_it_twice_at_qos_2(talking):
    from juham_core.wire import Pubcomp, Pubrec, Pubrel

    client, conversation = talking()
    client.on_message = inbox = Inbox()
    conversation.send(Publish("a", b"once", 2, packet_id=7))
    conversation.expect(Pubrec)
    conversation.send(Publish("a", b"once", 2, dup=True, packet_id=7))
    conversation.expect(Pubrec)
    conversation.send(Pubrel(7))
    conversation.expect(Pubcomp)
    conversation.send(Publish("a", b"another", 2, packet_id=7))
    conversation.expect(Pubrec)
    conversation.send(Pubrel(7))
    conversation.expect(Pubcomp)
    assert inbox.texts(2) == ["once", "another"]
    assert inbox.count == 0
