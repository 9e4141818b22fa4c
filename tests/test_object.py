"""Object and what it is made of: registry, class configuration, state as JSON, log."""

import abc
import enum
import io
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import juham_core
from juham_core.errors import ClassNotFoundError, ConfigError, InvalidArgumentError
from juham_core.object import Object


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


class Human(Object):
    """The reference's example."""

    def __init__(self, name):
        self.name = name


class Colour(enum.IntEnum):
    RED = 1


def make_boiler():
    """A class of its own for each test: configuration is loaded once per class."""

    class Boiler(Object):
        host = "localhost"
        port = 1883
        tls = False
        delay = 0.5
        backend: str | None = None
        topics = ["a"]  # noqa: RUF012
        pair = (1, 2)
        extra = {"depth": 1, "password": "hidden"}  # noqa: RUF012
        url = "mqtt://me:hidden@host:1883/x"
        password = "hidden"
        api_key = "hidden"
        accessToken = "hidden"  # noqa: N815  # secrets are told in any spelling
        colour = Colour.RED
        handler = print
        _private = 1

        def method(self): ...

        @property
        def computed(self):
            return 1

    return Boiler


def write_config(cls, text):
    path = Path(cls.get_json_file())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- the registry -------------------------------------------------------------------------------------


def test_a_class_is_registered_when_it_is_defined():
    class Registered(Object):
        pass

    assert Registered.get_class_id() == "Registered"
    assert Object.find_class("Registered") is Registered
    assert type(Object.instantiate("Registered")) is Registered


def test_register_is_called_for_each_subclass():
    calls = []

    class Announced(Object):
        @classmethod
        def register(cls):
            super().register()
            calls.append(cls.__name__)

    class AnnouncedToo(Announced):
        pass

    assert calls == ["Announced", "AnnouncedToo"]
    assert Object.find_class("AnnouncedToo") is AnnouncedToo


def test_any_callable_may_be_registered():
    Object.register_class("TestCallable", lambda *args: list(args))
    assert Object.instantiate("TestCallable") == []
    assert Object.instantiate_with_param("TestCallable", 3) == [3]


def test_instantiate_with_param():
    assert Object.instantiate_with_param("Human", "john").name == "john"


def test_an_unknown_class_id_is_named_with_close_ones():
    assert Object.find_class("Humam") is None
    with pytest.raises(ClassNotFoundError, match=r"'Humam'.*did you mean Human") as raised:
        Object.instantiate("Humam")
    assert isinstance(raised.value, LookupError)
    with pytest.raises(ClassNotFoundError, match="Human"):
        Object.instantiate_with_param("Humam", 1)
    with pytest.raises(ClassNotFoundError, match=r"there are .*Human"):
        Object.instantiate("Qqqqqqqqqqq")


def test_is_abstract():
    class Plan(Object, abc.ABC):
        @abc.abstractmethod
        def build(self): ...

    class House(Plan):
        def build(self): ...

    assert Plan.is_abstract()
    assert not House.is_abstract()
    assert not Object.is_abstract()


def test_beside_a_base_that_knows_nothing_of_it():
    class Client:
        port = property(lambda self: self._port)

        def __init__(self, port, /, *, protocol):
            self._port = port
            self._logger = self._host = None
            self.protocol = protocol

    class Mine(Object):
        port = 1883
        host = "localhost"

    class Both(Client, Mine):
        def __init__(self):
            super().__init__(1, protocol=5)

    both = Object.instantiate("Both")
    assert both.port == 1
    assert both.to_dict()["_object"] == {"protocol": 5}
    assert Both.classattrs_to_dict() == {"host": "localhost"}  # the property hides the other
    both.info("works")
    assert both.copy().protocol == 5


def test_beside_paho():
    client = pytest.importorskip("paho.mqtt.client")

    class Sibling(client.Client, Object):
        host = "localhost"

        def __init__(self, name="paho"):
            super().__init__(client.CallbackAPIVersion.VERSION2, client_id=name)

    taken = {name for name in dir(client.Client) if not name.startswith("__")}
    assert not taken & {name for base in Object.__mro__[:-1] for name in vars(base)} - {"__doc__"}
    sibling = Sibling("one")
    assert sibling._client_id == b"one"
    assert not set(vars(sibling)) & set(dir(Object))
    assert Sibling.classattrs_to_dict() == {"host": "localhost"}


