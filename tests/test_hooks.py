"""Hook plugins are found, checked and called in order, and do no harm."""

import importlib
import inspect
import logging
import subprocess
import sys
import textwrap
import threading
import types

import pytest

from juham_core import hookspecs
from juham_core import hooks as hooks_module
from juham_core.errors import JuhamError
from juham_core.hooks import DROP, HookError, Hooks
from juham_core.hookspecs import hookimpl
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.options import Options

CLIENT = object()
MESSAGE = MqttMsg("home/hall/lamp", b"on")
EXAMPLES = {
    "created": {"client": CLIENT},
    "connecting": {"client": CLIENT, "options": Options()},
    "connected": {"client": CLIENT, "session_present": True},
    "disconnected": {"client": CLIENT, "reason": "keepalive timeout"},
    "publishing": {"client": CLIENT, "message": MESSAGE},
    "published": {"client": CLIENT, "receipt": PublishReceipt(7)},
    "received": {"client": CLIENT, "message": MESSAGE},
    "handled": {
        "client": CLIENT,
        "message": MESSAGE,
        "handler": print,
        "seconds": 0.5,
        "exception": ValueError("no"),
    },
    "closed": {"client": CLIENT},
}
REPLACING = ("publishing", "received")


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def errors(caplog):
    caplog.set_level(logging.WARNING, "juham.hooks")
    return caplog


class Plugin:
    """A plugin with one function, for one hook."""

    def __init__(self, function, hook, **options):
        self.implementation = hookimpl(specname=f"jmqtt_{hook}", **options)(function)


def make_module(name, **functions):
    module = types.ModuleType(name)
    vars(module).update(functions)
    return module


def spec_names():
    return {name.removeprefix("jmqtt_") for name in vars(hookspecs) if name.startswith("jmqtt_")}


# --- the hooks themselves -----------------------------------------------------------------------------


def test_every_hook_has_an_example_and_an_attribute(hooks):
    assert spec_names() == set(EXAMPLES)
    assert all(vars(hooks)[name] == () for name in EXAMPLES)


@pytest.mark.parametrize("hook", sorted(EXAMPLES))
def test_every_hook_is_documented_by_one_sentence_its_thread_and_its_result(hook):
    doc = inspect.getdoc(getattr(hookspecs, f"jmqtt_{hook}"))
    sentence, thread = doc.split("\n\n")
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert thread.startswith("Thread: ")
    assert "Returns " in thread


@pytest.mark.parametrize("hook", sorted(EXAMPLES))
def test_every_hook_is_called_with_all_it_asks_for(hooks, hook):
    seen = []
    names = ", ".join(EXAMPLES[hook])
    hooks.register(Plugin(eval(f"lambda {names}: append(({names},))", {"append": seen.append}), hook))
    assert len(getattr(hooks, hook)) == 1
    if hook in REPLACING:
        assert hooks.replace(hook, **EXAMPLES[hook]) is MESSAGE
    elif hook == "connecting":
        assert hooks.change_options(**EXAMPLES[hook]) is EXAMPLES[hook]["options"]
    else:
        hooks.notify(hook, **EXAMPLES[hook])
    assert seen == [tuple(EXAMPLES[hook].values())]


def test_an_implementation_takes_only_the_arguments_it_needs(hooks):
    seen = []
    hooks.register(Plugin(lambda seconds, message: seen.append((seconds, message.topic)), "handled"))
    hooks.register(Plugin(lambda: seen.append("nothing"), "handled"))
    hooks.notify("handled", **EXAMPLES["handled"])
    assert seen == ["nothing", (0.5, "home/hall/lamp")]


# --- order, replacing, dropping -----------------------------------------------------------------------


def test_the_order_is_pluggys(hooks):
    order = []
    for name, options in (
        ("first", {"tryfirst": True}),
        ("older", {}),
        ("last", {"trylast": True}),
        ("newer", {}),
        ("firster", {"tryfirst": True}),
    ):
        hooks.register(Plugin(lambda name=name: order.append(name), "closed", **options), name)
    hooks.notify("closed", client=CLIENT)
    mine, order[:] = list(order), []
    hooks._manager.hook.jmqtt_closed(client=CLIENT)
    assert mine == order == ["firster", "first", "newer", "older", "last"]


