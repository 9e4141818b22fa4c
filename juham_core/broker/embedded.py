"""The embedded broker in a thread of its own: what the demo, the tests and ``juham broker`` start."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from ssl import SSLContext
from types import TracebackType
from typing import TypeVar

from juham_core.broker.limits import Limits, Statistics
from juham_core.broker.listener import Listener
from juham_core.broker.state import DEFAULT_LIMITS, Broker
from juham_core.errors import ConnectError, JuhamError
from juham_core.wire.packets import Connect

T = TypeVar("T")

log = logging.getLogger(__name__)


class EmbeddedBroker:
    """A broker for development and tests, listening on ``host``; every method may be called from any thread.

    ``port`` 0 takes a free one and keeps it over restarts, as the broker keeps sessions and retained
    messages. ``ssl`` makes the port speak TLS, ``unix_path`` adds a unix socket. ``users`` maps names to
    passwords, ``authenticate`` is called in the broker's thread: see :class:`~juham_core.broker.Broker`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        authenticate: Callable[[Connect], int] | None = None,
        ssl: SSLContext | None = None,
        unix_path: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._broker = Broker(users=users, authenticate=authenticate, limits=limits)
        self._host = host
        self._port = port
        self._ssl = ssl
        self._unix_path = unix_path
        # Held while starting, stopping or asking; never taken by the broker's own thread.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The TCP port; 0 before the first start if it is to take a free one."""
        return self._port

    @property
    def url(self) -> str:
        """The URL to connect to: ``mqtt://127.0.0.1:PORT``, or ``mqtts:`` with TLS."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'mqtts' if self._ssl else 'mqtt'}://{host}:{self._port}"

    @property
    def is_running(self) -> bool:
        """True between start and stop."""
        return self._thread is not None

    @property
    def statistics(self) -> Statistics:
        """What the broker holds and has done."""
        return self._call(lambda: self._broker.statistics)

    def start(self) -> EmbeddedBroker:
        """Listen, and return once connections are accepted.

        Raises :class:`~juham_core.errors.ConnectError` if the address cannot be had, and
        :class:`~juham_core.errors.JuhamError` if the broker is running already.
        """
        with self._lock:
            if self._thread is not None:
                raise JuhamError(f"the broker is running already at {self.url}; stop it first")
            started: Future[int] = Future()
            self._thread = threading.Thread(
                target=self._run, args=(started,), name="juham embedded broker", daemon=True
            )
            self._thread.start()
            try:
                self._port = started.result()
            except ConnectError:
                self._thread.join()
                self._thread = None
                raise
        log.info("the embedded broker is at %s: for development and tests, not for production", self.url)
        return self

    def stop(self) -> None:
        """Disconnect everybody and wait until thread and sockets are gone. May be called twice."""
        with self._lock:
            if self._thread is None or self._loop is None or self._stopping is None:
                return
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = self._loop = self._listener = self._stopping = None

    def drop_connections(self) -> int:
        """Cut every connection without a word, as a failing network would; return how many there were."""
        return self._call(lambda: self._listener.drop_connections() if self._listener else 0)

    def __enter__(self) -> EmbeddedBroker:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function where nothing else touches the broker."""
        if threading.current_thread() is self._thread:
            return function()
        with self._lock:
            if self._loop is None:
                return function()
            answer: Future[T] = Future()

            def answer_in_loop() -> None:
                try:
                    answer.set_result(function())
                except BaseException as exc:  # noqa: BLE001 - raised again by result()
                    answer.set_exception(exc)

            self._loop.call_soon_threadsafe(answer_in_loop)
            return answer.result()

    def _run(self, started: Future[int]) -> None:
        loop = asyncio.SelectorEventLoop()  # not every system's default watches sockets
        try:
            loop.run_until_complete(self._serve(started))
        finally:
            loop.close()

    async def _serve(self, started: Future[int]) -> None:
        self._stopping = asyncio.Event()
        listener = Listener(
            self._broker, self._host, self._port, ssl=self._ssl, unix_path=self._unix_path
        )
        try:
            await listener.start()
        except ConnectError as exc:
            started.set_exception(exc)
            return
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        started.set_result(listener.port)
        await self._stopping.wait()
        await listener.stop()
