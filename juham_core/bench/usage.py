"""What a process has used: CPU seconds, and the most memory it had at once."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")


class Usage:
    """Counts from when it is made."""

    def __init__(self) -> None:
        with suppress(OSError):  # only Linux has it; elsewhere the peak is that of the whole life
            _CLEAR.write_text("5")
        self._memory = _peak()
        self._before = resource.getrusage(resource.RUSAGE_SELF)

    def so_far(self) -> dict[str, float]:
        """CPU seconds of all threads in user and in system mode, and the growth of the peak in bytes."""
        now = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_user": now.ru_utime - self._before.ru_utime,
            "cpu_system": now.ru_stime - self._before.ru_stime,
            "memory_growth": _peak() - self._memory,
        }


def _peak() -> int:
    """The largest resident size in bytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