@pytest.mark.parametrize("hook", REPLACING)
def test_each_plugin_sees_what_its_predecessor_made(hooks, hook):
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/2"), hook))
    hooks.register(Plugin(lambda: None, hook))
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/1"), hook))
    assert hooks.replace(hook, CLIENT, MqttMsg("a")) == MqttMsg("a/1/2")


@pytest.mark.parametrize("hook", REPLACING)
def test_a_dropped_message_is_seen_by_no_later_Plugin(hooks, hook):
    later = []
    hooks.register(Plugin(lambda message: later.append(message), hook))
    dropping = hooks.register(Plugin(lambda: DROP, hook), "dropping")
    assert hooks.replace(hook, CLIENT, MESSAGE) is None
    assert later == []
    hooks.unregister(dropping)
    assert hooks.replace(hook, CLIENT, MESSAGE) is MESSAGE
    assert later == [MESSAGE]


def test_options_are_changed_for_one_attempt(hooks):
    hooks.register(Plugin(lambda options: options.changed(username=options.username + "-b"), "connecting"))
    hooks.register(Plugin(lambda options: options.changed(username="a", password="s"), "connecting"))
    before = Options()
    after = hooks.change_options(CLIENT, before)
    assert (after.username, after.password) == ("a-b", "s")
    assert before.username is None


@pytest.mark.parametrize("wrong", [b"payload", True, Options(), hookspecs.Drop])
def test_a_result_of_the_wrong_type_is_reported_and_ignored(hooks, errors, wrong):
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/later"), "publishing"))
    hooks.register(Plugin(lambda: wrong, "publishing"), "confused")
    assert hooks.replace("publishing", CLIENT, MqttMsg("a")) == MqttMsg("a/later")
    (record,) = errors.records
    assert "'confused': jmqtt_publishing" in record.getMessage()
    assert type(wrong).__name__ in record.getMessage()


def test_wrong_options_are_ignored_and_not_shown(hooks, errors):
    hooks.register(Plugin(lambda: {"password": "hunter2"}, "connecting"))
    options = Options()
    assert hooks.change_options(CLIENT, options) is options
    assert "returned a dict" in errors.text
    assert "hunter2" not in errors.text


def test_options_cannot_be_dropped(hooks, errors):
    hooks.register(Plugin(lambda: DROP, "connecting"))
    options = Options()
    assert hooks.change_options(CLIENT, options) is options
    assert "returned a Drop" in errors.text


# --- plugins that fail --------------------------------------------------------------------------------


def test_a_plugin_that_raises_disturbs_neither_client_nor_neighbours(hooks, errors):
    called = []

    def fail():
        raise RuntimeError("out of paper")

    hooks.register(Plugin(lambda: called.append("older"), "connected"))
    hooks.register(Plugin(fail, "connected"), "printer")
    hooks.register(Plugin(lambda: called.append("newer"), "connected"))
    hooks.notify("connected", client=CLIENT, session_present=False)
    assert called == ["newer", "older"]
    (record,) = errors.records
    assert record.name == "juham.hooks"
    assert "'printer': jmqtt_connected" in record.getMessage()
    assert record.exc_info[0] is RuntimeError
    assert "in fail" in errors.text


def test_a_plugin_that_raises_while_replacing_is_skipped(hooks, errors):
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/older"), "received"))
    hooks.register(Plugin(lambda message: 1 / 0, "received"))
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/newer"), "received"))
    assert hooks.replace("received", CLIENT, MqttMsg("a")) == MqttMsg("a/newer/older")
    assert "ZeroDivisionError" in errors.text


def raising(error):
    def function():
        raise error

    return function


