import os
import subprocess
import sys
import threading

import pytest

from juham_core.watchdog import Watchdog


def names():
    return [thread.name for thread in threading.enumerate()]


def test_a_check_is_called_again_and_again_until_it_is_no_longer_watched():
    watchdog, calls = Watchdog(), threading.Semaphore(0)
    watchdog.watch("a", 0.01, lambda now: calls.release())
    assert all(calls.acquire(timeout=5) for _ in range(3))
    watchdog.unwatch("a")
    while calls.acquire(blocking=False):
        pass
    assert not calls.acquire(timeout=0.1)


def test_the_thread_ends_with_the_last_check_and_comes_back_with_the_next():
    watchdog, called = Watchdog(), threading.Event()
    watchdog.watch("a", 60, lambda now: None)
    watchdog.watch("b", 60, lambda now: None)
    watchdog.unwatch("a")
    assert "juham-watchdog" in names()
    watchdog.unwatch("b")
    assert "juham-watchdog" not in names()
    watchdog.watch("c", 0.01, lambda now: called.set())
    assert called.wait(5)
    watchdog.unwatch("c")
    assert "juham-watchdog" not in names()


def test_a_short_wait_is_kept_beside_a_long_one():
    watchdog, called = Watchdog(), threading.Event()
    watchdog.watch("long", 3600, lambda now: None)
    watchdog.watch("short", 0.01, lambda now: called.set())
    assert called.wait(5)
    watchdog.unwatch("long")
    watchdog.unwatch("short")


def test_a_check_that_raises_is_logged_and_the_others_go_on(caplog):
    watchdog, called = Watchdog(), threading.Semaphore(0)

    def fail(now):
        raise ValueError("broken")

    watchdog.watch("broken", 0.01, fail)
    watchdog.watch("sound", 0.01, lambda now: called.release())
    assert all(called.acquire(timeout=5) for _ in range(5))
    watchdog.unwatch("broken")
    watchdog.unwatch("sound")
    assert "ValueError: broken" in caplog.text


def test_a_check_may_end_its_own_watch():
    watchdog, done = Watchdog(), threading.Event()

    def once(now):
        watchdog.unwatch("once")
        done.set()

    watchdog.watch("once", 0.01, once)
    assert done.wait(5)


FORKED = """
import os, threading
from juham_core.watchdog import watchdog

watchdog.watch("parent", 60, lambda now: None)
child = os.fork()
if child == 0:
    looked = threading.Event()
    watchdog.watch("child", 0.01, lambda now: looked.set())
    os._exit(0 if looked.wait(10) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
watchdog.unwatch("parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_has_a_watchdog_of_its_own():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=30)
