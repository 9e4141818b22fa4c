"""An exception at a step that is counted, as a signal's handler may raise it on the main thread."""

from __future__ import annotations

import linecache
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

_OURS = ("juham_core", "juham_awscrt", "juham_gmqtt", "juham_native", "juham_paho")
_ROOTS = tuple(
    str(Path(spec.origin).parent) + "/" for spec in map(find_spec, _OURS) if spec is not None and spec.origin
)
_UNBROKEN = ("with ", "try:", "finally:")
"""Lines that the tracer stops at though CPython looks for no signal between them and what is before them."""


class Struck(BaseException):
    """What the handler of a signal might raise."""


class Striker:
    """Used as a context manager: raises :class:`Struck` at the step of that number, of this thread.

    Steps are the calls, lines and returns of our own code, and of the conditions and events it has; those of
    the standard library by itself are not ours to mend. Number 0 counts them.
    """

    def __init__(self, number: int = 0) -> None:
        self.steps = 0
        self.place = ""
        self._number = number
        self._before = None

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _enter(self, frame, event, _argument):
        if not _is_ours(frame):
            return None
        self._step(frame, event)
        return self._follow

    def _follow(self, frame, event, _argument):
        if event == "return" or (event == "line" and not _is_unbroken(frame)):
            self._step(frame, event)
        return self._follow

    def _step(self, frame, event):
        self.steps += 1
        if self.steps == self._number:
            code = frame.f_code
            self.place = f"{Path(code.co_filename).name}:{frame.f_lineno}, {event} in {code.co_name}"
            raise Struck(self.place)


def _is_ours(frame):
    name = frame.f_code.co_filename
    if name == threading.__file__:
        return type(frame.f_locals.get("self")).__module__ == "juham_core.locks"
    return name.startswith(_ROOTS)


def _is_unbroken(frame):
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return line.startswith(_UNBROKEN) or line.endswith(".release()")
