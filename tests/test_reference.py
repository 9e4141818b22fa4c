"""Every member of the reference's two classes exists: by name, kind, default and parameters.

An inventory of the reference page is compared with the classes. Parameters of ours may follow those of the
inventory if they are optional. Two things are read as they were meant: the host ``'locahost'``, and
``clean_start=3``, which is paho's MQTT_CLEAN_START_FIRST_ONLY.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from juham_core.jmqtt import JMqtt
from juham_core.object import Object

pytest.importorskip("juham_paho", reason="the reference's two classes come with juham-paho")

from juham_paho import JPaho, JPaho2
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client

INVENTORY = json.loads(Path(__file__).with_name("juham_mqtt_api.json").read_text())["classes"]
CLASSES = {"JPaho": JPaho, "JPaho2": JPaho2}
BASES = {"JMqtt": JMqtt, "Client": Client}
MEANT = {"locahost": "localhost"}
MEMBERS = [
    pytest.param(class_name, member, id=f"{class_name}.{member}")
    for class_name, described in INVENTORY.items()
    for member in described["members"]
]


def parameters_described(signature: str) -> list[tuple[str, Any, Any]]:
    """(name, kind, default) of each parameter that a signature such as "(topic, qos=0, **more)" lists."""
    arguments = ast.parse(f"def f{signature}: ...").body[0].args
    positional = [argument.arg for argument in arguments.args]
    defaults: list[Any] = [inspect.Parameter.empty] * (len(positional) - len(arguments.defaults))
    for node in arguments.defaults:
        value = ast.literal_eval(node)
        defaults.append(MEANT.get(value, value) if isinstance(value, str) else value)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    described = [(name, kind, default) for name, default in zip(positional, defaults, strict=True)]
    if arguments.kwarg is not None:
        described.append((arguments.kwarg.arg, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.empty))
    return described


def check_parameters(function: Any, signature: str) -> None:
    described = parameters_described(signature)
    found = list(inspect.signature(function).parameters.values())
    if found and found[0].name == "self":
        del found[0]
    ours = [(parameter.name, parameter.kind, parameter.default) for parameter in found]
    assert ours[: len(described)] == described
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for extra in found[len(described) :]:
        assert extra.default is not extra.empty or extra.kind in variable, f"{extra} is not optional"


def kind_of(cls: type, member: str) -> str:
    held = inspect.getattr_static(cls, member)
    if isinstance(held, property):
        return "property"
    if isinstance(held, classmethod):
        return "classmethod"
    return "method" if callable(getattr(cls, member)) else "attribute"


def test_the_inventory_is_whole():
    assert {name: len(described["members"]) for name, described in INVENTORY.items()} == {
        "JPaho": 37,
        "JPaho2": 111,
    }
    assert MQTT_CLEAN_START_FIRST_ONLY == 3


@pytest.mark.parametrize("class_name", INVENTORY)
def test_bases_and_constructor(class_name: str):
    cls = CLASSES[class_name]
    assert list(cls.__bases__) == [BASES[name] for name in INVENTORY[class_name]["bases"]]
    assert issubclass(cls, Object)
    check_parameters(cls, INVENTORY[class_name]["signature"])
    assert cls().name == "paho"


@pytest.mark.parametrize(("class_name", "member"), MEMBERS)
def test_member(class_name: str, member: str):
    cls = CLASSES[class_name]
    described = INVENTORY[class_name]["members"][member]
    assert kind_of(cls, member) == described["kind"]
    if described["kind"] == "attribute":
        assert getattr(cls, member) == described["default"]
        assert type(getattr(cls, member)) is type(described["default"])
    elif described["kind"] in ("method", "classmethod"):
        check_parameters(getattr(cls, member), described["signature"])


@pytest.mark.parametrize("class_name", INVENTORY)
def test_members_work_on_an_instance(class_name: str):
    client = CLASSES[class_name]()
    for member in INVENTORY[class_name]["members"]:
        assert getattr(client, member) is not NotImplemented
