"""The proof of the kit: every mutant is caught by the case named for it, and the correct toy passes all."""

import mutants_life  # noqa: F401 - its mutants enter themselves
import mutants_mqtt5  # noqa: F401 - as above
import pytest
from mutants import load_all
from mutants_asyncio import load_asyncio
from mutants_hidden import JHidden
from toy import JToy

from juham_core.aio import AsyncMqtt
from juham_core.testing import asyncio_face, catalogue, run_case
from juham_core.testing.cases import endurance
from juham_core.testing.patience import less_patience
from juham_core.testing.running import suite_of
from juham_core.testing.trial import trials_of

TRIES = 3
"""Whether something forbidden comes soon enough to be seen is a race, which a busy machine may lose."""
MUTANTS = load_all()
ASYNCIO = load_asyncio()
CASES = [case.id for case in catalogue()]


@pytest.mark.parametrize("case_id", CASES)
def test_the_toy_passes(case_id, monkeypatch):
    monkeypatch.setattr(endurance, "_QOS_0", 20_000)  # the toy is short, not fast
    for result in run_case(JToy, case_id):
        assert result.outcome in ("passed", "unsupported", "not_applicable"), result.reason


@pytest.mark.parametrize("face", ["", "asyncio"])
@pytest.mark.parametrize("case_id", [case.id for case in catalogue() if "dup_and_mid" in case.needs])
def test_what_is_neither_shown_nor_declared_is_no_failure(case_id, face):
    [trial] = [each for each in trials_of(suite_of(JHidden, face=face)) if each.case.id == case_id]
    result = trial.result()
    assert (result.outcome, result.reason) == ("unsupported", "not declared, and not shown: dup_and_mid")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_caught(name):
    cls, case_id, does = MUTANTS[name]
    with less_patience(1):  # it takes a while to find out that something does not come
        caught = next(filter(None, (_first_failure(cls, case_id) for _ in range(TRIES))), None)
    if hasattr(cls, "tidy"):  # the kit has noticed what is left behind; the tests around it would, too
        cls.tidy()
    assert caught, f"{case_id} has let through a backend that {does}"
    assert "DeadlineExceededError" not in caught.reason, "caught by the deadline only"


@pytest.mark.parametrize("name", ASYNCIO)
def test_the_mutant_is_caught_through_asyncio(name, monkeypatch):
    cls, case_id, does = ASYNCIO[name]
    if issubclass(cls, AsyncMqtt):
        monkeypatch.setattr(asyncio_face, "AsyncMqtt", cls)
        cls = JToy
    with less_patience(1):
        caught = next(filter(None, (_first_failure(cls, case_id, "asyncio") for _ in range(TRIES))), None)
    if hasattr(cls, "tidy"):
        cls.tidy()
    assert caught, f"{case_id} has let through a face that {does}"
    assert "DeadlineExceededError" not in caught.reason, "caught by the deadline only"


def _first_failure(cls, case_id, face=""):
    """What the case says in the first place where it fails; None if it passes in all."""
    for trial in trials_of(suite_of(cls, face=face)):
        if trial.case.id == case_id and (result := trial.result()).outcome == "failed":
            return result
    return None
