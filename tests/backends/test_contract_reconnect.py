"""The contract: lost connections come back, subscriptions with them, and no attempt is made in vain."""

import itertools
from itertools import pairwise

import pytest
from waiting import FiveArguments, Inbox, OldShape, Recorder, ThreeArguments, eventually

import juham_core as juham
from juham_core.broker import EmbeddedBroker
from juham_core.wire import Connect, Disconnect, Publish, Subscribe, Unsubscribe

pytestmark = pytest.mark.needs("tcp")
QUICK = {"reconnect_min": 0.01, "reconnect_max": 0.05}


def marked(client, conversation):
    """True if the next that the client sends is what it is told to send now: nothing else was on its way."""
    client.publish("marker", "x")
    packet = conversation.expect(Publish)
    return packet.topic == "marker"


def test_a_cut_connection_comes_back_with_its_subscriptions(connect, proxy, observer, topic):
    client = connect(**proxy.options, **QUICK)
    client.on_message = inbox = Inbox()
    client.on_connect, client.on_disconnect = back, gone = OldShape(), ThreeArguments()
    client.subscribe(topic, qos=1).wait(5)
    for number in range(3):
        assert proxy.cut() == 1
        assert gone.next()[2] != 0
        back.next()
        # on_connect comes once the subscriptions are on their way; the broker's answer shows in granted.
        assert eventually(lambda: client.subscriptions == {topic: 1})
        observer.publish(topic, str(number).encode(), qos=1)
        assert inbox.texts(1) == [str(number)]
    assert client.statistics.reconnects == 3


def test_the_embedded_broker_drops_its_connections(backend, closing, topic):
    with EmbeddedBroker() as broker:
        client = closing(juham.connect(broker.url, backend=backend, **QUICK))
        client.on_connect, client.on_disconnect = back, gone = OldShape(), ThreeArguments()
        assert broker.drop_connections() == 1
        gone.next()
        back.next()
        client.publish(topic, "x", qos=1).wait(5)
        client.disconnect_from_server()


def test_a_broker_that_stops_and_starts(backend, closing, topic):
    with EmbeddedBroker() as broker:
        client = closing(juham.connect(broker.url, backend=backend, **QUICK))
        client.on_message = inbox = Inbox()
        client.on_disconnect = gone = FiveArguments()
        client.subscribe(topic, qos=1).wait(5)
        broker.stop()
        gone.next()
        assert not client.is_connected()
        receipt = client.publish(topic, "waited", qos=1)
        assert not receipt.done()
        broker.start()
        receipt.wait(5)
        assert inbox.texts(1) == ["waited"]
        client.disconnect_from_server()


def test_subscriptions_come_back_once_and_before_on_connect(talking, peer):
    client, conversation = talking(**QUICK)
    client.subscribe([("a", 1), ("b/#", 0)])
    assert conversation.grant() == ["a", "b/#"]
    client.on_connect = lambda client, userdata, flags, rc: client.publish("from/on_connect", "x")
    conversation.reset()
    conversation = peer.take_up()
    conversation.accept()
    assert conversation.grant() == ["a", "b/#"]
    assert conversation.expect(Publish).topic == "from/on_connect"
    assert marked(client, conversation)


def test_subscribing_in_on_connect_sends_each_filter_once(create, peer):
    """paho's idiom: it subscribes at the first connection, and must not do so twice at the next."""
    client = create(**peer.options, **QUICK)
    granted = Recorder()

    def on_connect(client, userdata, flags, rc):
        granted(client.subscribe("a", qos=1).wait(5).granted)
        client.publish("from/on_connect", "x")

    client.on_connect = on_connect
    client.loop_start()
    client.connect_to_server()
    for _ in range(3):
        conversation = peer.take_up()
        conversation.accept()
        assert conversation.grant() == ["a"]
        assert granted.next() == ({"a": 1},)
        assert conversation.expect(Publish).topic == "from/on_connect"
        assert marked(client, conversation)
        conversation.reset()


def test_another_qos_in_on_connect_is_sent(talking, peer):
    client, conversation = talking(**QUICK)
    client.subscribe("a", qos=0)
    conversation.grant()
    client.on_connect = lambda client, userdata, flags, rc: client.subscribe("a", qos=1)
    conversation.reset()
    conversation = peer.take_up()
    conversation.accept()
    qos = []
    for _ in range(2):
        packet = conversation.expect(Subscribe)
        qos += [each.qos for each in packet.subscriptions]
    assert qos == [0, 1]


@pytest.mark.needs("persistent_session")
def test_with_its_session_present_nothing_is_subscribed_again(create, peer):
    client = create(**peer.options, **QUICK, clean_start=False, client_id="lasting")
    client.on_connect = verdict = OldShape()
    client.loop_start()
    client.connect_to_server()
    conversation = peer.take_up()
    assert conversation.accept().clean_start is False
    assert verdict.next()[2]["session present"] == 0
    client.subscribe("a", qos=1)
    conversation.grant()
    assert eventually(lambda: client.subscriptions == {"a": 1})
    conversation.reset()
    conversation = peer.take_up()
    assert conversation.accept(session_present=True).clean_start is False
    assert verdict.next()[2]["session present"] == 1
    assert marked(client, conversation)
    assert client.subscriptions == {"a": 1}


