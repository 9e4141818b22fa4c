"""Installed hook plugins are found and loaded one by one, whatever their neighbours do."""

import importlib
import logging
import os
import signal
import sys
import textwrap
import threading
import types

import pytest

from juham_core import hooks as hooks_module
from juham_core.hooks import Hooks

CLIENT = object()


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def errors(caplog):
    caplog.set_level(logging.WARNING, "juham.hooks")
    return caplog


class Site:
    """A directory on sys.path into which distributions are installed."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(path))

    def install(self, distribution, entry_points, **modules):
        info = self.path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[juham_core.hooks]\n" + entry_points)
        for name, source in modules.items():
            (self.path / f"{name}.py").write_text(PREAMBLE + textwrap.dedent(source))
            self.monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return info


PREAMBLE = "from juham_core.hookspecs import hookimpl\n"
GOOD = """
    closed = []
    @hookimpl
    def jmqtt_closed(client):
        closed.append(client)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    before = set(sys.modules)
    yield Site(tmp_path, monkeypatch)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_an_installed_plugin_is_loaded_once(hooks, site):
    site.install("juham-trace", "trace = hooks_trace", hooks_trace=GOOD)
    hooks.load()
    hooks.load()
    assert list(hooks.plugins()) == ["trace"]
    hooks.notify("closed", client=CLIENT)
    assert sys.modules["hooks_trace"].closed == [CLIENT]
    assert hooks.problems == []
    hooks.unregister("trace")
    hooks.load()
    assert hooks.closed == ()


def test_an_entry_point_may_name_an_object(hooks, site):
    source = """
        class Counter:
            @hookimpl
            def jmqtt_closed(self, client):
                client.append(self)
        counter = Counter()
    """
    site.install("juham-count", "count = hooks_count:counter", hooks_count=source)
    hooks.load()
    closed = []
    hooks.notify("closed", client=closed)
    assert closed == [sys.modules["hooks_count"].counter]


