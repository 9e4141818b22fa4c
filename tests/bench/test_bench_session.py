"""Every scenario, tiny, on the embedded broker and on the one that costs nothing, for what is installed."""

import pytest

from juham_core.bench import session
from juham_core.bench.session import Case, Contender, Place


def check(found, messages):
    for one in found["contenders"]:
        assert "error" not in one, one
        if "unsuitable" not in one:
            assert len(one["rounds"]) == 1
            for each in one["rounds"]:
                assert each["lost"] == 0
                assert each["seconds"] > 0
                assert each["cpu_user"] + each["cpu_system"] >= 0
                if found["scenario"] == "roundtrip":
                    assert 0 < each["p50"] <= each["p99"] <= each["seconds"]


@pytest.mark.parametrize(
    ("scenario", "qos"), [*((scenario, 1) for scenario in session.SCENARIOS), ("publish", 0), ("publish", 2)]
)
def test_every_scenario_loses_nothing(backend, scenario, qos, embedded):
    contenders = [Contender(backend, face) for face in ("thread", "raw", "aio")]
    case = Case(scenario, 50, qos, 20, 3 if scenario == "fanout" else 1)
    found = session.run(case, contenders, Place(embedded.url, "embedded"), rounds=1)
    check(found, 50)
    assert any(one["rounds"] for one in found["contenders"]) or qos == 2


@pytest.mark.parametrize("scenario", session.SCENARIOS)
def test_the_free_broker_serves_every_scenario(backend, scenario):
    case = Case(scenario, 50, 0, 20, 3 if scenario == "fanout" else 1)
    check(session.run(case, [Contender(backend)], Place("", "free"), rounds=1), 50)


def test_a_backend_that_is_missing_is_told(embedded):
    found = session.run(Case("publish", 5), [Contender("nobody")], Place(embedded.url, "embedded"), rounds=1)
    assert "nobody" in found["contenders"][0]["error"]
