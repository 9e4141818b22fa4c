"""The outbox on disk: what is accepted stays, in order and in bounds, whatever becomes of disk and file."""

import asyncio
import contextlib
import gc
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually

import juham_core as juham
from juham_core.errors import (
    ConnectError,
    NotConnectedError,
    OptionError,
    OutboxError,
    PublishError,
    QueueFullError,
)
from juham_core.message import MqttMsg
from juham_core.options import OutboxBounds
from juham_core.outbox import Store
from juham_core.outbox import outgoing as stored_outgoing
from juham_core.outbox.entries import Entry
from juham_core.outbox.trial import try_place


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "outbox")


@pytest.fixture
def make(path, topic):
    """Clients of one in-process broker, all with the same outbox unless told otherwise."""
    made = []

    def create(**options):
        client = juham.create("memory", host=topic.replace("/", "-"), **{"outbox": path, **options})
        made.append(client)
        return client

    yield create
    for client in made:
        client.disconnect_from_server()


def connect(client):
    client.connect_to_server()
    client.wait_until_connected(PATIENCE)
    client.loop_start()
    return client


def texts(client, topic):
    """What arrives from now on, as a list that grows."""
    got = []
    client.message_callback_add(f"{topic}/#", lambda _c, _d, message: got.append(message.payload.decode()))
    client.subscribe(f"{topic}/#", qos=1).wait(PATIENCE)
    return got


def fill(client, topic, count, **how):
    how = {"qos": 1, **how}
    return [client.publish(f"{topic}/{number % 3}", str(number), **how) for number in range(count)]


def arrive(got, expected):
    """Wait until as much has arrived as is expected, and see that it is that."""
    eventually(lambda: len(got) >= len(expected), PATIENCE)
    assert got == expected


def emptied(client):
    eventually(lambda: client.statistics.outbox_messages == 0, PATIENCE)


# --- from one process to the next ---------------------------------------------------------------------


def test_what_is_stored_goes_first_and_in_order(make, topic):
    first = make()
    receipts = fill(first, topic, 30)
    assert first.statistics.outbox_messages == first.statistics.queued == 30
    first.disconnect_from_server()
    with pytest.raises(NotConnectedError, match="kept in the outbox"):
        receipts[0].wait(0)
    assert first.statistics.dropped["closed"] == 0
    got = texts(connect(make(outbox=None)), topic)
    second = make()
    new = second.publish(topic + "/new", "new", qos=1)
    connect(second)
    new.wait(PATIENCE)
    arrive(got, [*map(str, range(30)), "new"])
    emptied(second)
    assert second.statistics.acknowledged == 31


def test_properties_retain_and_qos_are_kept(make, topic):
    first = make(protocol=5)
    properties = {"content_type": "text/plain", "user_property": [("a", "b"), ("a", "c")]}
    first.publish(topic, b"\xff", qos=2, retain=True, properties=properties)
    first.disconnect_from_server()
    connect(make(protocol=5)).disconnect_from_server()
    inbox = []
    observer = connect(make(outbox=None, protocol=5))
    observer.message_callback_add(topic, lambda _client, _data, message: inbox.append(message))
    observer.subscribe(topic, qos=2).wait(PATIENCE)
    (message,) = eventually(lambda: inbox, PATIENCE)
    assert (message.payload, message.qos, message.retain) == (b"\xff", 2, True)
    assert message.properties == properties


def test_qos_0_does_not_go_through_the_outbox(make, topic):
    client = make()
    assert client.publish(topic, "x").rc == 4
    assert client.statistics.outbox_messages == 0


def test_expiry_counts_the_time_on_disk(make, topic, path):
    first = make(protocol=5)
    for seconds in (5, 100, 1000):
        expiry = {"message_expiry_interval": seconds}
        first.publish(f"{topic}/{seconds}", str(seconds), qos=1, properties=expiry)
    first.disconnect_from_server()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE messages SET expires_at = expires_at - 10.5")
    left = {}
    observer = connect(make(outbox=None, protocol=5))
    observer.message_callback_add(
        f"{topic}/#",
        lambda _c, _d, message: left.update({message.payload: message.properties.message_expiry_interval}),
    )
    observer.subscribe(f"{topic}/#", qos=1).wait(PATIENCE)
    second = connect(make(protocol=5))
    emptied(second)
    eventually(lambda: len(left) == 2, PATIENCE)
    assert left.keys() == {b"100", b"1000"}
    assert 85 <= left[b"100"] <= 90
    assert 985 <= left[b"1000"] <= 990
    assert second.statistics.dropped["expired"] == 1


