"""Hook plugins are found, checked and called in order, and do no harm."""

import inspect
import logging
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from hook_plugins import Plugin, make_module

from juham_core import hooks as hooks_module
from juham_core import hookspecs
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
# For a Python that runs no site module, which may import what a test says is not imported.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
REPLACING = ("publishing", "received")


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def errors(caplog):
    caplog.set_level(logging.WARNING, "juham.hooks")
    return caplog


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
    hooks._plugins.manager.hook.jmqtt_closed(client=CLIENT)
    assert mine == order == ["firster", "first", "newer", "older", "last"]


@pytest.mark.parametrize("hook", REPLACING)
def test_each_plugin_sees_what_its_predecessor_made(hooks, hook):
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/2"), hook))
    hooks.register(Plugin(lambda: None, hook))
    hooks.register(Plugin(lambda message: MqttMsg(message.topic + "/1"), hook))
    assert hooks.replace(hook, CLIENT, MqttMsg("a")) == MqttMsg("a/1/2")


@pytest.mark.parametrize("hook", REPLACING)
def test_a_dropped_message_is_seen_by_no_later_plugin(hooks, hook):
    later = []
    hooks.register(Plugin(lambda message: MqttMsg(later.append(message) or "later"), hook))
    dropping = hooks.register(Plugin(lambda: DROP, hook), "dropping")
    assert hooks.replace(hook, CLIENT, MESSAGE) is None
    assert later == []
    hooks.unregister(dropping)
    assert hooks.replace(hook, CLIENT, MESSAGE).topic == "later"
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


@pytest.mark.parametrize("hook", REPLACING)
@pytest.mark.parametrize(
    ("made", "sent"), [("21.5 °C", "21.5 °C".encode()), (7, b"7"), (None, b""), (bytearray(b"x"), b"x")]
)
def test_a_payload_may_be_whatever_publish_takes(hooks, hook, made, sent):
    seen = []
    hooks.register(Plugin(lambda message: seen.append(message.payload), hook))
    hooks.register(Plugin(lambda: MqttMsg("a", made), hook))
    payload = hooks.replace(hook, CLIENT, MqttMsg("a", b"before")).payload
    assert (payload, type(payload)) == (sent, bytes)
    assert seen == [sent]


@pytest.mark.parametrize("hook", REPLACING)
def test_a_payload_that_is_none_is_reported_and_ignored(hooks, errors, hook):
    def change(message):
        message.payload = ["in place"]

    hooks.register(Plugin(change, hook), "changing")
    hooks.register(Plugin(lambda: MqttMsg("b", {"temperature": "hunter2"}), hook), "making")
    assert hooks.replace(hook, CLIENT, MqttMsg("a", b"before")) == MqttMsg("a", b"before")
    making, changing = (record.getMessage() for record in errors.records)
    assert f"'making': jmqtt_{hook}" in making
    assert "not dict" in making
    assert f"'changing': jmqtt_{hook}" in changing
    assert "not list" in changing
    assert "hunter2" not in errors.text


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


@pytest.mark.parametrize("unknown", ["nobody", object()])
def test_only_what_is_registered_can_be_unregistered(hooks, unknown):
    hooks.register(Plugin(lambda: None, "closed"), "somebody")
    with pytest.raises(HookError, match="registered: somebody"):
        hooks.unregister(unknown)


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


def test_importing_loads_no_plugin_and_nothing_slow():
    program = """
        import sys
        import juham_core.hooks
        print(juham_core.hooks.hooks.plugins(), {"stevedore", "importlib.metadata"} & set(sys.modules))
    """
    command = [sys.executable, "-S", "-c", textwrap.dedent(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert result.stdout.strip() == "{} set()"
