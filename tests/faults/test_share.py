"""Work that is shared by a group: every message goes to one member, and what becomes of a dead member's."""

import pytest
from trials import QUICK
from waiting import eventually
from witness import Record

import juham_core as juham
from juham_core.testing.observer import SocketObserver

pytestmark = pytest.mark.needs("tcp", "shared_subscriptions", "persistent_session")

COUNT = 120


@pytest.fixture
def member(backend, limited, topic, closing):
    """Make members of the group: each a client of the backend, and the record of what it was given."""

    def make(name):
        host, port = limited.where
        client_id = f"{name}-{topic.replace('/', '-')}"
        client = closing(
            juham.create(backend, host=host, port=port, client_id=client_id, clean_start=False, **QUICK)
        )
        record = Record()
        client.on_message = lambda client, userdata, message: record.add(message)
        client.loop_start()
        client.connect_to_server()
        client.wait_until_connected(10)
        client.subscribe(f"$share/group/{topic}", qos=1).wait(10)
        return record

    return make


@pytest.fixture
def source(limited):
    with SocketObserver(*limited.where) as observer:
        yield observer


def numbers(record, topic):
    return [number for number, _ in record.arrivals(topic)]


def test_every_message_goes_to_one_member(member, source, topic):
    records = [member(f"member{place}") for place in range(3)]
    for number in range(COUNT):
        source.publish(topic, str(number))
    assert eventually(lambda: sum(len(numbers(record, topic)) for record in records) >= COUNT, 30)
    assert sorted(number for record in records for number in numbers(record, topic)) == list(range(COUNT))
    assert all(numbers(record, topic) for record in records)


def die_at_work(source, survivor, victim, topic):
    """One of two members dies with its part unacknowledged, and work goes on; what the survivor was given."""
    for number in range(COUNT // 2):
        source.publish(topic, str(number))
    assert victim.message(30)
    victim.vanish()
    for number in range(COUNT // 2, COUNT):
        source.publish(topic, str(number))
    # The last of all goes to whoever is there, after everything that was sent before.
    assert eventually(lambda: len(numbers(survivor, topic)) >= COUNT // 2, 30)
    return numbers(survivor, topic)


def test_a_dead_member_s_work_waits_for_it_with_its_session(member, source, limited, topic):
    """Mosquitto gives it to nobody else, and new work too is set aside for the member that is away."""
    survivor = member("survivor")
    session = {"client_id": f"victim-{topic}", "clean_start": False}
    victim = SocketObserver(*limited.where, **session, acknowledge=False)
    victim.subscribe(f"$share/group/{topic}", qos=1)
    die_at_work(source, survivor, victim, topic)
    with SocketObserver(*limited.where, **session) as returned:
        assert returned.connack.session_present
        late = [int(message.payload) for message in returned.drain()]
    assert eventually(lambda: len(numbers(survivor, topic)) + len(late) >= COUNT, 30)
    assert sorted(late + numbers(survivor, topic)) == list(range(COUNT))


def test_a_dead_member_s_work_is_gone_without_its_session(member, source, limited, topic):
    """Mosquitto 2.0.11 forgets it with the session; later work goes to the members that are left."""
    survivor = member("survivor")
    victim = SocketObserver(*limited.where, client_id=f"victim-{topic}", acknowledge=False)
    victim.subscribe(f"$share/group/{topic}", qos=1)
    given = die_at_work(source, survivor, victim, topic)
    assert len(given) == len(set(given))
    assert eventually(lambda: set(range(COUNT - 10, COUNT)) <= set(numbers(survivor, topic)), 30)
    assert len(set(range(COUNT // 2)) - set(numbers(survivor, topic))) == COUNT // 4