def test_a_message_that_expires_here_fails_its_receipt(make, topic):
    client = make(protocol=5)
    receipt = client.publish(topic, "x", qos=1, properties={"message_expiry_interval": 0})
    connect(client)
    with pytest.raises(PublishError, match="expired"):
        receipt.wait(PATIENCE)
    emptied(client)


def test_published_is_reported_for_messages_of_an_earlier_process(make, topic):
    first = make()
    fill(first, topic, 3)
    first.disconnect_from_server()
    second = make()
    seen = []
    second.on_publish = lambda _client, _data, mid: seen.append(mid)
    own = second.publish(topic, "x", qos=2).mid
    connect(second)
    eventually(lambda: len(seen) == 4, PATIENCE)
    assert len(set(seen)) == 4
    assert own in seen


def test_what_the_next_backend_cannot_send_is_said_at_once(make, topic):
    first = make(protocol=5)
    first.publish(topic, "x", qos=1, properties={"content_type": "a"})
    first.disconnect_from_server()
    second = make()
    with pytest.raises(juham.NotSupportedError, match="protocol=5"):
        second.connect_to_server()
    second.disconnect_from_server()
    second.configure(protocol=5)
    emptied(connect(second))


def test_a_closed_client_stores_and_leaves_nothing_open(make, topic):
    client = connect(make())
    client.disconnect_from_server()
    before = threading.active_count()
    client.publish(topic, "late", qos=1)
    assert threading.active_count() == before
    make().publish(topic, "another client may", qos=1)


def test_a_closed_client_s_publish_is_sent_when_it_connects_again(make, topic):
    got = texts(connect(make(outbox=None)), topic)
    client = connect(make())
    client.disconnect_from_server()
    receipt = client.publish(f"{topic}/a", "late", qos=2)
    assert not receipt.done()
    connect(client)
    receipt.wait(PATIENCE)
    arrive(got, ["late"])


def test_receipts_that_nobody_holds_do_not_stay(make, topic, monkeypatch):
    monkeypatch.setattr(stored_outgoing, "IN_MEMORY", 10)
    client = make(max_inflight=5)
    called = []
    fill(client, topic, 100)
    client.publish(topic, "x", qos=1).add_done_callback(called.append)
    gc.collect()
    alive = sum(isinstance(each, stored_outgoing.StoredReceipt) for each in gc.get_objects())
    assert alive <= 41  # twice the window before it has connected, and the one with a callback
    connect(client)
    emptied(client)
    eventually(lambda: called, PATIENCE)
    assert called[0].exception() is None
    assert client.statistics.acknowledged == 101


def test_order_is_kept_past_the_window_in_memory(make, topic, monkeypatch):
    monkeypatch.setattr(stored_outgoing, "IN_MEMORY", 10)
    got = texts(connect(make(outbox=None)), topic)
    client = make(max_inflight=3)
    fill(client, topic, 200)
    connect(client)
    last = [client.publish(f"{topic}/more", str(number), qos=1) for number in range(200, 300)][-1]
    last.wait(PATIENCE)
    arrive(got, [str(number) for number in range(300)])


def test_threads_publish_together(make, topic):
    got = texts(connect(make(outbox=None)), topic)
    client = connect(make())

    def publish(name):
        for number in range(100):
            client.publish(f"{topic}/{name}", f"{name} {number}", qos=1)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emptied(client)
    eventually(lambda: len(got) == 400, PATIENCE)
    for name in "abcd":
        assert [text for text in got if text[0] == name] == [f"{name} {number}" for number in range(100)]


def test_closing_flushes(make, topic):
    got = texts(connect(make(outbox=None)), topic)
    client = connect(make())
    receipts = fill(client, topic, 500, qos=2)
    client.disconnect_from_server()
    assert all(receipt.wait(0) for receipt in receipts)
    assert eventually(lambda: len(got) == 500, PATIENCE)


