"""The proof of the kit: every mutant is caught by the case named for it, and the correct toy passes all."""

import pytest
from mutants import load_all
from toy import JToy

from juham_core.testing import catalogue, run_case
from juham_core.testing.patience import less_patience

MUTANTS = load_all()
CASES = [case.id for case in catalogue()]


@pytest.mark.parametrize("case_id", CASES)
def test_the_toy_passes(case_id):
    for result in run_case(JToy, case_id):
        assert result.outcome in ("passed", "unsupported", "not_applicable"), result.reason


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name):
    cls, case_id, does = MUTANTS[name]
    with less_patience(2):  # it takes a while to find out that something does not come
        caught = [result for result in run_case(cls, case_id) if result.outcome == "failed"]
    assert caught, f"{case_id} has let through a backend that {does}"
    assert "took more than" not in caught[0].reason, "caught by the deadline only"
