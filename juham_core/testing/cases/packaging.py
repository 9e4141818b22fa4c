"""Cases about the distribution: how a backend is found, what importing it does, what its class declares."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
import json
import re

import juham_core
from juham_core import discovery, factory
from juham_core.capabilities import Capabilities
from juham_core.jmqtt import JMqtt
from juham_core.object import Object
from juham_core.options import Options
from juham_core.testing.cases.child import effects_of
from juham_core.testing.definition import NONE, case
from juham_core.testing.kit import Kit

_WORD = "s3cret-word"
_MAKES = "import juham_core as juham; juham.create(%r)"
_MAKES_AWAITING = """
import asyncio
import juham_core as juham

async def main():
    try:
        async with juham.aio.connect(backend=%r, reconnect=False%s):
            pass
    except juham.JuhamError:  # nobody listens there
        pass

asyncio.run(main())
"""
_PROTOCOLS = ("mqtt_311", "mqtt_5")
_TRANSPORTS = ("tcp", "websockets", "unix_sockets", "in_process")


class PackagingCases:
    """The subject ``packaging``."""

    # --- the distribution ---------------------------------------------------------------------------

    @case("packaging.entry_point", on=NONE)
    def entry_point(self, kit: Kit) -> None:
        """The backend is found by its name, through its entry point, and is a JMqtt."""
        loaded = factory.load(kit.backend_name)
        assert issubclass(loaded, JMqtt)
        assert _info(kit).class_id == loaded.get_class_id()

    @case("packaging.distribution", on=NONE)
    def distribution(self, kit: Kit) -> None:
        """The distribution has a name and a version, and requires juham-core of a major version."""
        info = _info(kit)
        assert info.distribution
        assert info.version
        if discovery.normalize(info.distribution) == "juham-core":
            return
        required = importlib.metadata.requires(info.distribution) or []
        core = [one for one in required if re.match(r"juham[-_.]core\b(?!.*\bextra\b)", one, re.IGNORECASE)]
        assert core, f"{info.distribution} does not require juham-core: {required}"
        assert re.search(r">=\s*1|~=\s*1|==\s*1", core[0]), f"not as in juham-core>=1,<2: {core}"
        assert re.search(r"<\s*2|~=\s*1\.\d|==\s*1", core[0]), f"not as in juham-core>=1,<2: {core}"

    @case("packaging.library", on=NONE)
    def library(self, kit: Kit) -> None:
        """``library`` names an installed distribution: what the backend runs on."""
        library = type(kit.create()).library
        assert library, f"the class of {kit.backend_name} names no library"
        assert importlib.metadata.version(library)

    @case("packaging.typed", on=NONE)
    def typed(self, kit: Kit) -> None:
        """The package has a py.typed, so that type checkers look at its annotations (PEP 561)."""
        package = type(kit.create()).__module__.partition(".")[0]
        found = importlib.resources.files(package) if _is_package(package) else None
        if found is None:
            kit.not_applicable("the backend is a module, and only a package can have a py.typed")
        assert found.joinpath("py.typed").is_file(), f"{package} has no py.typed"

    # --- importing ----------------------------------------------------------------------------------

    @case("packaging.import_quiet", on=NONE)
    def import_quiet(self, kit: Kit) -> None:
        """Importing prints nothing, warns of nothing and writes no file."""
        effects = effects_of(_importing(kit))
        assert effects.output == "", f"the import prints: {effects.output}"
        assert effects.warnings == [], f"the import warns: {effects.warnings}"
        assert effects.files == [], f"the import writes files: {effects.files}"

    @case("packaging.import_harmless", on=NONE)
    def import_harmless(self, kit: Kit) -> None:
        """Importing starts no thread, opens no socket and changes nothing that belongs to the program."""
        effects = effects_of(_importing(kit))
        assert effects.threads == [], f"the import starts threads: {effects.threads}"
        assert effects.sockets == [], f"the import opens sockets: {effects.sockets}"
        assert effects.changed == [], f"the import changes the program's own: {effects.changed}"

    @case("packaging.import_alone", on=NONE)
    def import_alone(self, kit: Kit) -> None:
        """Making a client by the backend's name imports no other backend, and listing them imports none."""
        mine = _info(kit)
        others = {
            info.module.partition(":")[0]
            for info in factory.backends()
            if info.distribution != mine.distribution and not info.module.startswith("juham_core.")
        }
        made = effects_of(_making(kit, mine.name)).modules
        assert mine.module.partition(":")[0] in made, "nothing was made"
        assert others.isdisjoint(made), "another backend was imported"
        listed = effects_of("import juham_core as juham; juham.backends()").modules
        assert mine.module.partition(":")[0] not in listed or "juham_core" in mine.module

    @case("packaging.class_id", on=NONE)
    def class_id(self, kit: Kit) -> None:
        """A program that has imported no backend finds its class by class id, and makes a client of it."""
        found = type(kit.create())
        class_id = found.get_class_id()
        assert Object.find_class(class_id) is found
        client = Object.instantiate(class_id)
        named = Object.instantiate_with_param(class_id, "boiler")
        assert isinstance(client, found)
        assert named.name == "boiler"
        in_a_child = f"from juham_core import Object; Object.instantiate({_info(kit).class_id!r})"
        assert found.__module__ in effects_of(in_a_child).modules

    # --- what the class declares --------------------------------------------------------------------

    @case("packaging.contract_version", on=NONE)
    def contract_version(self, kit: Kit) -> None:
        """``contract_version`` is one that this juham-core speaks."""
        assert type(kit.create()).contract_version in factory.SUPPORTED_CONTRACTS

    @case("packaging.capabilities", on=NONE)
    def capabilities(self, kit: Kit) -> None:
        """``capabilities`` is known without a client, and has a transport and a version of MQTT."""
        declared = type(kit.create()).capabilities
        assert isinstance(declared, Capabilities)
        assert any(getattr(declared, name) for name in _PROTOCOLS), "no version of MQTT is declared"
        assert any(getattr(declared, name) for name in _TRANSPORTS), "no transport is declared"

    @case("packaging.complete", on=NONE)
    def complete(self, kit: Kit) -> None:
        """No method of the class is abstract, and none of the contract's is taken away."""
        found = type(kit.create())
        assert not found.is_abstract()
        missing = [name for name in _public_names(JMqtt) if not hasattr(found, name)]
        assert missing == []

    @case("packaging.documented", on=NONE)
    def documented(self, kit: Kit) -> None:
        """The class has a docstring of its own."""
        doc = type(kit.create()).__doc__
        assert doc
        assert doc != JMqtt.__doc__

    @case("packaging.constructor", on=NONE)
    def constructor(self, kit: Kit) -> None:
        """A client is made without arguments, or with its name, by position or by keyword."""
        found = type(kit.create())
        parameters = list(inspect.signature(found).parameters.values())
        assert parameters[0].name == "name"
        required = [
            each.name for each in parameters if each.default is each.empty and each.kind < each.VAR_POSITIONAL
        ]
        assert required == [], f"the constructor asks for {required}"
        assert isinstance(found().name, str)
        assert found("boiler").name == found(name="boiler").name == "boiler"

    # --- the object ---------------------------------------------------------------------------------

    @case("packaging.create", on=NONE)
    def create(self, kit: Kit) -> None:
        """``create`` takes a name and options, and returns a client that is not connected."""
        client = juham_core.create(kit.backend_name, name="boiler", keepalive=7)
        assert (client.name, client.options.keepalive) == ("boiler", 7)
        assert not client.is_connected()

    @case("packaging.independent", on=NONE)
    def independent(self, kit: Kit) -> None:
        """What is set on one client is not set on another, nor on the next one."""
        one, other = kit.create(), kit.create()
        before = other.options
        one.configure(client_id="one", keepalive=3)
        one.user_data_set("mine")
        one.message_callback_add("a/#", kit.recorder())
        assert other.options == before
        assert other.user_data_get() is None
        assert kit.create().options == before

    @case("packaging.saved", on=NONE)
    def saved(self, kit: Kit) -> None:
        """What to_dict returns is JSON, makes an equal client with from_dict, and has no password in it."""
        client = kit.create("boiler", client_id="c", keepalive=9, username="anna", password=_WORD)
        client.will_set("boiler/gone", b"\xff", 1, True)
        state = json.loads(json.dumps(client.to_dict()))
        other = type(client)()
        other.from_dict(state)
        assert other.to_dict() == state
        assert (other.name, other.options.keepalive, other.options.username) == ("boiler", 9, "anna")
        assert other.options.will == client.options.will
        assert _WORD not in str(state)

    @case("packaging.copied", on=NONE)
    def copied(self, kit: Kit) -> None:
        """A copy has class, name and options of the original, and is another client."""
        client = kit.create("boiler", keepalive=9, username="anna", password=_WORD)
        clone = client.copy()
        assert type(clone) is type(client)
        assert (clone.name, clone.options) == (client.name, client.options)
        clone.configure(keepalive=10)
        assert client.options.keepalive == 9

    @case("packaging.shown", on=NONE)
    def shown(self, kit: Kit) -> None:
        """A client's repr tells class and name, and no password."""
        client = kit.create("boiler", username="anna", password=_WORD)
        assert type(kit.seen_by_hooks(client)).__name__ in repr(client)
        assert "boiler" in repr(client)
        assert _WORD not in repr(client) + str(client)

    @case("packaging.defaults", on=NONE)
    def defaults(self, kit: Kit) -> None:
        """A new client has the documented options; only transport and protocol may be the backend's own."""
        fresh = type(kit.create())().options
        protocol, transport = fresh.protocol, fresh.transport
        assert fresh == Options().changed(protocol=protocol, transport=transport)


def _info(kit: Kit) -> discovery.BackendInfo:
    return discovery.find(kit.backend_name)


def _importing(kit: Kit) -> str:
    client = kit.create()
    module = type(kit.seen_by_hooks(client)).__module__
    return f"import {module}" if kit.seen_by_hooks(client) is client else f"import juham_core.aio, {module}"


def _making(kit: Kit, name: str) -> str:
    client = kit.create()
    if kit.seen_by_hooks(client) is client:
        return _MAKES % name
    return _MAKES_AWAITING % (name, ", port=1" if kit.capabilities.tcp else "")


def _is_package(name: str) -> bool:
    return importlib.import_module(name).__spec__.submodule_search_locations is not None  # type: ignore[union-attr]


def _public_names(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]
