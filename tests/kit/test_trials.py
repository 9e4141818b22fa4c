"""What a trial sees to: the deadline, what is left behind, capabilities both ways, known failures."""

import asyncio
import dataclasses
import socket
import threading

import pytest
from toy import JToy

from juham_core.capabilities import Capabilities
from juham_core.errors import NotSupportedError
from juham_core.memory import JMemory
from juham_core.testing import ANY, FAULTS, NONE, BackendConformance, Kit, case, catalogue, run
from juham_core.testing.definition import cases_of
from juham_core.testing.leaks import Watch
from juham_core.testing.patience import less_patience
from juham_core.testing.place import Place
from juham_core.testing.running import run_case, suite_of
from juham_core.testing.trial import trials_of

KEPT = []


def results_of(function, *, backend=JMemory, known=None, **settings):
    """Run a function as the only case of a suite."""
    function.__doc__ = "A rule."
    made = case("test.case", **{"on": NONE, **settings})(function)
    names = {"backend": backend, "known_failures": known or {}, "options": {}, "face": "", "it": made}
    suite = type("TestIt", (), names)
    return [trial.result() for trial in trials_of(suite)]


def outcome_of(function, **settings):
    [result] = results_of(function, **settings)
    return result.outcome, result.reason


def test_a_case_that_hangs_fails_alone_and_shows_all_threads():
    release = threading.Event()

    def hang_in_here(self, kit):
        release.wait(60)

    outcome, reason = outcome_of(hang_in_here, seconds=0.1)
    release.set()
    assert outcome == "failed"
    assert "test.case[none] has taken more than 0 s" in reason
    assert "hang_in_here" in reason


def test_a_thread_that_is_left():
    release = threading.Event()

    def leave(self, kit):
        threading.Thread(target=release.wait, name="juham-left", daemon=True).start()

    outcome, reason = outcome_of(leave)
    release.set()
    assert (outcome, reason) == ("failed", "LeftBehindError: left behind: the thread 'juham-left'")


def test_a_thread_that_is_about_to_end_is_waited_for():
    def leave(self, kit):
        threading.Timer(0.2, lambda: None).start()

    assert outcome_of(leave)[0] == "passed"


def test_a_socket_that_is_left():
    def leave(self, kit):
        KEPT.append(socket.socket())

    outcome, reason = outcome_of(leave)
    KEPT.pop().close()
    assert outcome == "failed"
    assert "the open file socket:" in reason


def test_a_connection_to_the_broker_that_is_left():
    def leave(self, kit):
        KEPT.append(socket.create_connection((kit.broker.host, kit.broker.port)))
        kit.broker.wait_for("accept")

    outcome, reason = outcome_of(leave, backend=JToy, on=FAULTS)
    KEPT.pop().close()
    assert outcome == "failed"
    assert "1 connection(s) to the broker" in reason


def test_a_task_that_is_left():
    loop = asyncio.new_event_loop()
    watch = Watch()

    async def wait_forever():
        await asyncio.Event().wait()

    async def begin():
        return asyncio.ensure_future(wait_forever())

    task = loop.run_until_complete(begin())
    assert any("wait_forever" in each for each in watch._look())
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    assert watch.left() == []
    loop.close()


def test_an_exception_that_nobody_caught():
    def fail():
        raise ZeroDivisionError("nobody caught me")

    def leave(self, kit):
        thread = threading.Thread(target=fail, name="failing")
        thread.start()
        thread.join()

    outcome, reason = outcome_of(leave)
    assert outcome == "failed"
    assert "uncaught in the thread 'failing': ZeroDivisionError: nobody caught me" in reason


def test_the_failure_of_the_case_is_told_and_not_what_follows_from_it():
    def leave(self, kit):
        kit.keep(lambda: 1 / 0)
        raise AssertionError("the reason")

    assert outcome_of(leave) == ("failed", "AssertionError: the reason")


def test_a_failure_to_close_is_one():
    def leave(self, kit):
        kit.keep(lambda: 1 / 0)

    assert outcome_of(leave) == ("failed", "ZeroDivisionError: division by zero")


def test_clients_are_closed_for_the_case():
    def leave(self, kit):
        KEPT.append(kit.connect())

    assert outcome_of(leave, on=ANY)[0] == "passed"
    assert not KEPT.pop().is_connected()


