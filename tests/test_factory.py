"""Finding, choosing and loading backends, each case with real distributions in an environment of its own."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import juham_core

BACKEND = """
from juham_core.capabilities import Capabilities
from juham_core.jmqtt import JMqtt

class {name}(JMqtt):
    capabilities = Capabilities(tcp=True, mqtt_311=True)

    def _method(self, *args, **kwargs): ...

for method in {name}.__abstractmethods__ - set({missing!r}):
    setattr({name}, method, {name}._method)
{name}.__abstractmethods__ = frozenset({missing!r})
{name}.contract_version = {version!r}
"""

# Runs in the environment of the case; what the case wants to know is the dict `result`.
PROBE = """
import json, sys
from juham_core import discovery, errors, factory
from juham_core.object import Object

def attempt(call, *args, **kwargs):
    try:
        value = call(*args, **kwargs)
    except BaseException as exc:
        return {
            "error": type(exc).__name__,
            "text": str(exc),
            "typed": isinstance(exc, errors.BackendError),
            "name": getattr(exc, "name", None),
            "distribution": getattr(exc, "distribution", None),
            "cause": type(exc.__cause__).__name__,
        }
    return value.__module__ + ":" + value.__name__ if isinstance(value, type) else value

def imported():
    return sorted(name for name in sys.modules if name.startswith("plugin_"))

