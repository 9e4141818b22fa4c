"""One case in one place: from an empty table to an empty table, with a deadline."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import juham_core
from juham_core import factory
from juham_core.capabilities import Capabilities
from juham_core.errors import BackendError
from juham_core.jmqtt import JMqtt
from juham_core.testing.asyncio_cases import ASYNCIO, reason_against
from juham_core.testing.asyncio_face import AsyncioFace
from juham_core.testing.deadline import within
from juham_core.testing.definition import Case, cases_of
from juham_core.testing.kit import Kit, NotApplicableError
from juham_core.testing.leaks import Uncaught, Watch
from juham_core.testing.place import Place, choose_places, prepare
from juham_core.testing.report import Result
from juham_core.wire import MQTT_5

Backend = str | type[JMqtt]
"""A backend by name, as everybody else gets it, or (for the kit's own tests) its class."""


class LeftBehindError(AssertionError):
    """The case went well, and left something behind."""


@dataclass(frozen=True)
class Trial:
    """A case, where to try it, and with what."""

    suite: type[Any]
    case: Case
    place: str
    why_not: str = ""
    url: str | None = None

    @property
    def name(self) -> str:
        """Case and place: ``publish.payload_bytes[mosquitto]``."""
        return f"{self.case.id}[{self.place}]"

    @property
    def known_failure(self) -> str | None:
        """Why the backend's author expects it to fail, or None."""
        known: Mapping[str, str] = self.suite.known_failures
        return known.get(self.name, known.get(self.case.id))

    def run(self, suite: Any = None) -> tuple[str, str]:
        """Try it. Return ``"passed"`` or ``"unsupported"``, and why.

        It raises NotApplicableError, or what failed. ``suite`` is the instance whose case it is. Blocks for
        the case's deadline at most, and a little.
        """
        why_not = self.why_not or self._no_matter_of_the_face()
        if why_not:
            raise NotApplicableError(why_not)
        instance = suite if suite is not None else self.suite()
        outcome: list[tuple[str, str]] = []
        prepare(self.place)
        watch = Watch()
        with Uncaught() as uncaught:
            place = Place(self.place, self.url)
            try:
                within(self.case.seconds, lambda: outcome.append(self._try(instance, place)), self.name)
                left = place.left()
            finally:
                place.close()
            left += watch.left()
        if left or uncaught.errors:
            raise LeftBehindError("left behind: " + "; ".join(left + uncaught.errors))
        return outcome[0]

    def result(self) -> Result:
        """Try it and tell how that ended, never raising."""
        started = time.perf_counter()
        known = self.known_failure
        try:
            outcome, reason = self.run()
            if known is not None:
                outcome, reason = "failed", f"it passes: take it out of known_failures ({known})"
        except NotApplicableError as exc:
            outcome, reason = "not_applicable", str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the result
            outcome, reason = "failed", f"{type(exc).__name__}: {str(exc) or _failing_line(exc)}"
            if known is not None:
                outcome, reason = "known_failure", known
        return self.ended(outcome, time.perf_counter() - started, reason)

    def ended(self, outcome: str, seconds: float, reason: str) -> Result:
        """The result of this trial."""
        case = self.case
        return Result(case.id, case.level, self.place, case.rule, outcome, round(seconds, 4), reason)

    @property
    def missing(self) -> str | None:
        """The first capability that the case needs and the backend does not declare."""
        capabilities = capabilities_of(self.suite.backend)
        missing = [name for name in self.case.needs if capabilities and not getattr(capabilities, name)]
        return missing[0] if missing else None

    def _no_matter_of_the_face(self) -> str:
        return reason_against(self.case) if self.suite.face == ASYNCIO else ""

    def _try(self, instance: Any, place: Place) -> tuple[str, str]:
        loaded = load(self.suite.backend)
        protocol = MQTT_5 if "mqtt_5" in self.case.needs and loaded.capabilities.mqtt_5 else None
        kit = Kit(
            _maker(self.suite.backend, self.suite.face),
            loaded.capabilities,
            place,
            protocol=protocol,
            options=self.suite.options,
            backend_name=self.suite.backend if isinstance(self.suite.backend, str) else None,
        )
        missing = self.missing
        ended = ("passed", "")
        try:
            if missing is not None:
                how = kit.lacks(missing, self.case.without)
                ended = ("unsupported", f"not declared, and {how}: {missing}")
            else:
                self.case.function(instance, kit)
        except BaseException:
            # The failure of the case is what counts, not what follows from it.
            _quietly(kit.close)
            raise
        kit.close()
        return ended


def load(backend: Backend) -> type[JMqtt]:
    """The class of a backend; raises :class:`~juham_core.errors.BackendError`."""
    return _load(backend) if isinstance(backend, str) else backend


@cache  # to look through what is installed takes longer than many a case
def _load(name: str) -> type[JMqtt]:
    return factory.load(name)


def load_or_none(backend: Backend) -> type[JMqtt] | None:
    """The class of a backend; None if it cannot be loaded, which its cases will then say."""
    try:
        return load(backend)
    except BackendError:
        return None


def capabilities_of(backend: Backend) -> Capabilities | None:
    """What the backend declares; None if it cannot be loaded."""
    loaded = load_or_none(backend)
    return loaded.capabilities if loaded is not None else None


def trials_of(suite: type[Any], url: str | None = None) -> Iterator[Trial]:
    """Every case of a suite in every place where it can be tried.

    Raises ValueError if ``known_failures`` names a case that does not exist or gives no reason.
    """
    capabilities = capabilities_of(suite.backend)
    trials = [
        Trial(suite, case, choice.place, choice.why_not, url)
        for case in cases_of(suite)
        for choice in choose_places(case, capabilities, url, suite.face)
    ]
    names = {trial.name for trial in trials} | {trial.case.id for trial in trials}
    for name, why in suite.known_failures.items():
        # A place that is not tried on this machine may be named; a case that does not exist may not.
        if name.partition("[")[0] not in names or not why.strip():
            raise ValueError(f"known_failures of {suite.__name__}: {name!r} is no case, or has no reason")
    yield from trials


def _maker(backend: Backend, face: str) -> Callable[[str | None], JMqtt]:
    def make(name: str | None) -> JMqtt:
        if isinstance(backend, str):
            client = juham_core.create(backend, name)
        else:
            client = backend() if name is None else backend(name)
        return cast("JMqtt", AsyncioFace(client)) if face == ASYNCIO else client

    return make


def _failing_line(exc: BaseException) -> str:
    """Where an assertion without a message stands: only pytest shows the values."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{frame.line} ({Path(frame.filename).name}, line {frame.lineno})"


def _quietly(close: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # another failure is being raised
        close()