# --- capabilities, both ways ------------------------------------------------------------------------------


class JBare(JMemory):
    capabilities = Capabilities(mqtt_311=True, in_process=True)


CANNOT_BE_ASKED_FOR = ("dup_and_mid", "early_packet_limit")
ASKED_FOR = [item.name for item in dataclasses.fields(Capabilities) if item.name not in CANNOT_BE_ASKED_FOR]


@pytest.mark.parametrize("name", ASKED_FOR)
def test_what_is_not_declared_has_to_be_refused(name):
    def never(self, kit):
        raise AssertionError("must not run")

    if getattr(JBare.capabilities, name):
        assert outcome_of(never, needs=name, on=ANY, backend=JBare)[0] == "failed"
    else:
        outcome, reason = outcome_of(never, needs=name, on=ANY, backend=JBare)
        assert (outcome, reason) == ("unsupported", f"not declared, and refused: {name}")


@pytest.mark.parametrize("name", CANNOT_BE_ASKED_FOR)
def test_what_is_not_declared_and_cannot_be_asked_for_is_not_tried(name):
    def never(self, kit):
        raise AssertionError("must not run")

    outcome, reason = outcome_of(never, needs=name, on=ANY, backend=JBare)
    assert outcome == "not_applicable"
    assert reason == f"not declared: {Capabilities.meaning(name)}"


def test_what_cannot_be_asked_for_may_be_looked_for():
    looked = []

    def never(self, kit):
        raise AssertionError("must not run")

    def find(kit):
        raise AssertionError("it is there")

    settings = {"needs": ("tls", "dup_and_mid"), "on": ANY}
    expected = ("unsupported", "not declared, and refused: tls")  # which comes first
    assert outcome_of(never, **settings, without=find, backend=JBare) == expected
    settings["needs"] = "dup_and_mid"
    assert outcome_of(never, **settings, without=find, backend=JBare) == (
        "failed",
        "AssertionError: it is there",
    )
    assert outcome_of(never, **settings, without=looked.append, backend=JBare) == (
        "unsupported",
        "not declared, and not shown: dup_and_mid",
    )
    assert len(looked) == 1
    assert outcome_of(lambda self, kit: None, **settings, without=find) == ("passed", "")


def test_what_is_not_declared_and_works_nevertheless_fails():
    class JQuiet(JBare):
        def _require(self, options):
            pass

    outcome, reason = outcome_of(lambda self, kit: None, needs="mqtt_5", on=ANY, backend=JQuiet)
    assert outcome == "failed"
    assert "NotSupportedError was to be raised, and nothing was" in reason


def test_with_mqtt_5_needed_it_is_spoken():
    def look(self, kit):
        assert kit.create().options.protocol == 5

    assert outcome_of(look, needs="mqtt_5", on=ANY)[0] == "passed"


def test_a_backend_without_3_1_1_speaks_5():
    class JFive(JToy):
        capabilities = Capabilities(mqtt_5=True, tcp=True)

    def look(self, kit):
        assert kit.connect().options.protocol == 5

    assert outcome_of(look, on=FAULTS, backend=JFive) == ("passed", "")


# --- places and known failures ----------------------------------------------------------------------------


def test_places():
    places = [result.place for result in results_of(lambda self, kit: None, on=ANY, backend=JToy)]
    assert places[0] == "fault_broker"
    assert set(places[1:]) <= {"mosquitto"}
    assert results_of(lambda self, kit: None, on=ANY)[0].place == "memory"
    assert results_of(lambda self, kit: None, on=FAULTS)[0].outcome == "not_applicable"


def test_a_case_may_find_that_it_does_not_apply():
    outcome = outcome_of(lambda self, kit: kit.not_applicable("because"))
    assert outcome == ("not_applicable", "because")


def test_known_failures():
    def fail(self, kit):
        raise AssertionError("so it goes")

    assert outcome_of(fail, known={"test.case": "the library"}) == ("known_failure", "the library")
    outcome, reason = outcome_of(lambda self, kit: None, known={"test.case": "the library"})
    assert (outcome, "take it out" in reason) == ("failed", True)
    with pytest.raises(ValueError, match=r"'test.cas' is no case"):
        outcome_of(fail, known={"test.cas": "misspelt"})


