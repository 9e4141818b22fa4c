"""Runs the handlers of a client in an event loop: what arrives goes to the streams, and then to callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from juham_core.aio.message import AsyncMessage
from juham_core.aio.streams import Streams
from juham_core.dispatch import Dispatcher, Task
from juham_core.errors import NotSupportedError
from juham_core.locks import Event
from juham_core.message import MqttMsg

TURN: Final = 0.02
"""Seconds of calls, or of moving messages, after which the loop gets a turn for everything else.

As long as it takes to handle what a transport has read at once, or the transport would always be ahead.
"""

STREAM: Final = 50
"""Calls made in one turn, brought by another thread, after which more are expected."""
NAP: Final = 0.001
"""Seconds for which they may gather: a loop that is woken for each takes turns with that thread each time."""


class _Gate:
    """A place in the line for a call that may not be made yet."""

    def __init__(self, call: Task) -> None:
        self.call = call
        self.is_open = False


class LoopDispatcher(Dispatcher):
    """A dispatcher that makes its calls in an event loop, and awaits what they return.

    There are two stations. Messages first go to the streams, which keep queues of their own, at once if they
    have come in the loop; a stream that is full and wants the others to wait stops the line here. Then they,
    and everything else, go to the callbacks, one at a time: a coroutine has to end before the next one
    begins. So a stream may be read within a callback.
    """

    kind = None

    def __init__(
        self,
        name: str,
        report: Callable[[BaseException], None],
        streams: Streams,
        wrap: Callable[[MqttMsg], AsyncMessage],
        answer: Callable[[AsyncMessage], bool],
        has_callback: Callable[[str], Any],
        passed: Callable[[MqttMsg], None],
    ) -> None:
        """For the running loop. ``answer``, on the library's thread, takes messages that pass every queue.

        ``has_callback`` tells whether a callback has a filter that matches a topic; ``passed`` is told of
        messages that have gone to streams alone.
        """
        super().__init__(name, report)
        self._streams = streams
        self._wrap = wrap
        self._answer = answer
        self._has_callback = has_callback
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self._line: deque[Task | _Gate] = deque()
        self._calls: deque[Task] = deque()
        self._started = False
        self._due = False
        self._by_others = False  # since the last turn
        self._calling = False
        self._coroutines: asyncio.Task[None] | None = None
        self._left_behind = False
        streams.has_room = self._go_on
        streams.move_on = self._move_on

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn, at either station."""
        return len(self._line) + len(self._calls)

    @property
    def running(self) -> bool:
        """True between start and stop, while there is a loop; not once a callback, the last one, closes."""
        return self._started and not self._left_behind and not self._loop.is_closed()

    @property
    def current(self) -> bool:
        """True inside a callback, coroutine or not."""
        if threading.get_ident() != self._home:
            return False
        if self._coroutines is None:
            return self._calling
        try:
            return asyncio.current_task() is self._coroutines
        except RuntimeError:  # no loop runs in this thread any more
            return False

    def put(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the call made in its turn. Never blocks."""
        self._line.append((function, args))
        self._go_on()

    def put_message(self, function: Callable[..., Any], message: MqttMsg) -> bool:
        """Have a message go to the streams, and then delivered by ``function(message, fall_back)``."""
        wrapped = self._wrap(message)
        if self._answer(wrapped):
            return False
        at_once = not self._line and self._started and threading.get_ident() == self._home
        if not (at_once and self._pass_on(function, wrapped)):
            self._line.append((function, (wrapped,)))
            self._go_on()
        elif self._calls:
            self._go_on()
        return True

    def put_gated(self, function: Callable[..., Any], *args: Any) -> Callable[[], None]:
        """Have the call take its place now; the line stops there until the function returned is called."""
        gate = _Gate((function, args))
        self._line.append(gate)

        def open_gate() -> None:
            gate.is_open = True
            self._go_on()

        return open_gate

    def wait_for_room(self, has_room: Callable[[], bool], given_up: Callable[[], bool]) -> bool:
        """Block a library's thread until calls have made room; never blocks the loop."""
        return threading.get_ident() == self._home or super().wait_for_room(has_room, given_up)

    def start(self) -> bool:
        """Make calls from now on; False if that is so already."""
        if self._started:
            return False
        self._started = True
        self._go_on()
        return True

    def run(self, ended: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002 - as the base has it
        """Raises NotSupportedError: the loop runs already."""
        raise NotSupportedError("the handlers of this client run in an event loop: loop_forever has no place")

    def leave_behind(self) -> bool:
        """From inside a callback: do not wait for this one, nor cancel it, when the client is closed.

        False if it was called from elsewhere.
        """
        self._left_behind = self.current
        return self._left_behind

    def stop(self, timeout: float | None = None) -> bool:
        """Make no further call. Blocks until the present one has ended, unless called in the loop's thread.

        With a ``timeout`` in seconds, a coroutine that is under way is cancelled; False if even then it does
        not end in time.
        """
        self._started = False
        with self._room:
            self._room.notify_all()
        if self._left_behind or self.current or self._loop.is_closed():
            return True
        cancel = timeout is not None
        if threading.get_ident() == self._home:
            if cancel and self._coroutines is not None:
                self._coroutines.cancel()
            return True
        ended = Event()
        try:
            self._loop.call_soon_threadsafe(self._end_coroutine, cancel, ended)
        except RuntimeError:  # closed meanwhile
            return True
        return ended.wait(timeout)

    def drain(self, timeout: float) -> bool:
        """Block until no call waits or runs; in the loop's own thread, make those that can be made now."""
        if threading.get_ident() != self._home:
            return self._left_behind or super().drain(timeout)
        if self.running and not self.current:
            while self._move() or self._make_calls():
                pass
        return not self.waiting and self._coroutines is None

    def take_all(self) -> list[Task]:
        """Take out the calls that wait, at either station."""
        line = [each.call if isinstance(each, _Gate) else each for each in self._line]
        taken = [*self._calls, *line]
        self._line.clear()
        self._calls.clear()
        return taken

    # --- in the loop --------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._due or not self._started:
            return
        self._due = True
        try:
            if threading.get_ident() == self._home:
                self._loop.call_soon(self._run)
            else:
                self._by_others = True
                self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:  # the loop is closed: nobody makes any further call
            self._due = False

    def _run(self) -> None:
        self._due = False  # before looking: what comes from now on wakes the loop again
        until, made = time.perf_counter() + TURN, 0
        while True:
            moved = self._move()
            if not (self._make_calls() or moved):
                self._rest(made)
                break
            made += 1
            if time.perf_counter() > until:
                self._go_on()
                break
        if self._short_of_room:
            with self._room:
                self._room.notify_all()

    def _rest(self, made: int) -> None:
        """Having made so many calls, look again when some have gathered, or as soon as one has come."""
        woken, self._by_others = self._by_others, False
        if made >= STREAM and woken and not self._due and self._started:
            self._due = self._by_others = True  # as long as they come
            self._loop.call_later(NAP, self._run)

    def _move(self) -> bool:
        """Take one call from the first station to the second; False if none can be taken."""
        if not self._line or not self._started:
            return False
        call = self._line[0]
        if isinstance(call, _Gate):
            if not call.is_open:
                return False
            call = call.call
        else:
            function, args = call
            if args and isinstance(args[0], AsyncMessage):
                if not self._pass_on(function, args[0]):
                    return False
                with contextlib.suppress(IndexError):  # cleared by another thread
                    self._line.popleft()
                return True
        with contextlib.suppress(IndexError):
            self._line.popleft()
            self._calls.append(call)
        return True

    def _pass_on(self, function: Callable[..., Any], message: AsyncMessage) -> bool:
        """Give a message to the streams, and then its place at the second station, if anybody wants it there.

        False if it has to wait for a stream that is full, which calls ``has_room``.
        """
        taken = self._streams.put(message)
        if taken is None:
            return False
        if not taken:
            self._calls.append((function, (message,)))
        elif self._has_callback(message.topic):
            message._holders += 1
            self._calls.append((function, (message, False)))
        else:
            if not message._holders and not self._streams.closing:
                message._seen_by_nobody()
            self._passed(message)
        return True

    def _move_on(self) -> None:
        """Move what can be moved, for a reader that has nothing left to read."""
        while self._move():
            pass
        if self._calls:
            self._go_on()

    def _make_calls(self) -> bool:
        """Make the next call at the second station, unless one is under way; False if there is none."""
        if self._calling or self._coroutines is not None:
            return False
        unfinished = self._call_next()
        if unfinished is False:
            return False
        if unfinished is not None:
            task = self._loop.create_task(self._call_all(unfinished))
            if not task.done():  # as it may be where tasks are begun eagerly
                self._coroutines = task
        return True

    def _call_next(self) -> Awaitable[Any] | bool | None:
        """Make a call; return what has to be awaited, None if nothing has, False if there is no call."""
        if not self._started:
            return False
        try:
            function, args = self._calls.popleft()
        except IndexError:
            return False
        self._calling = True
        try:
            result = function(*args)
        except BaseException as exc:  # noqa: BLE001 - a handler that fails must not keep the next one from coming
            self._contain(exc)
            return None
        finally:
            self._calling = False
        return result if result is not None and inspect.isawaitable(result) else None

    async def _call_all(self, unfinished: Awaitable[Any] | bool | None) -> None:
        """Await a coroutine, and make the calls that have come meanwhile."""
        until = time.perf_counter() + TURN
        self._coroutines = asyncio.current_task()
        try:
            while not isinstance(unfinished, bool):
                if unfinished is not None:
                    await self._await(unfinished)
                if time.perf_counter() > until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + TURN
                self._move()
                unfinished = self._call_next()
        finally:
            self._coroutines = None
            self._go_on()

    async def _await(self, unfinished: Awaitable[Any]) -> None:
        try:
            await unfinished
        except asyncio.CancelledError as exc:
            if self._started:
                self._report(exc)
            raise  # what has been cancelled is this task; the calls that wait get another one
        except GeneratorExit:  # nobody is left who would await anything
            raise
        except BaseException as exc:  # noqa: BLE001 - as above
            self._contain(exc)

    def _end_coroutine(self, cancel: bool, ended: threading.Event) -> None:
        task = self._coroutines
        if task is None:
            ended.set()
            return
        task.add_done_callback(lambda _: ended.set())
        if cancel:
            task.cancel()
