"""The outbox where a signal's handler raises into it: what was accepted stays, and it goes on."""

import sqlite3
import threading
from contextlib import closing

import pytest
from striking import Striker, Struck
from test_outbox import connect, make, path, texts  # noqa: F401  # fixtures
from waiting import PATIENCE, eventually

from juham_core.errors import OutboxError
from juham_core.message import MqttMsg
from juham_core.options import OutboxBounds
from juham_core.outbox import Store
from juham_core.outbox.entries import Entry

BEGIN, INSERT, COMMIT = "BEGIN IMMEDIATE", "INSERT", "COMMIT"


class Interrupted:
    """A connection to SQLite that is interrupted once, just after a statement has been executed."""

    def __init__(self, connection, statement):
        self._connection = connection
        self._statement = statement

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *args):
        return self._then(sql, self._connection.execute(sql, *args))

    def executemany(self, sql, rows):
        return self._then(sql, self._connection.executemany(sql, rows))

    def _then(self, sql, result):
        if self._statement is not None and sql.lstrip().startswith(self._statement):
            self._statement = None
            raise KeyboardInterrupt
        return result


def entry(text):
    return Entry(MqttMsg("a", text.encode(), 1), 1)


def stored_in(path):  # noqa: F811  # not the fixture
    with closing(Store(OutboxBounds(path, 100, 1 << 20, "normal"), lambda _: None)) as store, store.lock:
        return [row.message.payload.decode() for row in store.read(0, 100, 1 << 20)]


@pytest.mark.parametrize(("statement", "left"), [(BEGIN, ""), (INSERT, ""), (COMMIT, "b")])
def test_a_store_goes_on_after_an_interrupt(path, statement, left):  # noqa: F811
    taken = []
    store = Store(OutboxBounds(path, 100, 1 << 20, "normal"), taken.extend)
    with closing(store):
        store.put(entry("a"))
        store.remove_later(1, entry("a").size)
        store._connection = Interrupted(store._connection, statement)
        of_another_thread = entry("of another thread")
        store.put_later(of_another_thread)
        with pytest.raises(KeyboardInterrupt):
            store.put(entry("b"))
        store.put(entry("c"))
        store.put(entry("d"))
        assert of_another_thread.settled
        assert of_another_thread.error is None
        expected = ["of another thread", *left, "c", "d"]
        assert (store.count, store.size) == (len(expected), sum(entry(text).size for text in expected))
        assert [each.message.payload.decode() for each in taken] == ["a", *expected]
        assert [each.number for each in taken] == sorted({each.number for each in taken})
    assert stored_in(path) == expected


def test_who_waits_is_not_told_of_success_where_the_recovery_fails(path):  # noqa: F811
    class Failing(Interrupted):
        def execute(self, sql, *args):
            if self._statement is None:
                raise sqlite3.OperationalError("the disk is gone")
            return super().execute(sql, *args)

    raised = []

    def put():
        try:
            store.put(entry("of another thread"))
        except OutboxError as exc:
            raised.append(str(exc))

    store = Store(OutboxBounds(path, 100, 1 << 20, "normal"), lambda _: None)
    with closing(store):
        whole, store._connection = store._connection, Failing(store._connection, BEGIN)
        with store.lock:
            other = threading.Thread(target=put)
            other.start()
            assert eventually(lambda: store.unwritten)
            with pytest.raises(KeyboardInterrupt):
                store.put(entry("a"))
        other.join(PATIENCE)
        store._connection = whole
        store.put(entry("b"))
    assert len(raised) == 1
    assert "may have stored" in raised[0]
    assert stored_in(path) == ["b"]


def test_what_was_being_sent_stays_in_the_outbox(make, topic):  # noqa: F811
    client = connect(make(close_timeout=60))
    hand = client._publish

    def interrupted(message):
        client._publish = hand
        raise KeyboardInterrupt

    client._publish = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.publish(f"{topic}/a", "interrupted", qos=1)
    client.publish(f"{topic}/a", "next", qos=1).wait(PATIENCE)
    assert eventually(lambda: client.statistics.outbox_messages == 1)
    client.disconnect_from_server()  # without waiting for what cannot come
    observer = connect(make(outbox=None))
    got = texts(observer, topic)
    connect(make())
    assert eventually(lambda: got == ["interrupted"])


def test_whatever_step_of_a_write_is_struck_what_others_wait_for_is_written(tmp_path):
    for number in range(1, 1000):
        name, taken = str(tmp_path / f"outbox{number}"), []  # another for each
        of_another_thread, own = entry("of another thread"), entry("b")
        striker = Striker(number)
        with closing(Store(OutboxBounds(name, 100, 1 << 20, "off"), taken.extend)) as store:
            store.put(entry("a"))
            store.remove_later(1, entry("a").size)
            store.put_later(of_another_thread)
            try:
                with striker:
                    store.put(own)
            except Struck:
                store.write()
            store.put(entry("c"))
            assert of_another_thread.settled, striker.place
            assert of_another_thread.error is None, striker.place
            assert len(taken) == len({each.number for each in taken}), striker.place
            counted = store.count, store.size
        left = stored_in(name)
        # What was struck is kept, or its publisher knows that it is not.
        assert [text for text in left if text != "b"] == ["of another thread", "c"], striker.place
        assert left.count("b") <= 1, striker.place
        assert counted == (len(left), sum(entry(text).size for text in left)), striker.place
        if not striker.place:
            assert number > 50
            return
