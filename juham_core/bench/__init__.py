"""The bench: backends and the libraries underneath them, measured side by side in one session.

``juham bench`` runs it. A plugin lets its library be measured without Juham by a :class:`Driver` of its own,
under the entry-point group :data:`GROUP` and the name of the backend.
"""

from juham_core.bench.driver import GROUP, Arrivals, Driver, PingPong, Task, Window
from juham_core.bench.loops import LoopDriver

__all__ = ["GROUP", "Arrivals", "Driver", "LoopDriver", "PingPong", "Task", "Window"]