# --- class configuration ------------------------------------------------------------------------------


def test_the_file_is_named_after_the_class_below_the_home_of_now(home, tmp_path, monkeypatch):
    boiler = make_boiler()
    assert boiler.get_json_file() == str(home / ".juham" / "config" / "Boiler.json")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(boiler, "app_name", "heating")
    monkeypatch.setattr(boiler, "config_folder", "etc")
    assert boiler.get_json_file() == str(tmp_path / "elsewhere" / ".heating" / "etc" / "Boiler.json")


def test_configuration_is_the_public_attributes_without_secrets():
    assert make_boiler().classattrs_to_dict() == {
        "host": "localhost",
        "port": 1883,
        "tls": False,
        "delay": 0.5,
        "backend": None,
        "topics": ["a"],
        "pair": (1, 2),
        "extra": {"depth": 1},
        "url": "mqtt://me@host:1883/x",
    }


def test_configuration_includes_what_is_inherited_from_objects_only():
    class Stranger:
        strange = 1

    class Child(Stranger, make_boiler()):
        port = 8883
        own = "x"

    attributes = Child.classattrs_to_dict()
    assert attributes["port"] == 8883
    assert attributes["host"] == "localhost"
    assert attributes["own"] == "x"
    assert "strange" not in attributes
    assert "app_name" not in attributes


def test_constants_are_no_configuration(caplog):
    class Contract(Object):
        version = 1
        port = 1
        _constants = frozenset({"version"})

    class Kept(Contract):
        version = 2
        _constants = frozenset({"own"})
        own = 3

    assert Kept.classattrs_to_dict() == {"port": 1}
    Kept.classattrs_from_dict({"version": 7, "app_name": "x"})
    assert (Kept.version, Kept.app_name) == (2, "juham")
    assert len(caplog.records) == 2


def test_setting_class_attributes_leaves_the_base_alone():
    boiler = make_boiler()

    class Child(boiler):
        pass

    Child.classattrs_from_dict({"port": 1, "delay": 2, "pair": [3, 4], "backend": "x", "password": "new"})
    assert (Child.port, Child.delay, Child.pair, Child.backend) == (1, 2.0, (3, 4), "x")
    assert Child.password == "new"  # a secret may be read, and is not written
    assert type(Child.delay) is float
    assert boiler.port == 1883


def test_what_was_none_may_be_none_again():
    boiler = make_boiler()
    boiler.classattrs_from_dict({"backend": "gmqtt"})
    boiler.classattrs_from_dict({"backend": None})
    assert boiler.backend is None


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("port", "1883", "an integer, and is a string"),
        ("port", True, "an integer, and is true or false"),
        ("port", 1.5, "an integer, and is a number"),
        ("port", None, "an integer, and is null"),
        ("host", 5, "a string, and is an integer"),
        ("tls", 1, "true or false, and is an integer"),
        ("delay", "x", "a number, and is a string"),
        ("topics", "x", "a list, and is a string"),
        ("pair", {}, "a list, and is an object"),
        ("extra", [], "an object, and is a list"),
    ],
)
def test_a_wrong_type_is_an_error_and_nothing_is_set(attribute, value, expected):
    boiler = make_boiler()
    with pytest.raises(ConfigError, match=f'"{attribute}" must be {expected}'):
        boiler.classattrs_from_dict({"url": "changed", attribute: value})
    assert boiler.url != "changed"


def test_the_value_of_a_wrong_type_is_not_shown():
    with pytest.raises(ConfigError) as raised:
        make_boiler().classattrs_from_dict({"password": ["hunter2"]})
    assert "hunter2" not in str(raised.value)