# --- the catalogue ----------------------------------------------------------------------------------------


def test_identifiers_are_unique_and_named_like_their_methods():
    cases = catalogue()
    identifiers = [each.id for each in cases]
    assert len(identifiers) == len(set(identifiers))
    assert [each.id.partition(".")[2] for each in cases] == [each.function.__name__ for each in cases]


def test_every_rule_is_a_sentence():
    for each in catalogue():
        assert each.rule.endswith("."), each.id
        assert "\n\n" not in each.rule, each.id


def test_two_cases_of_one_identifier_are_refused():
    class Twice(BackendConformance):
        backend = "memory"

        @case("publish.payload_bytes")
        def another(self, kit):
            """Another rule of the same name."""

    with pytest.raises(ValueError, match=r"publish\.payload_bytes"):
        cases_of(Twice)


def test_an_author_may_replace_a_case_by_nothing_of_the_kind():
    class Without(BackendConformance):
        payload_bytes = None

    assert "publish.payload_bytes" not in [each.id for each in cases_of(Without)]


@pytest.mark.parametrize(
    "settings", [{"level": "nonsense"}, {"on": "somewhere"}, {"needs": "magic"}], ids=["level", "on", "needs"]
)
def test_a_case_that_makes_no_sense(settings):
    with pytest.raises((ValueError, KeyError)):
        case("a.b", **settings)(lambda self, kit: None)


def test_a_case_has_a_rule():
    with pytest.raises(ValueError, match="rule"):
        case("a.b")(lambda self, kit: None)


# --- without pytest -------------------------------------------------------------------------------------


def test_run(tmp_path):
    path = tmp_path / "report.json"
    seen = []
    report = run("memory", report=path, select=lambda name: "payload" in name, progress=seen.append)
    assert report.passed
    assert report.results == seen
    assert len(seen) > 5
    assert '"juham-conformance/1"' in path.read_text()
    assert "memory: JMemory, juham-core" in report.summary()


def test_run_with_a_failure():
    class JMute(JToy):
        def _publish(self, message):
            return 0

    with less_patience(0.2):
        report = run(JMute, select=lambda name: name == "publish.receipt_qos_0")
    assert not report.passed
    assert {result.id for result in report.failures} == {"publish.receipt_qos_0"}
    assert "failed: publish.receipt_qos_0[fault_broker]: At QoS 0" in report.summary()


def test_run_on_a_given_broker():
    from juham_core.broker import EmbeddedBroker

    with EmbeddedBroker(users={"anna": "secret"}) as broker:
        url = broker.url.replace("mqtt://", "mqtt://anna:secret@")
        report = run(JToy, url=url, select=lambda name: name == "publish.retained")
    assert [(result.place, result.outcome) for result in report.results] == [
        ("fault_broker", "passed"),
        ("url", "passed"),
    ]


def test_an_empty_report_is_no_success():
    assert not run("memory", select=lambda name: False).passed


def test_a_case_that_does_not_exist():
    with pytest.raises(ValueError, match="catalogue"):
        run_case("memory", "publish.nothing")


def test_a_suite_made_for_a_backend():
    assert suite_of("memory").backend == "memory"


# --- the kit and its observer in process ------------------------------------------------------------------


def test_the_observer_in_process():
    place = Place("memory")
    with place.observer() as one, place.observer(protocol=5) as other:
        assert one.subscribe("a/#") == [2]
        for qos in (0, 1, 2):
            assert other.publish("a/b", b"x", qos=qos) == 0
            assert one.message().qos == qos
        assert one.drain() == []
        other.vanish()
        other.vanish()


def test_black_hole_and_never():
    with Place("memory").observer():
        pass
    kit = Kit(JMemory, JMemory.capabilities, Place("memory"))
    where = kit.black_hole()
    with pytest.raises(TimeoutError):
        socket.create_connection(where, 0.1)
    kit.close()
    with pytest.raises(AssertionError, match="it came"):
        Kit.never(lambda: True, "it came", 0.1)
    Kit.never(lambda: False, "it came", 0.01)
    with pytest.raises(AssertionError, match="was to be raised"), Kit.raises(NotSupportedError):
        pass
