"""A module that does what none should when it is imported; see mutants_life.py."""

import logging

from toy import JToy

print("noisy 1.0, the friendly backend")  # noqa: T201 - that is what it does wrong
logging.getLogger().setLevel(logging.INFO)
logging.basicConfig()


class JNoisy(JToy):
    """Nothing is wrong with the class."""
