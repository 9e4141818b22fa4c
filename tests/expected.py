"""Which backends must be there to be tested."""

import os

EXPECTED = os.environ.get("JUHAM_TEST_BACKENDS", "")
OURS = ["awscrt", "gmqtt", "memory", "native", "paho", "paho2"]


def expected_backends():
    """Those that must be there: the ones of this repository, unless the environment names others."""
    return sorted(filter(None, EXPECTED.split(","))) or OURS
