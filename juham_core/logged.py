"""Logged: a log for every class, named after it, which an application may put in the place it likes."""

from __future__ import annotations

import logging
from typing import Any, ClassVar


class Logged:
    """A mixin that logs to ``juham.<ClassName>`` unless told otherwise.

    The methods may be called from any thread.
    """

    # Not `_logger`: that name belongs to paho's Client, a sibling base class.
    _log: ClassVar[Any] = None

    @classmethod
    def set_log(cls, l: Any) -> None:  # noqa: E741  # the name of the reference
        """Let this class and those derived from it log to ``l``, a logger; None: to ``juham.<ClassName>``."""
        cls._log = l

    @classmethod
    def _logger_of_class(cls) -> Any:
        return logging.getLogger(f"juham.{cls.__name__}") if cls._log is None else cls._log

    def debug(self, msg: str, details: str = "") -> None:
        """Log a debug message, with details if there are any."""
        self._logger_of_class().debug(*_log_arguments(msg, details), stacklevel=2)

    def info(self, msg: str, details: str = "") -> None:
        """Log an information message, with details if there are any."""
        self._logger_of_class().info(*_log_arguments(msg, details), stacklevel=2)

    def warning(self, msg: str, details: str = "") -> None:
        """Log a warning message, with details if there are any."""
        self._logger_of_class().warning(*_log_arguments(msg, details), stacklevel=2)

    def error(self, msg: str, details: str = "") -> None:
        """Log an error message, with details if there are any."""
        self._logger_of_class().error(*_log_arguments(msg, details), stacklevel=2)


def _log_arguments(msg: str, details: str) -> tuple[str, ...]:
    return ("%s: %s", msg, details) if details else ("%s", msg)
