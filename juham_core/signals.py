"""Whether an exception is the program's own: raised by the handler of a signal, into whatever ran then."""

from __future__ import annotations

import functools
import signal
import threading
from types import CodeType


def from_signal(exc: BaseException) -> bool:
    """True if a signal handler written in Python has raised it, as ``lambda *_: sys.exit()`` does.

    Only on the main thread, where these run (see the module :mod:`signal`), and while it is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()}
    trace = exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _code(handler: object) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    is_function = hasattr(handler, "__code__") or hasattr(handler, "__func__")
    function = handler if is_function else type(handler).__call__
    code: CodeType | None = getattr(getattr(function, "__func__", function), "__code__", None)
    return code
