"""The thread that runs the application's handlers: one at a time, in order, away from the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Final

from juham_core.locks import Condition, Event, join

if TYPE_CHECKING:
    from juham_core.message import MqttMsg

INLINE: Final = "inline"
"""The value of the option ``handlers`` for those that need no thread; see :mod:`juham_core.inline`."""
Task = tuple[Callable[..., Any], tuple[Any, ...]]


class Dispatcher:
    """A bounded queue of calls, and the one thread at a time that makes them.

    A library's network thread puts, so a slow handler does not keep it from its keepalive. Calls that come
    while no thread runs wait for one.
    """

    kind: ClassVar[str | None] = "thread"
    """The value of the option ``handlers`` that asks for this class; None where none does."""

    def __init__(self, name: str, report: Callable[[BaseException], None]) -> None:
        self._name = name
        self._report = report
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._changed = Condition()  # guards the next four
        self._thread: threading.Thread | None = None
        self._runner: int | None = None
        self._stopping = False
        self._wake_ups = 0  # among the tasks
        self._room = Condition()
        self._short_of_room = 0

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return max(0, self._tasks.qsize() - self._wake_ups)

    @property
    def running(self) -> bool:
        """True while a thread makes the calls."""
        return self._runner is not None

    @property
    def current(self) -> bool:
        """True on the thread that makes the calls: inside a handler."""
        return self._runner == threading.get_ident()

    def put(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the call made in its turn. Never blocks."""
        self._tasks.put((function, args))

    def put_message(self, function: Callable[..., Any], message: MqttMsg) -> bool:
        """Have a message delivered in its turn by ``function(message)``. Never blocks.

        False if there will be no such call: somebody else has taken the message.
        """
        self._tasks.put((function, (message,)))
        return True

    def deliver_now(self, function: Callable[..., Any], message: MqttMsg) -> bool:  # noqa: ARG002 - see there
        """False: a message has to wait for its turn; that of :mod:`juham_core.inline` may not have to."""
        return False

    def deliver_many(self, function: Callable[..., Any], messages: list[MqttMsg]) -> int:  # noqa: ARG002 - as above
        """0: as :meth:`deliver_now`, for the first of several messages and those that follow."""
        return 0

    def put_gated(self, function: Callable[..., Any], *args: Any) -> Callable[[], None]:
        """Have the call take its place now, and be made once the function returned is called."""
        ready = Event()

        def call() -> None:
            ready.wait()
            function(*args)

        self.put(call)
        return ready.set

    def wait_for_room(self, has_room: Callable[[], bool], given_up: Callable[[], bool]) -> bool:
        """Block until calls have made room; False if ``given_up()`` became true first.

        Inside a handler it returns at once: the handler would wait for itself.
        """
        if self.current:
            return True
        with self._room:
            self._short_of_room += 1
            try:
                while not has_room():
                    if given_up():
                        return False
                    self._room.wait(0.1)
            finally:
                self._short_of_room -= 1
        return True

    def start(self) -> bool:
        """Run in a thread of its own; False if one runs already, which then goes on if it was to stop."""
        with self._changed:
            self._stopping = False
            self._changed.notify_all()  # a stop on another thread has been overtaken
            if self._runner is not None:
                return False
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            self._thread.start()
            self._runner = self._thread.ident  # as it will say itself, but in time for whoever asks now
            return True

    def run(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Make the calls on the calling thread until :meth:`stop`; none if ``ended()``, which is true before.

        Where another thread makes them, wait for its end; inside a call, return at once. SystemExit and
        KeyboardInterrupt leave it, as they would leave any loop of a main program.
        """
        with self._changed:
            if self.current or ended():
                return
            self._stopping = False
            self._changed.notify_all()  # as above
            if self._runner is not None:
                self._changed.wait_for(lambda: self._runner is None)
                return
            self._runner = threading.get_ident()
        self._work(Exception)

    def stop(self, timeout: float | None = None) -> bool:
        """Make no further call. Blocks until the present one has returned, unless called from inside it.

        False if that took longer than ``timeout`` seconds.
        """
        with self._room:
            self._room.notify_all()
        with self._changed:
            self._stopping = True
            self._wake_ups += 1
            self._tasks.put(None)  # whoever meets it later ignores it
            if self.current:
                return True
            if not self._changed.wait_for(lambda: self._runner is None or not self._stopping, timeout):
                return False
            thread = self._thread if self._runner is None else None
        join(thread)
        return True

    def drain(self, timeout: float) -> bool:
        """Block until no call waits or runs, for at most ``timeout`` seconds; tell which.

        True at once where nothing would run them, and inside a handler.
        """
        if not self.running or self.current:
            return True
        drained = Event()
        self.put(drained.set)
        return drained.wait(timeout)

    def take_all(self) -> list[Task]:
        """Take out the calls that wait, for another dispatcher to make."""
        taken = []
        while not self._tasks.empty():
            task = self._tasks.get()
            if task is None:
                self._woken()
            else:
                taken.append(task)
        return taken

    def clear(self) -> int:
        """Forget the calls that wait; return how many they were."""
        return len(self.take_all())

    def _main(self) -> None:
        with self._changed:  # which whoever has started this thread holds, unless it was interrupted
            me = threading.current_thread()
            if self._thread is not me or self._runner not in (None, me.ident):
                return  # another one runs in its place
            self._runner = me.ident
        self._work(BaseException)

    def _work(self, contained: type[BaseException]) -> None:
        get = self._tasks.get
        try:
            while not (self._stopping and self._leave()):
                task = get()
                if task is None:
                    self._woken()
                    continue
                function, args = task
                try:
                    function(*args)
                except contained as exc:
                    self._report(exc)
                if self._short_of_room:
                    with self._room:
                        self._room.notify_all()
        except BaseException:
            self._end()
            raise

    def _contain(self, exc: BaseException) -> None:
        """Report what a call has raised: the thread is not the application's, but for the main one.

        What ends a program passes through there.
        """
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and isinstance(exc, KeyboardInterrupt | SystemExit):
            raise exc
        self._report(exc)

    def _woken(self) -> None:
        with self._changed:
            self._wake_ups -= 1

    def _leave(self) -> bool:
        """Cease to be the runner, unless it was started again meanwhile."""
        with self._changed:
            if self._stopping:
                self._end()
            return self._stopping

    def _end(self) -> None:
        with self._changed:
            self._runner = None
            self._changed.notify_all()