def test_unknown_keys_are_logged_and_ignored(caplog):
    boiler = make_boiler()
    path = write_config(boiler, '{"hots": "broker", "zzzzzz": 1, "method": 2, "_private": 3, "port": 7}')
    assert boiler.load_from_json()
    assert boiler.port == 7
    assert boiler._private == 1
    assert not hasattr(boiler, "hots")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    assert all(str(path) in message for message in messages)
    assert '"hots" is ignored; did you mean "host"?' in messages[0]
    assert "known are api_key, backend" not in messages[0]
    assert "known are" in messages[1]
    assert "hidden" not in "".join(messages)


def test_lists_are_not_shared_with_the_caller():
    boiler = make_boiler()
    topics = ["b"]
    boiler.classattrs_from_dict({"topics": topics})
    topics.append("c")
    boiler.classattrs_to_dict()["topics"].append("d")
    assert boiler.topics == ["b"]


def test_loading_without_a_file_changes_nothing(home):
    boiler = make_boiler()
    assert not boiler.load_from_json()
    assert boiler.port == 1883
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n  "port": 1,\n  oops\n}', "line 3, column 3"),
        ("", "line 1, column 1"),
        ("[1]", "line 1: a JSON object"),
        ('{"port": "x"}', '"port" must be an integer'),
    ],
)
def test_a_broken_file_is_named_with_its_line(text, expected):
    boiler = make_boiler()
    path = write_config(boiler, text)
    with pytest.raises(ConfigError, match=expected) as raised:
        boiler.load_from_json()
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read_is_named():
    boiler = make_boiler()
    path = write_config(boiler, "")
    path.write_bytes(b'{"host": "\xff"}')
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        boiler.load_from_json()
    assert str(path) in str(raised.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        boiler.load_from_json()


def test_a_byte_order_mark_does_no_harm():
    boiler = make_boiler()
    write_config(boiler, '\ufeff{"host": "kötti"}')
    assert boiler.load_from_json()
    assert boiler.host == "kötti"


def test_saving_creates_the_file_once_private_and_without_secrets(home):
    boiler = make_boiler()
    assert boiler.save_to_json()
    path = Path(boiler.get_json_file())
    text = path.read_text(encoding="utf-8")
    assert "hidden" not in text
    assert json.loads(text)["port"] == 1883
    assert [entry.name for entry in path.parent.iterdir()] == ["Boiler.json"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((home / ".juham").stat().st_mode) == 0o700
        assert stat.S_IMODE((home / ".juham" / "config").stat().st_mode) == 0o700

    boiler.port = 1
    assert not boiler.save_to_json()
    assert path.read_text(encoding="utf-8") == text


def test_saving_leaves_a_link_into_nothing_alone(tmp_path):
    boiler = make_boiler()
    path = Path(boiler.get_json_file())
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "absent")
    assert not boiler.save_to_json()
    assert not (tmp_path / "absent").exists()


def test_what_was_saved_loads_again():
    boiler = make_boiler()
    before = boiler.classattrs_to_dict()
    boiler.save_to_json()
    other = make_boiler()
    other.port = 1
    assert other.load_from_json()
    assert other.classattrs_to_dict() == before


RACER = """
import sys
from juham_core.object import Object

class Racer(Object):
    runner = int(sys.argv[1])
    load = [int(sys.argv[1])] * 20000

print("ready", flush=True)
sys.stdin.readline()
print(Racer.save_to_json(), flush=True)
"""


def test_of_several_processes_one_creates_the_file(home):
    environment = {**os.environ, "PYTHONPATH": str(Path(juham_core.__file__).parent.parent)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(number)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 5
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        created = [racer.communicate(timeout=30)[0] == "True\n" for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert created.count(True) == 1
    folder = home / ".juham" / "config"
    winner = created.index(True)
    data = json.loads((folder / "Racer.json").read_text(encoding="utf-8"))
    assert data == {"runner": winner, "load": [winner] * 20000}
    assert [entry.name for entry in folder.iterdir()] == ["Racer.json"]


def test_initialize_class_loads_once_and_writes_nothing(home):
    boiler = make_boiler()
    write_config(boiler, '{"port": 1}')
    assert boiler.initialize_class()
    assert boiler.port == 1
    write_config(boiler, '{"port": 2}')
    assert not boiler.initialize_class()
    assert boiler.port == 1
    assert make_boiler().initialize_class()

    class Unconfigured(Object):
        pass

    assert Unconfigured.initialize_class()
    assert not Unconfigured.initialize_class()
    assert [path.name for path in (home / ".juham" / "config").iterdir()] == ["Boiler.json"]


def test_initialize_class_starts_with_the_bases():
    boiler = make_boiler()

    class Child(boiler):
        pass

    write_config(boiler, '{"port": 1, "host": "base"}')
    write_config(Child, '{"port": 2}')
    assert Child.initialize_class()
    assert (Child.port, Child.host, boiler.port) == (2, "base", 1)
    assert not boiler.initialize_class()


def test_a_class_with_a_broken_file_is_not_initialized():
    boiler = make_boiler()
    write_config(boiler, "{")
    with pytest.raises(ConfigError):
        boiler.initialize_class()
    write_config(boiler, '{"port": 5}')
    assert boiler.initialize_class()
    assert boiler.port == 5


def test_of_several_threads_one_initializes():
    boiler = make_boiler()
    start = threading.Barrier(8)

    def initialize(_):
        start.wait(10)
        return boiler.initialize_class()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(initialize, range(8))) == [False] * 7 + [True]


def parse(cls, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    cls.parse_args()


def test_options_set_class_attributes(monkeypatch):
    class Pump(make_boiler()):
        client_id = "x"

    parse(
        Pump,
        monkeypatch,
        *("input.txt", "--host", "broker", "--port=8883", "--unknown", "7", "--tls", "--delay", "2"),
        *("--client-id", "me", "--backend", "gmqtt", "-v", "--password", "argv", "--help", "--por", "1"),
    )
    assert (Pump.host, Pump.port, Pump.tls, Pump.delay) == ("broker", 8883, True, 2.0)
    assert (Pump.client_id, Pump.backend) == ("me", "gmqtt")
    assert Pump.password == "hidden"
    assert Pump.url == "mqtt://me:hidden@host:1883/x"
    parse(Pump, monkeypatch, "--no-tls", "--client_id", "you")
    assert (Pump.tls, Pump.client_id, Pump.port) == (False, "you", 8883)


def test_an_option_of_the_wrong_type_ends_the_program(monkeypatch, capsys):
    boiler = make_boiler()
    with pytest.raises(SystemExit) as raised:
        parse(boiler, monkeypatch, "--host", "x", "--port", "high")
    assert raised.value.code == 2
    assert "--port: invalid int value: 'high'" in capsys.readouterr().err
    assert boiler.host == "localhost"


# --- the state of an instance -------------------------------------------------------------------------


def make_john():
    john = Human("john")
    john.height = 1.8
    john.age = 62
    return john


def test_the_copy_of_the_reference():
    john = make_john()
    clone_of_john = john.copy()
    assert clone_of_john is not john
    assert type(clone_of_john) is Human
    assert vars(clone_of_john) == {"name": "john", "height": 1.8, "age": 62}


def test_a_copy_shares_nothing_and_keeps_secrets():
    class Safe(Object):
        def __init__(self):
            self.made = True

    safe = Safe()
    safe.things = [1, {"a": 2}]
    safe.password = "hunter2"
    safe.url = "mqtt://me:hunter2@host"
    safe.account = {"user": "me", "token": "t"}
    clone = safe.copy()
    assert vars(clone) == vars(safe)
    clone.things[1]["a"] = 3
    clone.account["token"] = "u"
    assert safe.things == [1, {"a": 2}]
    assert safe.account["token"] == "t"


def test_to_dict_holds_public_json_without_secrets():
    john = make_john()
    john._private = 1
    john.lock = threading.Lock()
    john.colour = Colour.RED
    john.password = "hunter2"
    john.account = {"user": "john", "secret_word": "hunter2", "deep": [{"token": "hunter2"}]}
    john.url = "mqtts://john:hunter2@host/path"
    assert john.to_dict() == {
        "_class": "Human",
        "_version": 1,
        "_object": {
            "name": "john",
            "height": 1.8,
            "age": 62,
            "account": {"user": "john", "deep": [{}]},
            "url": "mqtts://john@host/path",
        },
    }


def test_from_dict_updates():
    john = make_john()
    john.from_dict({"_class": "Human", "_version": 1, "_object": {"age": 63, "shoes": [44]}})
    assert vars(john) == {"name": "john", "height": 1.8, "age": 63, "shoes": [44]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "state of class None, not of 'Human'"),
        ({"_class": "Dog", "_version": 1, "_object": {}}, "'Dog', not of 'Human'"),
        ({"_class": "Human", "_version": 2, "_object": {}}, "version 2; known is 1"),
        ({"_class": "Human", "_version": 1}, "lacks"),
        ({"_class": "Human", "_version": 1, "_object": [1]}, "lacks"),
        ({"_class": "Human", "_version": 1, "_object": {"age": 1, "_x": 2}}, '"_x"'),
        ({"_class": "Human", "_version": 1, "_object": {"age": 1, "copy": 2}}, '"copy"'),
        ({"_class": "Human", "_version": 1, "_object": {"age": 1, "a b": 2}}, '"a b"'),
    ],
)
def test_from_dict_refuses_what_is_not_its_state(data, expected):
    john = make_john()
    with pytest.raises(InvalidArgumentError, match=expected):
        john.from_dict(data)
    assert john.age == 62


def test_serialize_to_a_path_and_back(tmp_path):
    path = tmp_path / "state" / "john.json"
    john = make_john()
    john.serialize_to_json(path)
    other = Human("jane")
    other.deserialize_from_json(str(path))
    assert vars(other) == vars(john)
    john.age = 63
    john.serialize_to_json(str(path))  # unlike configuration, state replaces the file
    other.deserialize_from_json(path)
    assert other.age == 63
    assert [entry.name for entry in path.parent.iterdir()] == ["john.json"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_serialize_to_an_open_file_and_back():
    file = io.StringIO()
    make_john().serialize_to_json(file)
    file.seek(0)
    other = Human("jane")
    other.deserialize_from_json(file)
    assert vars(other) == vars(make_john())


def test_broken_state_names_the_file(tmp_path):
    path = tmp_path / "john.json"
    with pytest.raises(FileNotFoundError):
        make_john().deserialize_from_json(path)
    path.write_text('{"_class": "Human",\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"john\.json, line 2"):
        make_john().deserialize_from_json(path)
    path.write_text('{"_class": "Dog"}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"john\.json: .*'Dog'"):
        make_john().deserialize_from_json(path)
    with path.open(encoding="utf-8") as file, pytest.raises(ConfigError, match=r"john\.json: .*'Dog'"):
        make_john().deserialize_from_json(file)
    with pytest.raises(ConfigError, match="JSON text, line 1"):
        make_john().deserialize_from_json(io.StringIO("x"))


# --- the log ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_message_and_details_go_to_the_logger_of_the_class(level, caplog):
    caplog.set_level(logging.DEBUG, "juham.Human")
    getattr(make_john(), level)("100% broken", "pipe %s")
    getattr(make_john(), level)("alone")
    first, second = caplog.records
    assert first.name == "juham.Human"
    assert first.levelname == level.upper()
    assert first.getMessage() == "100% broken: pipe %s"
    assert first.filename == "test_object.py"  # the place that logs, not Juham's
    assert second.getMessage() == "alone"


def test_set_log_is_for_a_class_and_what_derives_from_it(caplog):
    class Base(Object):
        pass

    class Derived(Base):
        pass

    class Other(Object):
        pass

    Base.set_log(logging.getLogger("house"))
    for cls in (Base, Derived, Other):
        cls().warning("x")
    Base.set_log(None)
    Derived().warning("x")
    assert [record.name for record in caplog.records] == ["house", "house", "juham.Other", "juham.Derived"]