BROKEN = {
    "missing": ("x = hooks_nowhere", "", "No module named 'hooks_nowhere'"),
    "attribute": ("x = hooks_broken:plugin", "", "has no attribute 'plugin'"),
    "syntax": ("x = hooks_broken", "def (", "SyntaxError"),
    "raises": ("x = hooks_broken", "1 / 0", "ZeroDivisionError"),
    "exits": ("x = hooks_broken", "raise SystemExit(1)", "SystemExit"),
    "misspelt": ("x = hooks_broken", "@hookimpl\ndef jmqtt_conected(): pass", "did you mean jmqtt_connected"),
    "argument": ("x = hooks_broken", "@hookimpl\ndef jmqtt_closed(klient): pass", "klient"),
    "idle": ("x = hooks_broken", "", "it implements no hook"),
    "malformed": ("x = hooks broken!", "", "importing 'hooks broken!' failed"),
    "none": ("x = hooks_broken:nothing", "nothing = None", "it is None"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_keeps_no_other_from_being_loaded(hooks, site, errors, case):
    entry_point, source, text = BROKEN[case]
    site.install("juham-a", "a = hooks_a", hooks_a=GOOD)
    site.install("juham-broken", entry_point, hooks_broken=source)
    site.install("juham-z", "z = hooks_z", hooks_z=GOOD)
    hooks.load()
    assert {"a", "z"} <= set(hooks.plugins())
    ((name, distribution, problem),) = hooks.problems
    assert (name, distribution) == ("x", "juham-broken")
    assert text in problem
    assert "hook plugin 'x' of juham-broken: " + problem in errors.text


def test_unreadable_metadata_of_a_stranger_is_no_obstacle(hooks, site):
    site.install("juham-a", "a = hooks_a", hooks_a=GOOD)
    info = site.install("stranger", "")
    (info / "entry_points.txt").write_bytes(b"[juham_core.hooks]\nb = caf\xe9\n")
    site.install("juham-z", "z = hooks_z", hooks_z=GOOD)
    hooks.load()
    assert set(hooks.plugins()) == {"a", "z"}
    ((_, distribution, problem),) = hooks.problems
    assert distribution == "stranger"
    assert "UnicodeDecodeError" in problem


def test_a_distribution_without_a_name_is_loaded_all_the_same(hooks, site):
    info = site.install("juham-a", "a = hooks_a", hooks_a=GOOD)
    (info / "METADATA").unlink()
    hooks.load()
    assert list(hooks.plugins()) == ["a"]


@pytest.mark.parametrize("blocked", ["bad", " other ,bad", "juham-bad:bad"])
def test_a_blocked_plugin_is_not_even_imported(hooks, site, monkeypatch, blocked):
    site.install("juham-bad", "bad = hooks_bad\ngood = hooks_good", hooks_bad="1 / 0", hooks_good=GOOD)
    site.install("juham-other", "other = hooks_other", hooks_other=GOOD)
    monkeypatch.setenv("JUHAM_HOOKS_BLOCK", blocked)
    hooks.load()
    assert hooks.problems == []
    assert "hooks_bad" not in sys.modules
    assert set(hooks.plugins()) == ({"good"} if "other" in blocked.split(",")[0] else {"good", "other"})


def test_a_blocked_name_that_nobody_has_is_reported(hooks, site, monkeypatch):
    site.install("juham-a", "a = hooks_a", hooks_a=GOOD)
    monkeypatch.setenv("JUHAM_HOOKS_BLOCK", ",aa,")
    hooks.load()
    assert list(hooks.plugins()) == ["a"]
    ((name, _, problem),) = hooks.problems
    assert name == "aa"
    assert "no installed distribution has it" in problem


def test_two_plugins_of_one_name_are_both_loaded(hooks, site, monkeypatch):
    site.install("juham-one", "trace = hooks_one", hooks_one=GOOD)
    site.install("juham-two", "trace = hooks_two", hooks_two=GOOD)
    hooks.load()
    assert len(hooks.closed) == 2
    first, second = hooks.plugins()
    assert first == "trace"
    assert second in ("juham-one:trace", "juham-two:trace")
    monkeypatch.setenv("JUHAM_HOOKS_BLOCK", "juham-one:trace")
    other = Hooks()
    other.load()
    assert [plugin.__name__ for plugin in other.plugins().values()] == ["hooks_two"]


def test_what_the_application_registered_itself_is_not_registered_again(hooks, site):
    site.install("juham-a", "a = hooks_a\nalias = hooks_a", hooks_a=GOOD)
    hooks.register(importlib.import_module("hooks_a"), "mine")
    hooks.load()
    assert list(hooks.plugins()) == ["mine"]
    assert hooks.problems == []


def test_every_thread_returns_from_load_with_all_plugins_there(hooks, site, monkeypatch):
    source = """
    import hooks_gate
    hooks_gate.entered.set()
    assert hooks_gate.go.wait(10)
"""
    gate = types.ModuleType("hooks_gate")
    gate.entered, gate.go = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "hooks_gate", gate)
    site.install("juham-slow", "slow = hooks_slow", hooks_slow=source + GOOD)
    seen = []

    def load():
        hooks.load()
        seen.append(len(hooks.closed))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert gate.entered.wait(10)
    assert seen == []
    gate.go.set()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


def test_a_plugin_may_load_and_register_while_it_is_imported(site, monkeypatch):
    hooks = Hooks()
    monkeypatch.setattr(hooks_module, "hooks", hooks)
    source = """
        import threading
        from juham_core import hooks as hooks_module
        hooks_module.hooks.load()
        @hookimpl
        def jmqtt_closed(): pass
        class Extra:
            @hookimpl
            def jmqtt_created(self): pass
        thread = threading.Thread(target=hooks_module.hooks.register, args=(Extra(), "extra"))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    """
    site.install("juham-deep", "deep = hooks_deep", hooks_deep=source)
    hooks.load()
    assert hooks.problems == []
    assert set(hooks.plugins()) == {"deep", "extra"}


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process cannot send itself such a signal")
def test_a_signal_while_a_plugin_is_imported_still_ends_the_program(hooks, site):
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
    site.install("juham-slow", "slow = slow", slow=source)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit, match="143"):
            hooks.load()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert hooks.problems == []
