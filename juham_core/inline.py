"""Handlers without a thread of their own: each runs on the thread that brings its message."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from juham_core.dispatch import INLINE, Dispatcher, Task
from juham_core.locks import TryLock, join
from juham_core.turn import Turn

if TYPE_CHECKING:
    from juham_core.message import MqttMsg

AT_ONCE: Final = 64
"""Calls of other threads that one thread makes before they are left to a thread of their own."""
_get_ident: Final = threading.get_ident


class _Gate:
    """A place in the line for a call that may not be made yet."""

    __slots__ = ("call", "is_open")

    def __init__(self, call: Task) -> None:
        self.call = call
        self.is_open = False


class InlineDispatcher(Dispatcher):
    """A dispatcher that makes each call where it is put, unless another one is being made.

    A call that comes while another one runs, on another thread or further up on this one, is entered in the
    line; whoever makes calls looks there before it leaves. So no thread ever waits for its turn, whatever
    locks of its library it holds, and calls are made one at a time and in order.
    """

    kind = INLINE

    def __init__(self, name: str, report: Callable[[BaseException], None], turn: Turn) -> None:
        super().__init__(name, report)
        self._turn = turn
        self._line: deque[Task | _Gate] = deque()
        self._busy = TryLock()  # held by the thread that makes calls, which no other one waits for
        self._started = False
        self._helpers: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """Calls that wait: for the loop to be started, or for the one that is being made."""
        return len(self._line)

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._started

    @property
    def current(self) -> bool:
        """True on the thread that makes calls at the moment: inside a handler."""
        return self._turn.thread == _get_ident()

    def put(self, function: Callable[..., Any], *args: Any) -> None:
        """Make the call here and now, or in its turn. Blocks for as long as it takes."""
        if not self._make_now(function, args):
            self._line.append((function, args))
            self._go_on(AT_ONCE)

    def put_message(self, function: Callable[..., Any], message: MqttMsg) -> bool:
        """Deliver the message here and now, or in its turn. Blocks for as long as it takes."""
        if not self.deliver_now(function, message):
            self._line.append((function, (message,)))
            self._go_on(AT_ONCE)
        return True

    def deliver_now(self, function: Callable[..., Any], message: MqttMsg) -> bool:
        """Deliver the message here and now if nothing is before it; False if it has to wait for its turn."""
        busy, turn = self._busy, self._turn
        if not busy.taken:
            return False
        try:
            if self._line or not self._started:
                return False
            turn.thread = _get_ident()
            function(message)
        except BaseException as exc:  # noqa: BLE001 - told apart there
            self._contain(exc)
        finally:
            turn.thread = None
            busy.release()
            if self._line:
                self._go_on(AT_ONCE)
        return True

    def deliver_many(self, function: Callable[..., Any], messages: list[MqttMsg]) -> int:
        """Deliver messages here and now, until something has its turn before them; return how many."""
        busy, turn, line, delivered = self._busy, self._turn, self._line, 0
        if not busy.taken:
            return 0
        try:
            turn.thread = _get_ident()
            for message in messages:
                if line or not self._started:
                    break
                delivered += 1
                try:
                    function(message)
                except BaseException as exc:  # noqa: BLE001 - told apart there
                    self._contain(exc)
        finally:
            turn.thread = None
            busy.release()
            if line:
                self._go_on(AT_ONCE)
        return delivered

    def put_gated(self, function: Callable[..., Any], *args: Any) -> Callable[[], None]:
        """Have the call take its place now; the line stops there until the function returned is called."""
        gate = _Gate((function, args))
        self._line.append(gate)

        def open_gate() -> None:
            gate.is_open = True
            self._go_on(AT_ONCE)

        return open_gate

    def start(self) -> bool:
        """Make calls from now on, and those that wait on this thread; False if that is so already."""
        if self._started:
            return False
        self._started = True
        self._go_on(len(self._line) + AT_ONCE)
        return True

    def run(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Have calls made until :meth:`stop`, where they are put; inside a call, return at once.

        If ``ended()``, which is true before whoever ends it calls :meth:`stop`, none is made.
        """
        if self.current or ended():
            return
        started = self.start()
        try:
            if ended():  # meanwhile
                self._started = False
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._started)
        except BaseException:
            if started:
                self._started = False
            raise

    def stop(self, timeout: float | None = None) -> bool:
        """Make no further call. Blocks until the present one has returned, unless called from inside it.

        False if that took longer than ``timeout`` seconds.
        """
        self._started = False
        for waited_for in (self._room, self._changed):
            with waited_for:
                waited_for.notify_all()
        if self.current:
            return True
        if not self._busy.acquire(timeout=-1 if timeout is None else timeout):
            return False
        self._busy.release()
        if self._started:  # again, by another thread, which may have found it busy
            self._go_on(AT_ONCE)
            return True
        while self._helpers:
            helper = self._helpers.pop()
            join(helper)
        return True

    def drain(self, timeout: float) -> bool:
        """Block until no call waits or is being made, for at most ``timeout`` seconds; tell which.

        True at once where none would be made, and inside a handler.
        """
        deadline = time.monotonic() + timeout
        while self._started and not self.current:
            if not self._busy.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return False
            self._busy.release()
            self._go_on(AT_ONCE)
            if not self._line:
                break
            if time.monotonic() >= deadline:
                return False
        return True

    def take_all(self) -> list[Task]:
        """Take out the calls that wait, for another dispatcher to make."""
        taken = [each.call if isinstance(each, _Gate) else each for each in self._line]
        self._line.clear()
        return taken

    def _make_now(self, function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        """As :meth:`deliver_now`, which is frequent, for any call."""
        busy, turn = self._busy, self._turn
        if not busy.taken:
            return False
        try:
            if self._line or not self._started:
                return False
            turn.thread = _get_ident()
            function(*args)
        except BaseException as exc:  # noqa: BLE001 - told apart there
            self._contain(exc)
        finally:
            turn.thread = None
            busy.release()
            if self._line:
                self._go_on(AT_ONCE)
        return True

    def _go_on(self, most: float) -> None:
        """Make the calls that wait, ``most`` of them here, unless somebody does so already."""
        while self._is_due():
            if not self._busy.taken:
                return  # whoever holds it looks again after letting go
            try:
                self._turn.thread = _get_ident()
                while most > 0 and self._started and (call := self._next()) is not None:
                    most -= 1
                    function, args = call
                    try:
                        function(*args)
                    except BaseException as exc:  # noqa: BLE001 - told apart there
                        self._contain(exc)
                    if self._short_of_room:
                        with self._room:
                            self._room.notify_all()
            except BaseException:
                most = 0  # this thread leaves; what waits is not to wait for the next message
                raise
            finally:
                self._turn.thread = None
                self._busy.release()
                if most <= 0 and self._is_due():
                    self._leave_to_helper()
            if most <= 0:
                return

    def _leave_to_helper(self) -> None:
        """Have a thread of its own catch up: this one has other things to do than other threads' calls."""
        helper = threading.Thread(target=self._go_on, args=(float("inf"),), name=self._name, daemon=True)
        self._helpers = [*(each for each in self._helpers if each.is_alive()), helper]
        helper.start()

    def _is_due(self) -> bool:
        """True if there is a call that may be made now."""
        if not self._started:
            return False
        try:
            first = self._line[0]
        except IndexError:
            return False
        return not isinstance(first, _Gate) or first.is_open

    def _next(self) -> Task | None:
        """Take out the call whose turn it is; None if there is none that may be made."""
        if not self._is_due():
            return None
        try:
            first = self._line.popleft()
        except IndexError:  # cleared by another thread
            return None
        return first.call if isinstance(first, _Gate) else first
