"""The records of the core: what dataclasses promise, without methods compiled for each class."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import pytest

import juham_core
from juham_core.capabilities import Capabilities
from juham_core.options import Options
from juham_core.statistics import Statistics
from juham_core.wire.terms import Subscription, Will


@pytest.mark.parametrize("cls", [Capabilities, Options, Statistics, Subscription, Will])
def test_nothing_is_compiled_for_a_class(cls):
    own = {name: value for name, value in vars(cls).items() if inspect.isfunction(value)}
    assert own["__init__"].__code__.co_filename.endswith("records.py")
    assert not [name for name, value in own.items() if value.__code__.co_filename == "<string>"]


def test_a_client_is_made_without_modules_that_take_long_to_import():
    program = "import sys, juham_core.jmqtt; print({'dataclasses', 'inspect'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


@pytest.mark.parametrize("record", [Options(host="b"), Statistics(received=1), Subscription("a"), Will("w")])
def test_copies_are_equal(record):
    assert copy.copy(record) == record
    assert copy.deepcopy(record) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert dataclasses.replace(record) == record
    assert record != dataclasses.astuple(record)


def test_fields_that_differ_make_a_difference():
    assert Options(host="a") != Options(host="b")
    assert Subscription("a") != Subscription("b")
    assert Subscription("a", identifier=1) == Subscription("a", identifier=2)
    assert Subscription("a") != Will("a")


def test_arguments():
    assert Subscription("a", 2, retain_handling=1) == Subscription(
        topic_filter="a", qos=2, retain_handling=1
    )
    assert Will("w").properties is not Will("w").properties
    assert Statistics().dropped is not Statistics().dropped


@pytest.mark.parametrize(
    ("arguments", "named", "error"),
    [
        ((), {}, "missing a required argument: 'topic_filter'"),
        ((), {"qos": 1}, "missing a required argument: 'topic_filter'"),
        (("a",), {"topic_filter": "b"}, "multiple values for argument 'topic_filter'"),
        (("a",), {"quality": 1}, "unexpected keyword argument 'quality'"),
        (("a", 0, False, False, 0, 0, 0), {}, "too many positional arguments"),
    ],
)
def test_wrong_arguments(arguments, named, error):
    with pytest.raises(TypeError, match=error):
        Subscription(*arguments, **named)


def test_frozen_ones_stay_as_they_are():
    options = Options(host="a")
    for change in (lambda: setattr(options, "host", "b"), lambda: delattr(options, "host")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="'host' of a Options"):
            change()
    assert options.host == "a"
    capabilities = Capabilities(tcp=True)
    assert hash(capabilities) == hash(Capabilities(tcp=True))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Statistics())


def test_no_attribute_is_added_to_what_has_slots():
    with pytest.raises(AttributeError):
        Subscription("a").topic = "b"


def test_what_is_shown():
    assert repr(Subscription("a", 1)).startswith("Subscription(topic_filter='a', qos=1, no_local=False")
    assert "hunter2" not in repr(Options(username="anna", password="hunter2"))
    signature = inspect.signature(juham_core.Options)
    assert [*signature.parameters] == [item.name for item in dataclasses.fields(Options)]
    assert signature.parameters["keepalive"].default == 60
    assert inspect.signature(Subscription).parameters["topic_filter"].default is inspect.Parameter.empty


def test_what_others_look_for_is_made_once():
    """The functions of dataclasses ask for it with each call."""
    for cls in (Subscription, Will, Options):
        assert cls.__dataclass_fields__ is cls.__dataclass_fields__
        assert cls.__dataclass_params__ is cls.__dataclass_params__