@pytest.mark.needs("persistent_session")
def test_a_session_lacks_what_was_never_granted_and_keeps_what_was_given_up(create, peer):
    client = create(**peer.options, **QUICK, clean_start=False, client_id="lasting")
    client.connect_to_server()
    conversation = peer.take_up()
    conversation.accept()
    client.wait_until_connected(5)
    client.subscribe("granted")
    conversation.grant()
    assert eventually(lambda: client.subscriptions == {"granted": 0})
    unanswered = client.subscribe("unanswered")
    conversation.expect(Subscribe)
    client.unsubscribe("granted")
    conversation.expect(Unsubscribe)
    conversation.reset()
    conversation = peer.take_up()
    conversation.accept(session_present=True)
    packets = [conversation.next(), conversation.next()]
    assert [packet.kind for packet in packets] == ["unsubscribe", "subscribe"]
    assert packets[0].topic_filters == ["granted"]
    assert [each.topic_filter for each in packets[1].subscriptions] == ["unanswered"]
    assert not unanswered.done()


def test_an_unanswered_subscription_is_answered_by_the_next_connection(talking, peer):
    client, conversation = talking(**QUICK)
    receipt = client.subscribe("a", qos=1)
    conversation.expect(Subscribe)
    conversation.reset()
    conversation = peer.take_up()
    conversation.accept()
    assert conversation.grant() == ["a"]
    assert receipt.wait(5).granted == {"a": 1}


def test_what_was_unsubscribed_stays_away(talking, peer):
    client, conversation = talking(**QUICK)
    client.subscribe(["a", "b"])
    conversation.grant()
    client.unsubscribe("a")
    conversation.expect(Unsubscribe)
    conversation.reset()
    conversation = peer.take_up()
    conversation.accept()
    assert conversation.grant() == ["b"]
    assert marked(client, conversation)


def attempts(peer, count):
    """When the next attempts come; each is cut off."""
    times = []
    for _ in range(count):
        conversation = peer.take_up()
        times.append(conversation.began)
        conversation.reset()
    return times


def test_the_back_off_grows_and_begins_anew_after_success(talking, peer):
    client, conversation = talking(reconnect_min=0.02, reconnect_max=60, reconnect_reset=0)
    conversation.reset()
    gaps = [later - earlier for earlier, later in pairwise(attempts(peer, 6))]
    for number, gap in enumerate(gaps, 1):
        assert gap > 0.5 * 0.02 * 2**number - 0.01
    conversation = peer.take_up()
    conversation.accept()
    client.wait_until_connected(5)
    conversation.reset()
    first, second = attempts(peer, 2)
    assert second - first < 0.5 * 0.02 * 2**6  # the shortest that would have come next


def test_the_back_off_is_capped(talking, peer):
    _, conversation = talking(reconnect_min=0.02, reconnect_max=0.05)
    conversation.reset()
    times = attempts(peer, 9)
    assert times[-1] - times[-2] < 0.5 * 0.02 * 2**8


@pytest.mark.parametrize(("code", "old_code"), [(0x86, 4), (0x87, 5)])
def test_refused_credentials_end_the_attempts(talking, peer, code, old_code):
    client, conversation = talking(**QUICK)
    client.on_connect = verdict = OldShape()
    conversation.reset()
    peer.take_up().refuse(code)
    assert verdict.next()[3] == (code if client.options.protocol == 5 else old_code)
    assert peer.nobody_comes(0.3)
    with pytest.raises(juham.AuthError):
        client.wait_until_connected(1)
    assert not client.is_connected()


@pytest.mark.needs("mqtt_5")
def test_a_takeover_ends_the_attempts(talking, peer):
    client, conversation = talking(**QUICK, protocol=5)
    client.on_disconnect = gone = FiveArguments()
    conversation.send(Disconnect(0x8E))
    conversation.close()
    _, _, flags, reason_code, _ = gone.next()
    assert flags.is_disconnect_packet_from_server
    assert reason_code == 0x8E
    assert peer.nobody_comes(0.3)
    assert not client.is_connected()


@pytest.mark.needs("mqtt_5")
def test_a_disconnect_that_time_may_mend_is_followed_by_an_attempt(talking, peer):
    _, conversation = talking(**QUICK, protocol=5)
    conversation.send(Disconnect(0x8B))
    conversation.close()
    peer.take_up().accept()


@pytest.mark.needs("mqtt_5")
def test_two_clients_of_one_id_do_not_fight(backend, embedded, closing):
    """Mosquitto does not say that it closes a connection for another one; the embedded broker does."""
    url = f"{embedded.url}?client_id=the-same&protocol=5&reconnect_min=0.01"
    first = closing(juham.connect(url, backend=backend))
    first.on_disconnect = gone = ThreeArguments()
    second = closing(juham.connect(url, backend=backend))
    gone.next()
    assert second.is_connected()
    with pytest.raises(juham.ConnectError, match=r"(?i)taken over"):
        first.wait_until_connected(1)
    assert second.statistics.connects == 1


def test_without_reconnect_there_is_one_connection(talking, peer):
    client, conversation = talking(reconnect=False, **QUICK)
    client.on_disconnect = gone = ThreeArguments()
    conversation.reset()
    gone.next()
    assert peer.nobody_comes(0.3)
    assert client.connect_to_server() == 0
    peer.take_up().accept()
    client.wait_until_connected(5)


def test_each_attempt_may_have_fresh_credentials(create, peer):
    class Fresh:
        numbers = itertools.count(1)

        @juham.hookimpl
        def jmqtt_connecting(self, client, options):
            return options.changed(username="u", password=f"token-{next(self.numbers)}")

    plugin = Fresh()
    juham.hooks.hooks.register(plugin)
    try:
        client = create(**peer.options, **QUICK)
        client.connect_to_server()
        for number in range(1, 4):
            conversation = peer.take_up()
            assert conversation.expect(Connect).password == f"token-{number}".encode()
            conversation.reset()
        assert client.options.password is None
        client.disconnect_from_server()
    finally:
        juham.hooks.hooks.unregister(plugin)