def test_bytes_are_counted_with_and_without_an_outbox(make, topic, tmp_path):
    client = connect(make(outbox=None))
    got = texts(client, topic)
    for qos in (0, 1, 2):
        client.publish(f"{topic}/a", "x" * 10, qos=qos).wait(PATIENCE)
    arrive(got, ["x" * 10] * 3)
    assert (client.statistics.bytes_sent, client.statistics.bytes_received) == (30, 30)
    client.disconnect_from_server()
    client.configure(outbox=tmp_path / "other")
    connect(client).publish(f"{topic}/a", "x" * 5, qos=1).wait(PATIENCE)
    assert client.statistics.bytes_sent == 35
    assert client.statistics.resent == 0


def test_the_window_holds_what_is_not_struck_out_yet(make, topic):
    client = connect(make(max_inflight=5))
    outgoing, most, lock = client._outgoing, [0], threading.Lock()
    handed, struck = set(), set()
    publish, transact = client._publish, outgoing._keeper.opened()._transact

    def _publish(message):
        with lock:
            handed.add((message.topic, message.payload))
            most[0] = max(most[0], len(handed) - len(struck))
        return publish(message)

    def _transact(removals, rows, releases=()):
        transact(removals, rows, releases)
        with lock:
            struck.update(range(len(struck), len(struck) + len(removals)))

    client._publish, outgoing._keeper.opened()._transact = _publish, _transact
    threads = [
        threading.Thread(target=fill, args=(client, f"{topic}/{name}", 200), kwargs={"qos": 2})
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emptied(client)
    assert most[0] <= 5


# --- QoS 2 from one process to the next ---------------------------------------------------------------


def stored(path, count=3):
    store = Store(OutboxBounds(path, 100, 1 << 20, "normal"), lambda _entries: None)
    for number in range(count):
        store.put(Entry(MqttMsg("a", b"%d" % number, 2), number + 1))
    return store


def test_a_release_is_noted_before_it_is_made(path):
    made = []
    with closing(stored(path)) as store:
        store.release_later(2, lambda: made.append(set(store.released)))
        assert (made, store.unwritten) == ([], True)
        store.write()
        assert made == [{2}]
    with closing(stored(path, 0)) as store:
        assert store.released == {2}
        store.remove_later(2, 0, lambda: None)
        store.write()
        assert store.released == set()
    with closing(stored(path, 0)) as store:
        assert store.released == set()


def test_what_is_over_is_not_noted_as_released(path):
    """Else a later message in its place would be taken for one that the broker has."""
    with closing(stored(path)) as store:
        store.release_later(3, lambda: None)
        store.remove_later(3, 0, lambda: None)
        store.write()
        assert store.released == set()
    with closing(stored(path, 0)) as store:
        assert store.released == set()


def test_with_the_session_the_releases_are_forgotten(path):
    with closing(stored(path)) as store:
        store.release_later(1, lambda: None)
        store.write()
        store.release_later(2, lambda: None)
        store.forget_released()
        store.write()
        assert store.released == set()
    with closing(stored(path, 0)) as store:
        assert store.released == set()


@pytest.mark.parametrize(
    ("how", "sent"),
    [("never connected", 0), ("closed after the second", 2), ("killed after the second", 3), ("twice", 2)],
)
def test_what_may_have_been_sent_is_known_to_the_next(path, how, sent):
    bounds = OutboxBounds(path, 10, 1 << 20, "normal")
    store = Store(bounds, lambda entries: None)
    for number in range(3):
        store.put(Entry(MqttMsg("a", b"%d" % number, 1), number))
    if how != "never connected":
        store.begin_sending()
    if how != "killed after the second":
        store.end_sending(2 if how != "never connected" else 0)
    store.close()
    if how == "twice":  # one that has been connected, and has come to send less
        store = Store(bounds, lambda entries: None)
        store.begin_sending()
        store.end_sending(1)
        store.close()
    with closing(Store(bounds, lambda entries: None)) as again:
        assert (again.sent, again.inherited) == (sent, 3)


def test_the_broker_forgets_what_expired_half_sent(make, topic, path):
    session = {"protocol": 5, "clean_start": False, "client_id": "meter"}
    first = make(**session)
    for seconds in (1, 1000):
        first.publish(topic, "x", qos=2, properties={"message_expiry_interval": seconds})
    first.disconnect_from_server()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE messages SET expires_at = expires_at - 100")
        connection.execute("DELETE FROM sent")  # as if it had been killed: nobody knows how far it came
        connection.commit()
    second, released = make(**session), []
    pubrel = second._pubrel
    second._pubrel = lambda key, message: (released.append(key), pubrel(key, message))
    connect(second)
    emptied(second)
    assert second.statistics.dropped["expired"] == 1
    assert released == [1, 2]  # the second one in its turn, after PUBREC


# --- bounds -------------------------------------------------------------------------------------------


def test_bounded_by_count_exactly(make, topic):
    client = make(outbox_max_messages=3, max_queued=0)
    fill(client, topic, 3)
    with pytest.raises(QueueFullError, match="outbox_max_messages=3"):
        client.publish(topic, "x", qos=1)
    connect(client)
    emptied(client)
    client.publish(topic, "x", qos=1).wait(PATIENCE)


def test_bounded_by_bytes_exactly(make, topic):
    client = make(outbox_max_bytes=2 * (len(topic) + 10))
    client.publish(topic, b"x" * 10, qos=1)
    client.publish(topic, b"x" * 10, qos=1)
    assert client.statistics.outbox_bytes == 2 * (len(topic) + 10)
    with pytest.raises(QueueFullError, match="outbox_max_bytes"):
        client.publish(topic, b"", qos=1)


def test_bounded_for_many_threads(make, topic):
    client = make(outbox_max_messages=100)
    accepted = []

    def publish():
        for _ in range(50):
            with contextlib.suppress(QueueFullError):
                accepted.append(client.publish(topic, "x", qos=1))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.statistics.outbox_messages == 100
    assert len(accepted) == 100


def test_the_file_is_private(make, topic, path):
    client = make()
    client.publish(topic, "secret", qos=1)
    for name in (path, path + "-wal", path + "-shm", path + ".lock"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600, name


def test_many_stored_messages_take_little_memory(path):
    store = Store(OutboxBounds(path, 200_000, 1 << 30, "normal"), lambda entries: None)
    entry = Entry(MqttMsg("a", b"x" * 100, 1), 1)
    with store.lock:
        store._connection.execute("BEGIN")
        row = entry.row()
        store._connection.executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((number, *row[1:]) for number in range(1, 200_001)),
        )
        store._connection.execute("COMMIT")
    store.close()
    tracemalloc.start()
    try:
        client = juham.create("memory", outbox=path)
        assert client._outgoing.open() == frozenset()
        eventually(lambda: len(client._outgoing._queue) >= 1000, PATIENCE)
        assert client.statistics.outbox_messages == client.statistics.queued == 200_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
        client.disconnect_from_server()
    finally:
        tracemalloc.stop()


# --- a full disk --------------------------------------------------------------------------------------


def fill_the_disk(client, topic):
    accepted = []
    while True:
        number = len(accepted)
        try:
            client.publish(f"{topic}/a", f"{number}".ljust(1000), qos=1)
        except OutboxError as exc:
            if "disk is full" not in str(exc):
                raise
            return accepted
        accepted.append(number)


def limit_pages(client, pages):
    client._outgoing._keeper.opened()._connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_an_error_and_accepts_nothing(make, topic, path):
    client = make()
    limit_pages(client, 20)
    accepted = fill_the_disk(client, topic)
    assert isinstance(OutboxError("x"), OSError)
    assert client.statistics.outbox_messages == len(accepted) > 5
    client.disconnect_from_server()
    got = texts(connect(make(outbox=None)), topic)
    again = connect(make())
    emptied(again)
    arrive(got, [f"{number}".ljust(1000) for number in accepted])
    again.publish(topic, "there is room again", qos=1).wait(PATIENCE)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a file system")
def test_a_disk_that_is_really_full(make, topic, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    client = make(outbox=str(disk / "outbox"))
    try:
        accepted = fill_the_disk(client, topic)
        assert len(accepted) > 100
        got = texts(connect(make(outbox=None)), topic)
        connect(client)
        emptied(client)
        arrive(got, [f"{number}".ljust(1000) for number in accepted])
        client.publish(topic, "there is room again", qos=1).wait(PATIENCE)
    finally:
        client.disconnect_from_server()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_under_asyncio_fails_the_publish(make, topic, path):
    async def main():
        async with juham.aio.connect(f"memory://{topic.replace('/', '-')}", outbox=path) as mqtt:
            limit_pages(mqtt.client, 20)
            with pytest.raises(OutboxError):
                await mqtt.publish(topic, b"x" * 100_000, qos=1)
            await mqtt.publish(topic, b"x", qos=1)

    asyncio.run(main())


def test_nobody_connects_while_another_thread_closes(make, topic):
    """Or the receipts and the file of the one would be taken for those of the other."""
    client = make()
    closing, go_on = threading.Event(), threading.Event()
    receipt = client.publish(topic, "first", qos=1)
    receipt.add_done_callback(lambda _: (closing.set(), go_on.wait(PATIENCE)))
    thread = threading.Thread(target=client.disconnect_from_server)
    thread.start()
    assert closing.wait(PATIENCE)
    with pytest.raises(ConnectError, match="being closed"):
        client.connect_to_server()
    second = client.publish(topic, "second", qos=1)
    go_on.set()
    thread.join()
    assert isinstance(receipt.exception(), NotConnectedError)
    connect(client)
    second.wait(PATIENCE)
    client.publish(topic, "third", qos=1).wait(PATIENCE)
    emptied(client)


def test_a_folder_that_is_not_there(make, topic, tmp_path):
    client = make(outbox=str(tmp_path / "no" / "outbox"))
    with pytest.raises(OutboxError, match="cannot be used"):
        client.publish(topic, "x", qos=1)
    with pytest.raises(OutboxError):
        client.connect_to_server()


# --- damaged files ------------------------------------------------------------------------------------


def broken(path, how):
    file = Path(path)
    whole = file.read_bytes()
    if how == "garbage":
        file.write_bytes(b"this is not what it was" * 1000)
    elif how == "emptied":
        file.write_bytes(b"")
    elif how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "header":
        file.write_bytes(b"\0" * 16 + whole[16:])
    elif how == "header, and the lock is gone":
        file.write_bytes(b"\0" * 16 + whole[16:])
        Path(f"{path}.lock").unlink()
    elif how == "garbage beside a journal":
        file.write_bytes(b"this is not what it was" * 1000)
        Path(f"{path}-wal").write_bytes(b"nor is this")
        Path(f"{path}.lock").unlink()
    else:
        file.write_bytes(whole[:8192] + b"\xaa" * (len(whole) - 8192))
    return file.read_bytes()


@pytest.mark.parametrize(
    "how",
    [
        "garbage",
        "emptied",
        "cut",
        "pages",
        "header",
        "header, and the lock is gone",
        "garbage beside a journal",
    ],
)
def test_a_damaged_file_is_set_aside(make, topic, path, caplog, how):
    first = make()
    fill(first, topic, 300)
    first.disconnect_from_server()
    content = broken(path, how)
    second = make()
    connect(second).publish(topic, "new", qos=1).wait(PATIENCE)
    aside = min(Path(path).parent.glob("*.corrupt-*"), key=lambda each: len(each.name))
    assert aside.read_bytes() == content
    assert second.statistics.dropped["outbox set aside"] == 1
    (line,) = (each.getMessage() for each in caplog.records if each.name == "juham.outbox")
    assert str(aside) in line


def untouched(make, topic, path):
    """Try to use what is there for an outbox, twice, in each way; nothing may be changed or made."""
    folder = Path(path).parent
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    for _ in range(2):
        client = make()
        with pytest.raises(OutboxError, match="something else"):
            client.publish(topic, "x", qos=1)
        with pytest.raises(OutboxError, match="something else"):
            client.connect_to_server()
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_database_of_something_else_is_not_touched(make, topic, path):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE precious (thing)")
    untouched(make, topic, path)


def test_a_damaged_database_of_something_else_is_not_touched(make, topic, path):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE precious (thing)")
        file.executemany("INSERT INTO precious VALUES (?)", [("x" * 1000,)] * 100)
    broken(path, "pages")
    untouched(make, topic, path)


@pytest.mark.parametrize("content", [b"x", b"milk, bread, eggs\n" * 100])
def test_a_file_of_something_else_is_not_touched(make, topic, path, content):
    Path(path).write_bytes(content)
    untouched(make, topic, path)
    with pytest.raises(OutboxError, match="something else"):
        try_place(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes among its files")
@pytest.mark.parametrize("with_lock", [False, True])
@pytest.mark.parametrize("kind", ["mkdir", "mkfifo"])
def test_what_is_no_file_is_not_touched(make, topic, path, kind, with_lock):
    getattr(os, kind)(path)
    if with_lock:
        Path(f"{path}.lock").write_bytes(b"7\n")
    before = sorted(Path(path).parent.iterdir())
    client = make()
    for use in (lambda: client.publish(topic, "x", qos=1), client.connect_to_server, lambda: try_place(path)):
        with pytest.raises(OutboxError, match="an outbox is a file"):
            use()
    assert sorted(Path(path).parent.iterdir()) == before


def test_a_lock_of_something_else_is_not_touched(make, topic, path):
    Path(f"{path}.lock").write_text('[[package]]\nname = "precious"\n', encoding="utf-8")
    untouched(make, topic, path)


def test_a_newer_version_is_not_touched(make, topic, path):
    first = make()
    first.publish(topic, "x", qos=1)
    first.disconnect_from_server()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA user_version = 2")
    before = Path(path).read_bytes()
    with pytest.raises(OutboxError, match="version 2"):
        make().publish(topic, "x", qos=1)
    assert Path(path).read_bytes() == before


def test_a_damaged_message_is_kept_and_not_sent(make, topic, path, caplog):
    first = make()
    fill(first, topic, 5)
    first.disconnect_from_server()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE messages SET payload = 'damaged' WHERE id = 3")
    got = texts(connect(make(outbox=None)), topic)
    second = connect(make())
    emptied(second)
    arrive(got, ["0", "1", "3", "4"])
    assert second.statistics.dropped["damaged"] == 1
    assert "message 3 is damaged" in caplog.text
    second.disconnect_from_server()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT id, payload FROM damaged").fetchall() == [(3, "damaged")]


# --- whose it is --------------------------------------------------------------------------------------

HOLDER = """
import sys, juham_core
client = juham_core.create("memory", outbox=sys.argv[1])
client.publish("a", "x", qos=1)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_second_process_gets_an_error(make, topic, path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "ready\n"
            client = make()
            with pytest.raises(OutboxError, match=f"in use by process {holder.pid}"):
                client.publish(topic, "x", qos=1)
            with pytest.raises(OutboxError, match="in use"):
                client.connect_to_server()
        finally:
            holder.kill()
    client.publish(topic, "x", qos=1)  # the lock of the killed is gone, what it stored is not
    assert client.statistics.outbox_messages == 2


def test_a_second_client_gets_an_error(make, topic):
    first = make()
    first.publish(topic, "x", qos=1)
    with pytest.raises(OutboxError, match="in use"):
        make().publish(topic, "x", qos=1)
    first.disconnect_from_server()
    make().publish(topic, "x", qos=1)


def test_a_copy_has_the_same_outbox(make, topic):
    first = make()
    first.publish(topic, "x", qos=1)
    first.disconnect_from_server()
    copy = first.copy()
    connect(copy)
    emptied(copy)
    copy.disconnect_from_server()


# --- options ------------------------------------------------------------------------------------------


def test_the_option_cannot_change_while_messages_wait(make, topic, tmp_path):
    client = make()
    client.publish(topic, "x", qos=1)
    with pytest.raises(OptionError, match="outbox"):
        client.configure(outbox=str(tmp_path / "other"))
    client.disconnect_from_server()
    client.configure(outbox=tmp_path / "other")
    assert client.options.outbox == str(tmp_path / "other")


@pytest.mark.parametrize(
    "options", [{"outbox": ""}, {"outbox": 1}, {"outbox_sync": "half"}, {"outbox_max_messages": 0}]
)
def test_bad_options(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        juham.Options(**options)


def test_sync_full(make, topic):
    client = make(outbox_sync="full")
    client.publish(topic, "x", qos=1)
    assert client._outgoing._keeper.opened()._connection.execute("PRAGMA synchronous").fetchone() == (2,)


# --- with asyncio -------------------------------------------------------------------------------------


def test_the_loop_does_not_wait_for_the_disk(make, topic, path):
    threads = set()

    async def main():
        async with juham.aio.connect(f"memory://{topic.replace('/', '-')}", outbox=path) as mqtt:
            store = mqtt.client._outgoing._keeper.opened()
            transact = store._transact
            store._transact = lambda *rows: (threads.add(threading.get_ident()), transact(*rows))
            await asyncio.gather(*(mqtt.publish(topic, "x", qos=1 + number % 2) for number in range(50)))
            assert mqtt.statistics.acknowledged == 50
            assert threading.get_ident() not in threads

    asyncio.run(main())
    assert threads


def test_a_cancelled_publish_stays(make, topic, path):
    got = texts(connect(make(outbox=None)), topic)

    async def main():
        url = f"memory://{topic.replace('/', '-')}?close_timeout=0.1"
        async with juham.aio.connect(url, outbox=path) as mqtt:
            mqtt.client._outgoing.stop()
            with pytest.raises(juham.ReceiptTimeoutError):
                await mqtt.publish(f"{topic}/a", "x", qos=1, timeout=0.05)

    asyncio.run(main())
    assert got == []
    emptied(connect(make()))
    arrive(got, ["x"])


# --- from outside -------------------------------------------------------------------------------------


def juham_outbox(*arguments):
    command = [sys.executable, "-m", "juham_core.cli", "outbox", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_shows_what_is_in_use(make, topic, path):
    client = make()
    fill(client, topic, 9, qos=2)
    done = juham_outbox(path)
    assert done.returncode == 0, done.stderr
    assert f"9 messages of {client.statistics.outbox_bytes} bytes" in done.stdout
    assert f"3  {topic}/0" in done.stdout
    assert "b'0'" not in done.stdout
    shown = juham_outbox(path, "--payloads", "2").stdout
    assert f"#1 {topic}/0 QoS 2: b'0'\n#2 {topic}/1 QoS 2: b'1'\n" in shown
    client.disconnect_from_server()
    assert juham_outbox(path).stdout.startswith("9 messages")


def test_the_command_says_that_a_file_is_damaged(make, topic, path):
    assert juham_outbox(path).returncode == 1
    fill(make(), topic, 300)
    broken(path, "garbage")
    done = juham_outbox(path)
    assert done.returncode == 1
    assert "damaged" in done.stdout


# --- without one --------------------------------------------------------------------------------------


def test_the_file_gets_smaller_again(make, topic, path):
    client = make()
    client.publish(topic, b"x" * 1_000_000, qos=1)
    connect(client)
    emptied(client)
    client.disconnect_from_server()
    assert Path(path).stat().st_size < 100_000


def test_sqlite_is_imported_only_with_an_outbox():
    code = "import sys, juham_core; juham_core.create('memory'); sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_publish_amid_a_close_is_stored_once_the_file_is_free(make, topic, monkeypatch):
    """The client that is being closed has the file; it must not take itself for somebody else."""
    client = connect(make())
    got = texts(client, topic)
    entered, go_on = threading.Event(), threading.Event()
    close = Store.close

    def pausing(store):
        if threading.current_thread() is closing_thread:
            entered.set()
            go_on.wait(PATIENCE)
        close(store)

    receipts = []
    closing_thread = threading.Thread(target=client.disconnect_from_server)
    publishing = threading.Thread(target=lambda: receipts.extend(fill(client, topic, 1)))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "close", pausing)
        closing_thread.start()
        assert entered.wait(PATIENCE)
        publishing.start()
        publishing.join(0.1)
        go_on.set()
        publishing.join()
        closing_thread.join()
    assert len(receipts) == 1
    connect(client)
    arrive(got, ["0"])
