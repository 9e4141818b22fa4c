"""What there is to know of a driver before it is used, and why it may not take part."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from juham_core.errors import JuhamError


class Unsuitable(JuhamError):  # noqa: N818  # no error: there is nothing to measure
    """A contender does not have what the case needs; the message says what."""


@dataclass(frozen=True)
class Facts:
    """Of a driver, or of the backend under a face."""

    library: str
    version: str
    protocols: tuple[int, ...]
    """The preferred one first."""
    max_qos: int
    window: str
    """Who keeps to the window of unacknowledged publishes."""

    def check(self, qos: int) -> None:
        """Raise Unsuitable if it has no such QoS."""
        if qos > self.max_qos:
            raise Unsuitable(f"it has no QoS {qos}")


def installed_version(distribution: str) -> str:
    """Its version; empty if it is not a distribution."""
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):
        return ""