def test_sys_exit_in_a_plugin_does_not_end_a_network_thread(hooks, errors):
    hooks.register(Plugin(raising(SystemExit(3)), "received"))
    results = []
    thread = threading.Thread(target=lambda: results.append(hooks.replace("received", CLIENT, MESSAGE)))
    thread.start()
    thread.join()
    assert results == [MESSAGE]
    assert "SystemExit" in errors.text


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_during_a_hook_still_ends_the_program():
    program = """
        import signal, sys
        from types import SimpleNamespace
        from juham_core.hooks import hooks
        from juham_core.hookspecs import hookimpl
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
        def busy():
            signal.raise_signal(signal.SIGTERM)
            while True: pass
        hooks.register(SimpleNamespace(f=hookimpl(specname="jmqtt_closed")(busy)))
        hooks.notify("closed", client=None)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=30, check=False)
    assert result.returncode == 42


# --- registering --------------------------------------------------------------------------------------


def test_the_attributes_are_empty_again_once_all_have_gone(hooks):
    one, two = Plugin(lambda: None, "publishing"), Plugin(lambda: None, "publishing")
    hooks.register(one, "one")
    hooks.register(two, "two")
    assert [impl.plugin_name for impl in hooks.publishing] == ["two", "one"]
    assert hooks.closed == ()
    assert hooks.plugins() == {"one": one, "two": two}
    hooks.unregister(one)
    assert [impl.plugin_name for impl in hooks.publishing] == ["two"]
    hooks.unregister("two")
    assert hooks.publishing == ()
    assert hooks.plugins() == {}


def test_a_name_is_made_where_none_is_given(hooks):
    assert hooks.register(make_module("tracing", jmqtt_closed=hookimpl(lambda: None))) == "tracing"
    names = [hooks.register(Plugin(lambda: None, "closed")) for _ in range(3)]
    assert names == ["Plugin", "Plugin-2", "Plugin-3"]


def jmqtt_closed(client):
    pass


class NeedsSelf:
    @hookimpl
    def jmqtt_closed(self, client):
        pass


REFUSED = {
    "misspelt": ({"jmqtt_conected": hookimpl(lambda client: None)}, "did you mean jmqtt_connected?"),
    "unknown": ({"zzz": hookimpl(lambda client: None)}, "no hook 'zzz'; The hooks are jmqtt_closed, "),
    "argument": ({"jmqtt_closed": hookimpl(lambda klient: None)}, "klient"),
    "default": ({"jmqtt_closed": hookimpl(lambda client=None: None)}, "has defaults for client"),
    "keyword": ({"jmqtt_closed": hookimpl(lambda client, *, colour: None)}, "'colour'"),
    "wrapper": ({"jmqtt_closed": hookimpl(wrapper=True)(lambda client: (yield))}, "is a wrapper"),
    "hookwrapper": ({"jmqtt_closed": hookimpl(hookwrapper=True)(lambda client: (yield))}, "is a wrapper"),
    "generator": ({"jmqtt_closed": hookimpl(lambda client: (yield))}, "is async or a generator"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_called_is_refused_altogether(hooks, case):
    functions, text = REFUSED[case]
    with pytest.raises(HookError) as caught:
        hooks.register(make_module(case, jmqtt_created=hookimpl(lambda: None), **functions))
    assert f"the hook plugin {case!r} cannot be registered: " in str(caught.value)
    assert text in str(caught.value)
    assert isinstance(caught.value, JuhamError)
    assert isinstance(caught.value, ValueError)
    assert hooks.plugins() == {}
    assert all(getattr(hooks, name) == () for name in EXAMPLES)
    # Nothing of it has stayed behind in pluggy either.
    hooks._manager.check_pending()
    assert hooks._manager.hook.jmqtt_created.get_hookimpls() == []


def test_an_async_function_is_refused(hooks):
    async def coming_soon(client):
        pass

    with pytest.raises(HookError, match="jmqtt_closed is async or a generator"):
        hooks.register(Plugin(coming_soon, "closed"))


def test_a_class_in_the_place_of_its_instance_is_refused(hooks):
    with pytest.raises(HookError, match="register an instance of the class"):
        hooks.register(NeedsSelf)
    hooks.register(NeedsSelf())
    assert len(hooks.closed) == 1


def test_an_optional_hook_of_a_later_release_is_let_pass(hooks):
    later = hookimpl(optionalhook=True)(lambda client: None)
    hooks.register(make_module("modern", jmqtt_teleported=later, jmqtt_closed=hookimpl(lambda: None)))
    assert len(hooks.closed) == 1
    hooks.unregister("modern")


def test_a_refused_plugin_leaves_the_others_alone(hooks):
    good = Plugin(lambda: None, "closed")
    hooks.register(good, "good")
    bad = make_module("good", jmqtt_conected=hookimpl(lambda client: None))
    for plugin, name, text in (
        (good, None, "it is already, as 'good'"),
        (bad, "good", "the name is taken by"),
        (bad, "bad", "did you mean"),
        (None, None, "it is None"),
    ):
        with pytest.raises(HookError, match=text):
            hooks.register(plugin, name)
    assert hooks.plugins() == {"good": good}
    assert [impl.plugin for impl in hooks.closed] == [good]


@pytest.mark.parametrize("unknown", ["nobody", object()])
def test_only_what_is_registered_can_be_unregistered(hooks, unknown):
    hooks.register(Plugin(lambda: None, "closed"), "somebody")
    with pytest.raises(HookError, match="registered: somebody"):
        hooks.unregister(unknown)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jmqtt_closed", "jmqtt_closed is never called: it lacks the marker @hookimpl; with it"),
        ("jmqtt_close", "did you mean jmqtt_closed?"),
    ],
)
def test_a_function_without_the_marker_is_reported(hooks, errors, name, text):
    functions = {name: jmqtt_closed, "jmqtt_created": hookimpl(lambda: None)}
    hooks.register(make_module("forgetful", **functions))
    ((plugin, distribution, problem),) = hooks.problems
    assert (plugin, distribution) == ("forgetful", "")
    assert text in problem
    assert problem in errors.text
    hooks.unregister("forgetful")
    assert hooks.problems == []


def test_a_plugin_without_any_hook_is_reported(hooks):
    hooks.register(make_module("idle"))
    assert hooks.problems == [("idle", "", "it implements no hook")]


def test_properties_without_the_marker_are_not_hooks(hooks):
    class Odd:
        jmqtt_version = "1.0"

        @hookimpl
        def jmqtt_closed(self):
            pass

    hooks.register(Odd())
    assert hooks.problems == []


def test_registering_while_others_call(hooks):
    calls = []
    hooks.register(Plugin(lambda message: calls.append(1), "received"))
    stop = threading.Event()

    def receive():
        while not stop.is_set():
            hooks.replace("received", CLIENT, MESSAGE)

    threads = [threading.Thread(target=receive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        transient = Plugin(lambda: None, "received")
        hooks.register(transient)
        hooks.unregister(transient)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(hooks.received) == 1


# --- installed plugins --------------------------------------------------------------------------------


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
    "misspelt": ("x = hooks_broken", "@hookimpl\ndef jmqtt_conected(client): pass", "did you mean jmqtt_connected"),
    "argument": ("x = hooks_broken", "@hookimpl\ndef jmqtt_closed(klient): pass", "klient"),
    "idle": ("x = hooks_broken", "", "it implements no hook"),
    "nonsense": ("x = hooks_broken:", "", ""),
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
    gate = make_module("hooks_gate", entered=threading.Event(), go=threading.Event())
    monkeypatch.setitem(sys.modules, "hooks_gate", gate)
    site.install("juham-slow", "slow = hooks_slow", hooks_slow=textwrap.dedent(source) + textwrap.dedent(GOOD))
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


# --- the one instance ---------------------------------------------------------------------------------


@pytest.fixture
def registered():
    plugin = Plugin(lambda message: DROP, "publishing")
    name = hooks_module.hooks.register(plugin, "test-of-the-one-instance")
    yield plugin
    hooks_module.hooks.unregister(name)


def test_the_one_instance_serves_all(registered):
    assert registered in [impl.plugin for impl in hooks_module.hooks.publishing]
    assert hooks_module.hooks.replace("publishing", CLIENT, MESSAGE) is None
    assert hooks_module.hooks.DROP is DROP


def test_importing_loads_no_plugin_and_neither_stevedore():
    program = "import sys, juham_core.hooks as h; print(h.hooks.plugins(), 'stevedore' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "{} False"
