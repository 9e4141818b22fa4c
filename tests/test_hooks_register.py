"""A hook plugin that would not do what its author meant is refused or reported."""

import logging

import pytest
from hook_plugins import Plugin, make_module

from juham_core import hookspecs
from juham_core.errors import JuhamError
from juham_core.hooks import HookError, Hooks
from juham_core.hookspecs import hookimpl


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def errors(caplog):
    caplog.set_level(logging.WARNING, "juham.hooks")
    return caplog


def jmqtt_closed(client):
    pass


class NeedsSelf:
    @hookimpl
    def jmqtt_closed(self, client):
        pass


HOOKS = [name.removeprefix("jmqtt_") for name in vars(hookspecs) if name.startswith("jmqtt_")]

REFUSED = {
    "misspelt": ({"jmqtt_conected": hookimpl(lambda client: None)}, "did you mean jmqtt_connected?"),
    "unknown": ({"zzz": hookimpl(lambda client: None)}, "no hook 'zzz': the hooks are jmqtt_closed, "),
    "argument": ({"jmqtt_closed": hookimpl(lambda klient: None)}, "{'klient'} are declared"),
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
    assert all(getattr(hooks, name) == () for name in HOOKS)
    # Nothing of it has stayed behind in pluggy either.
    hooks._plugins.manager.check_pending()
    assert hooks._plugins.manager.hook.jmqtt_created.get_hookimpls() == []


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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jmqtt_closed", "jmqtt_closed is never called: it lacks the marker @hookimpl"),
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
