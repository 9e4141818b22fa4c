"""What is imported to make a client over paho: no more than it takes, for everybody waits for it."""

import json
import subprocess
import sys

CODE = """
import json, sys
import {first}
before = set(sys.modules)
import juham_core
juham_core.create("paho2")
print(json.dumps(sorted(set(sys.modules) - before)))
"""

CORE = """
asking awaiting capabilities configuration connection copies credentials defaults delivery dial discovery
dispatch errors events factory filtertree guards handlers hooks jmqtt jsonfiles ledger locks logged message
object option_checks options outgoing pace primitives process records router servers statistics subscribing
topics transitions turn unanswered verdicts vocabulary watchdog wire wire.aliases wire.fields
wire.properties wire.property_codec wire.reasons wire.terms
"""
"""Modules of the core that a client is made of; what is used only once it connects has no place here."""


def imported(first):
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first)], stdout=subprocess.PIPE, check=True, text=True
    )
    return set(json.loads(run.stdout))


def test_no_module_of_the_core_that_is_not_needed_yet():
    core = {name for name in imported("sys") if name.partition(".")[0] == "juham_core"}
    assert core - {"juham_core", *(f"juham_core.{name}" for name in CORE.split())} == set()


def test_nothing_heavy_beside_what_paho_imports_itself():
    roots = {name.partition(".")[0] for name in imported("paho.mqtt.client")}
    heavy = {"argparse", "asyncio", "concurrent", "difflib", "multiprocessing", "pluggy", "sqlite3"}
    assert roots & {*heavy, "gmqtt", "awscrt", "juham_gmqtt", "juham_awscrt", "juham_native"} == set()