"""


def backend_source(name="JAcme", *, missing=(), version=1):
    return BACKEND.format(name=name, missing=tuple(missing), version=version)


class Environment:
    """A virtual environment that sees Juham and its requirements, and what the case installs into it."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        venv.create(folder / "venv", with_pip=False, symlinks=os.name == "posix")
        self.python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = next((folder / "venv").rglob("site-packages"))
        outer = [Path(juham_core.__file__).parents[1], *map(sysconfig.get_path, ("purelib", "platlib"))]
        self.add_path(*outer)

    def add_path(self, *folders):
        with (self.site / "path.pth").open("a", encoding="utf-8") as file:
            file.writelines(f"{folder}\n" for folder in folders)

    def variables(self, **environment):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JUHAM", "PYTHON", "PIP"))
        }
        home = str(self.home)
        return {**kept, "HOME": home, "USERPROFILE": home, "XDG_CACHE_HOME": f"{home}/cache", **environment}

    def pip(self, *arguments):
        return [
            *(sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "-q"),
            *map(str, arguments),
        ]

    def wheel(self, distribution, version="1.0", *, modules=None, entry_points=None):
        """Write a wheel; the entry points are those of the group of backends."""
        stem = f"{distribution.replace('-', '_')}-{version}"
        info = f"{stem}.dist-info"
        lines = [f"{name} = {value}" for name, value in (entry_points or {}).items()]
        files = {
            **{f"{module}.py": source for module, source in (modules or {}).items()},
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": "\n".join(["[juham_core.backends]", *lines, ""]),
        }
        record = [f"{path},sha256={checksum(text)},{len(text.encode())}" for path, text in files.items()]
        files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
        path = self.folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return path

    def install(self, *wheels):
        """Unpack the wheels: pip does no more with such simple ones, but takes a second each time."""
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self.site)

    def acme(self, **details):
        """Install acme-mqtt with the backend "acme", made or broken as the details tell."""
        source = details.pop("source", None) or backend_source(**details)
        self.install(
            self.wheel(
                "acme-mqtt", modules={"plugin_acme": source}, entry_points={"acme": "plugin_acme:JAcme"}
            )
        )

    def run(self, code, *arguments, **environment):
        """Run the code after the probe's; return its `result` and what it wrote to stderr."""
        script = f"{PROBE}{code}\nprint(json.dumps(result))"
        done = subprocess.run(
            [str(self.python), "-W", "error", "-c", script, *arguments],
            env=self.variables(**environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.stderr = done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def load(self, name, **environment):
        """Try to load a backend; return the outcome, with the plugin modules that are imported then."""
        code = 'result = {"outcome": attempt(factory.load, sys.argv[1]), "imported": imported()}'
        result = self.run(code, name, **environment)
        return result["outcome"], result["imported"]


def checksum(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


def check(outcome, error, *patterns, name="acme", distribution="acme-mqtt", cause="NoneType"):
    assert isinstance(outcome, dict), f"no error, but {outcome}"
    assert outcome["error"] == error
    assert outcome["typed"]
    assert outcome["name"] == name
    assert outcome["distribution"] == distribution
    assert outcome["cause"] == cause
    for pattern in patterns:
        assert re.search(pattern, outcome["text"]), outcome["text"]


# --- loading ------------------------------------------------------------------------------------------


def test_a_backend_is_listed_and_loaded_alone(environment):
    acme = environment.wheel(
        "acme-mqtt",
        "2.5",
        modules={"plugin_acme": backend_source(), "plugin_other": backend_source("JOther")},
        entry_points={"other": "plugin_other:JOther", "acme": "plugin_acme:JAcme"},
    )
    broken = environment.wheel(
        "broken-mqtt", modules={"plugin_broken": "1 / 0"}, entry_points={"broken": "plugin_broken:JBroken"}
    )
    environment.install(acme, broken)
    result = environment.run(
        """
listed = [
    [info.name, info.class_id, info.distribution, info.version, info.module, info.blocked]
    for info in factory.backends()
]
after_listing = [imported(), "stevedore" in sys.modules]
result = {
    "listed": listed,
    "after_listing": after_listing,
    "loaded": attempt(factory.load, "acme"),
    "imported": imported(),
    "again": factory.load("Acme_MQTT:acme") is factory.load("acme"),
}
"""
    )
    names = [row[0] for row in result["listed"]]
    assert names == sorted(names)
    assert [row for row in result["listed"] if "-mqtt" in row[2]] == [
        ["acme", "JAcme", "acme-mqtt", "2.5", "plugin_acme:JAcme", False],
        ["broken", "JBroken", "broken-mqtt", "1.0", "plugin_broken:JBroken", False],
        ["other", "JOther", "acme-mqtt", "2.5", "plugin_other:JOther", False],
    ]
    assert result["after_listing"] == [[], False]
    assert result["loaded"] == "plugin_acme:JAcme"
    assert result["imported"] == ["plugin_acme"]
    assert result["again"]


def test_not_installed(environment):
    environment.acme()
    result = environment.run(
        """
factory.discovery.PLUGINS = {"zircon": "juham-zircon"}
result = [attempt(factory.load, name) for name in ["zircon", "zirkon", "acmee", "qqqqqq", "juham-x:acme", ""]]
result.append(imported())
"""
    )
    known, close, installed, distant, elsewhere, empty, imported = result
    check(
        known,
        "BackendNotFoundError",
        r'"zircon" is not installed: pip install juham-zircon \(installed: .*acme',
        name="zircon",
        distribution=None,
    )
    expected = r'did you mean "zircon" \(pip install juham-zircon\)\?'
    check(close, "BackendNotFoundError", expected, name="zirkon", distribution=None)
    expected = r'did you mean "acme"\?'
    check(installed, "BackendNotFoundError", expected, name="acmee", distribution=None)
    expected = "pip install the plugin .*; known are juham-zircon"
    check(distant, "BackendNotFoundError", expected, name="qqqqqq", distribution=None)
    expected = r"did you mean 'acme-mqtt:acme'\?"
    check(elsewhere, "BackendNotFoundError", expected, name="juham-x:acme", distribution=None)
    check(empty, "BackendNotFoundError", name="", distribution=None)
    assert imported == []


def test_import_fails(environment):
    environment.acme(source="import plugin_that_is_missing")
    outcome, imported = environment.load("acme")
    check(
        outcome,
        "BackendImportError",
        '"acme" of acme-mqtt 1.0 cannot be imported: ModuleNotFoundError: .*plugin_that_is_missing',
        "pip install --force-reinstall acme-mqtt",
        cause="ModuleNotFoundError",
    )
    assert imported == []


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("raise SystemExit(3)", "SystemExit"),
        ("raise AssertionError('no')", "AssertionError"),
        ("None.attribute", "AttributeError"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_whatever_the_import_raises_is_contained(environment, statement, cause):
    environment.acme(source=statement)
    outcome, _ = environment.load("acme")
    check(outcome, "BackendImportError", f"cannot be imported: {cause}", cause=cause)


def test_an_interrupt_passes(environment):
    environment.acme(source="raise KeyboardInterrupt")
    outcome, _ = environment.load("acme")
    assert outcome["error"] == "KeyboardInterrupt"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process cannot send itself such a signal")
@pytest.mark.parametrize(
    ("handler", "passes"),
    [
        ("lambda *_: sys.exit(143)", True),
        ("Stop().end", True),
        ("Stop()", True),
        ("functools.partial(Stop().end)", True),
        ("failing", True),
        ("lambda *_: None", False),
    ],
)
def test_what_a_signal_handler_raises_passes(environment, handler, passes):
    """The program is to end, whatever is being imported just then."""
    environment.acme(source="import os, signal, sys\nos.kill(os.getpid(), signal.SIGTERM)\nsys.exit(3)")
    result = environment.run(
        """
import functools, signal

class Stop:
    def end(self, *_):
        sys.exit(143)
    __call__ = end

def failing(*_):
    raise ValueError(143)

signal.signal(signal.SIGTERM, eval(sys.argv[1]))
result = attempt(factory.load, "acme")
""",
        handler,
    )
    assert (result["error"] != "BackendImportError") == passes
    assert ("143" in result["text"]) == passes


def test_attribute_missing(environment):
    environment.acme(source="JOther = 1")
    outcome, _ = environment.load("acme")
    expected = "acme-mqtt 1.0 cannot be used: plugin_acme has no 'JAcme'"
    check(outcome, "BackendInvalidError", expected, "--upgrade acme-mqtt", cause="AttributeError")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class JAcme: ...", "plugin_acme:JAcme does not derive from juham_core's JMqtt"),
        ("def JAcme(): ...", "plugin_acme:JAcme is no class but function"),
    ],
)
def test_not_a_jmqtt(environment, source, reason):
    environment.acme(source=source)
    outcome, _ = environment.load("acme")
    check(outcome, "BackendInvalidError", reason)


def test_malformed_entry_points(environment):
    environment.acme()
    # pip refuses to install most of what is malformed, so it happens to what is installed.
    metadata = environment.site / "acme_mqtt-1.0.dist-info" / "entry_points.txt"
    metadata.write_text("[juham_core.backends]\nacme = plugin acme:JAcme\nmodule = plugin_acme\n")
    outcome, imported = environment.load("acme")
    check(outcome, "BackendInvalidError", "its entry point reads 'plugin acme:JAcme'")
    assert imported == []
    outcome, _ = environment.load("module")
    check(outcome, "BackendInvalidError", "plugin_acme is no class but module", name="module")


def test_abstract_methods_left(environment):
    environment.acme(missing=["_subscribe", "_publish"])
    outcome, _ = environment.load("acme")
    check(outcome, "BackendInvalidError", "plugin_acme:JAcme does not implement _publish, _subscribe")


@pytest.mark.parametrize(
    ("version", "advice"),
    [(2, "--upgrade juham-core"), (0, "--upgrade acme-mqtt"), ("1", "--upgrade acme-mqtt")],
)
def test_contract_version_not_supported(environment, version, advice):
    environment.acme(version=version)
    outcome, _ = environment.load("acme")
    check(outcome, "BackendVersionError", f"version {version!r} .*speaks 1", advice)


def test_two_distributions_with_one_name(environment):
    environment.install(
        environment.wheel(
            "acme-mqtt", modules={"plugin_acme": backend_source()}, entry_points={"acme": "plugin_acme:JAcme"}
        ),
        environment.wheel(
            "fake-acme",
            modules={"plugin_fake": backend_source("JFake")},
            entry_points={"acme": "plugin_fake:JFake"},
        ),
    )
    outcome, imported = environment.load("acme")
    check(
        outcome,
        "BackendAmbiguousError",
        "claimed by acme-mqtt 1.0 and fake-acme 1.0: ask for 'acme-mqtt:acme' or 'fake-acme:acme'",
        "pip uninstall fake-acme",
        distribution=None,
    )
    assert imported == []
    assert environment.load("fake-acme:acme") == ("plugin_fake:JFake", ["plugin_fake"])
    assert environment.load("acme", JUHAM_BACKENDS_BLOCK="fake_acme:acme") == (
        "plugin_acme:JAcme",
        ["plugin_acme"],
    )


def test_blocked_and_allowed(environment):
    environment.acme()
    outcome, imported = environment.load("acme", JUHAM_BACKENDS_BLOCK="x, acme")
    check(outcome, "BackendBlockedError", "acme-mqtt 1.0 .*excluded .*JUHAM_BACKENDS_BLOCK='x, acme'")
    assert imported == []
    outcome, imported = environment.load("acme-mqtt:acme", JUHAM_BACKENDS_ALLOW="paho2")
    check(outcome, "BackendBlockedError", "JUHAM_BACKENDS_ALLOW='paho2'", name="acme-mqtt:acme")
    assert imported == []
    for allowed in (
        {"JUHAM_BACKENDS_ALLOW": "acme,other"},
        {"JUHAM_BACKENDS_ALLOW": "acme-mqtt:acme"},
        {"JUHAM_BACKENDS_ALLOW": "", "JUHAM_BACKENDS_BLOCK": " ,"},
        {"JUHAM_BACKENDS_BLOCK": "other"},
    ):
        assert environment.load("acme", **allowed)[0] == "plugin_acme:JAcme"
    both = {"JUHAM_BACKENDS_ALLOW": "acme", "JUHAM_BACKENDS_BLOCK": "acme"}
    check(environment.load("acme", **both)[0], "BackendBlockedError", "ALLOW='acme' and JUHAM_BACKENDS_BLOCK")
    code = "result = {info.name: info.blocked for info in factory.backends()}"
    assert environment.run(code, JUHAM_BACKENDS_BLOCK="acme")["acme"] is True


def test_broken_metadata_next_door_does_not_disturb(environment):
    environment.acme()
    for stem, files in {
        "nameless-1.0": {"METADATA": "Metadata-Version: 2.1\n"},
        "absent-1.0": {},
        "binary-1.0": {"METADATA": "Metadata-Version: 2.1\nName: binary\nVersion: 1.0\n"},
        "valueless-1.0": {"METADATA": "Metadata-Version: 2.1\nName: valueless\nVersion: 1.0\n"},
    }.items():
        folder = environment.site / f"{stem}.dist-info"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        lines = {"binary-1.0": b"\xff\xfe", "valueless-1.0": b"acme\n"}.get(stem, b"acme = x:Y\n")
        (folder / "entry_points.txt").write_bytes(b"[juham_core.backends]\n" + lines)
    assert environment.load("acme") == ("plugin_acme:JAcme", ["plugin_acme"])
    assert "binary-1.0.dist-info is ignored: its metadata cannot be read" in environment.stderr


def test_a_distribution_further_down_the_path_is_hidden(environment):
    environment.acme()
    old = environment.wheel("acme-mqtt", "0.1", entry_points={"acme": "plugin_old:J", "gone": "plugin_old:J"})
    with zipfile.ZipFile(old) as archive:
        archive.extractall(environment.folder / "old")
    environment.add_path(environment.folder / "old")
    assert environment.load("acme")[0] == "plugin_acme:JAcme"
    check(environment.load("gone")[0], "BackendNotFoundError", name="gone", distribution=None)


def test_installed_and_removed_after_a_cached_look_up(environment):
    wheel = environment.wheel(
        "acme-mqtt", modules={"plugin_acme": backend_source()}, entry_points={"acme": "plugin_acme:JAcme"}
    )
    result = environment.run(
        """
import subprocess
from stevedore import ExtensionManager, _cache

_cache._c._disable_caching = False  # stevedore caches nothing for a Python below /tmp, as this may be
install, uninstall = json.loads(sys.argv[1])
def names():
    return ExtensionManager(discovery.GROUP, on_load_failure_callback=lambda *_: None).entry_points_names()

result = [attempt(factory.load, "acme")["error"], "acme" in names()]
subprocess.run(install, check=True)
result += ["acme" in names(), attempt(factory.load, "acme"), attempt(Object.find_class, "JAcme")]
subprocess.run(uninstall, check=True)
result += [attempt(factory.load, "acme")["error"]]
""",
        json.dumps(
            [
                environment.pip("install", "--no-deps", "--no-index", wheel),
                environment.pip("uninstall", "-y", "acme-mqtt"),
            ]
        ),
    )
    stale = False  # stevedore's own answer after the installation: what makes this a test
    assert result == [
        "BackendNotFoundError",
        False,
        stale,
        "plugin_acme:JAcme",
        "plugin_acme:JAcme",
        "BackendNotFoundError",
    ]


# --- by class id --------------------------------------------------------------------------------------


def test_a_class_id_leads_to_its_backend(environment):
    acme = environment.wheel(
        "acme-mqtt",
        modules={"plugin_acme": backend_source(), "plugin_broken": "1 / 0"},
        entry_points={
            "acme": "plugin_acme:JAcme",
            "alias": "plugin_acme:JAcme",
            "broken": "plugin_broken:JBroken",
            "blocked": "plugin_blocked:JBlocked",
            "one": "plugin_one:JTwice",
            "two": "plugin_two:JTwice",
        },
    )
    environment.install(acme)
    result = environment.run(
        """
result = {
    "none": factory.find_by_class_id("JAcmee"),
    "close": attempt(Object.instantiate, "JAcmee"),
    "before": imported(),
    "found": attempt(Object.find_class, "JAcme"),
    "object": type(Object.instantiate("JAcme")).__name__,
    "broken": attempt(Object.find_class, "JBroken"),
    "blocked": attempt(Object.instantiate_with_param, "JBlocked", "x"),
    "twice": attempt(factory.find_by_class_id, "JTwice"),
    "imported": imported(),
}
""",
        JUHAM_BACKENDS_BLOCK="blocked",
    )
    assert result["none"] is None
    assert result["close"]["error"] == "ClassNotFoundError"
    assert "did you mean JAcme" in result["close"]["text"]
    assert result["before"] == []
    assert result["found"] == "plugin_acme:JAcme"
    assert result["object"] == "JAcme"
    check(result["broken"], "BackendImportError", name="broken", cause="ZeroDivisionError")
    check(result["blocked"], "BackendBlockedError", name="JBlocked")
    check(result["twice"], "BackendAmbiguousError", name="JTwice", distribution=None)
    assert result["imported"] == ["plugin_acme"]


# --- choosing and creating ----------------------------------------------------------------------------


def write_config(environment, name, text):
    folder = environment.home / ".juham" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def test_who_chooses(environment):
    code = "result = [attempt(factory.choose, *args) for args in json.loads(sys.argv[1])]"
    everyone = json.dumps([["argument", "url"], [None, "url"], [], ["", ""]])
    write_config(environment, "JMqtt", '{"backend": "file"}')
    assert environment.run(code, everyone, JUHAM_BACKEND="variable") == [
        "argument",
        "url",
        "variable",
        "variable",
    ]
    assert environment.run(code, everyone) == ["argument", "url", "file", "file"]
    write_config(environment, "JMqtt", '{"backend": 5}')
    *_, failed = environment.run(code, everyone)
    assert failed["error"] == "ConfigError"
    assert re.search(r'JMqtt\.json: "backend" must be', failed["text"])
    write_config(environment, "JMqtt", "{")
    *_, failed = environment.run(code, everyone)
    assert failed["error"] == "ConfigError"


def test_the_default(environment):
    entry_points = {name: f"plugin_acme:{name}" for name in ("acme", "zeta", "memory", "paho2", "native")}
    environment.install(environment.wheel("acme-mqtt", entry_points=entry_points))
    code = 'result = [attempt(factory.choose), imported(), "stevedore" in sys.modules]'

    def choose(allowed):
        chosen, *imported = environment.run(code, JUHAM_BACKENDS_ALLOW=allowed)
        assert imported == [[], False]
        return chosen

    assert choose("acme,zeta,paho2,memory,native") == "native"
    assert choose("acme,zeta,paho2,memory") == "paho2"
    assert choose("zeta,memory") == "zeta"
    expected = r'there are acme, zeta: .*JUHAM_BACKEND, or write \{"backend": "acme"\} to .*JMqtt\.json'
    check(choose("acme,zeta,memory"), "BackendAmbiguousError", expected, name=None, distribution=None)
    expected = r"no backend that reaches a broker .*pip install juham-native \(.*acme \(blocked\), .*memory"
    check(choose("memory"), "BackendNotFoundError", expected, name=None, distribution=None)


def test_create(environment):
    environment.acme()
    write_config(environment, "JMqtt", '{"backend": "acme"}')
    write_config(environment, "JAcme", '{"backend": "loaded"}')
    result = environment.run(
        """
client = factory.create()
named = factory.create("acme", name="boiler", keepalive=30)
result = {
    "configured": [type(client).__name__, type(client).backend],
    "named": [named.name, named.options.keepalive, named.is_connected()],
    "unknown option": attempt(factory.create, "acme", keepalife=30),
}
"""
    )
    assert result["configured"] == ["JAcme", "loaded"]
    assert result["named"] == ["boiler", 30, False]
    assert result["unknown option"]["error"] == "OptionError"
    assert "keepalife" in result["unknown option"]["text"]
