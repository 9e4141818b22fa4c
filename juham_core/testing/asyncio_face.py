"""AsyncioFace: an AsyncMqtt in the place of a JMqtt, so that the same cases try the asyncio face.

What a case calls runs as a coroutine in an event loop of its own; the case's thread waits for it. Handlers
are coroutines to the loop: what a case has them do runs in a thread, for it may block.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from juham_core.aio import AsyncMqtt
from juham_core.connection import State
from juham_core.errors import (
    ConnectError,
    InvalidArgumentError,
    NotSupportedError,
    OptionError,
    QueueFullError,
    ReceiptTimeoutError,
)
from juham_core.jmqtt import JMqtt
from juham_core.message import RC_NO_CONN, Receipt
from juham_core.testing.waiting import Recorder

AT_THE_CALL: Final = (InvalidArgumentError, NotSupportedError, OptionError, QueueFullError, TypeError)
"""What JMqtt raises at the call and AsyncMqtt where it is awaited; anything else is in the receipt."""
EVENTS: Final = (
    *("on_connect", "on_disconnect", "on_message"),
    *("on_publish", "on_subscribe", "on_unsubscribe"),
)
_BOUND: Final = 60.0
"""Seconds that a loop may take for what it does at once."""
_PATIENCE: Final = 5.0
"""Seconds for what a case has begun and not waited for, once its client is closed."""


class AsyncioFace:
    """Has the names of :class:`~juham_core.jmqtt.JMqtt`; what is not here is the client's underneath."""

    def __init__(self, client: JMqtt) -> None:
        self.client: Final = client
        self.mqtt: Final = AsyncMqtt(client)
        self._home: Home | None = None
        self._changing = threading.Lock()
        self._closing = False
        self._new = True
        self._connecting: Future[None] | None = None
        self._opened: Future[None] = Future()
        self._receipts: dict[object, Receipt] = {}
        for name in ("publish", "subscribe", "unsubscribe"):
            setattr(client, name, self._keeping(getattr(client, name)))
        setattr(client, "connect_to_server", self._telling(client.connect_to_server))  # noqa: B010 - mypy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def __repr__(self) -> str:
        return repr(self.mqtt)

    # --- connecting ---------------------------------------------------------------------------------

    def connect_to_server(self, *args: Any, **named: Any) -> int:
        """Begin ``AsyncMqtt.connect``; return once CONNECT is on its way."""
        if args or named:
            names = ("host", "port", "keepalive", "bind_address", "clean_start", "properties")
            self.client.configure(**{**dict(zip(names, args, strict=False)), **named})
        over = self.client._connection.state in (State.STOPPED, State.CLOSED)
        if self._connecting is not None and self._connecting.done() and over:
            self.disconnect_from_server()  # AsyncMqtt has failed to connect, or has given up
        if self._connecting is not None:
            raise ConnectError(f"the client {self.client.name!r} connects or is connected")
        self._opened = Future()
        self._new = False
        with self._changing:
            self._closing = False
            home = self._home = Home()
            self._connecting = home.begin(self.mqtt.connect)
            self._connecting.add_done_callback(self._end_opening)
        self._opened.result(_BOUND)
        return 0

    def wait_until_connected(self, timeout: float | None = None) -> None:
        """Wait for the coroutine, which waits for the verdict."""
        connecting = self._connecting
        if connecting is None or (connecting.done() and connecting.exception() is None):
            self.client.wait_until_connected(timeout)
            return
        try:
            connecting.result(_BOUND if timeout is None else timeout)
        except (TimeoutError, FutureTimeoutError):  # the client's own errors of that kind are no futures'
            if connecting.done():
                raise
            self.client.wait_until_connected(0)

    def is_connected(self) -> bool:
        """True between CONNACK and the end."""
        return self.mqtt.is_connected()

    def loop_start(self) -> int:
        """Nothing: the handlers run in the event loop once connected."""
        return 0

    def disconnect_from_server(self) -> None:
        """Await ``AsyncMqtt.close``, and end the loop."""
        with self._changing:
            home, closing = self._home, self._closing
            self._closing = home is not None
        if home is None or closing:
            self.client.disconnect_from_server()
            return
        home.await_here(self.mqtt.close)
        self._connecting = self._home = None
        home.end()

    disconnect = disconnect_from_server

    def __enter__(self) -> AsyncioFace:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *exc: object) -> None:
        self.disconnect_from_server()

    def _telling(self, connect: Callable[[], int]) -> Callable[[], int]:
        def connect_to_server() -> int:
            result = connect()
            if not self._opened.done():
                self._opened.set_result(None)
            return result

        return connect_to_server

    def _end_opening(self, connecting: Future[None]) -> None:
        if not self._opened.done():
            error = connecting.exception()
            if error is not None:
                self._opened.set_exception(error)
            else:
                self._opened.set_result(None)

    # --- what is asked for --------------------------------------------------------------------------

    def publish(self, topic: str, msg: Any = None, *args: Any, payload: Any = None, **named: Any) -> Any:
        """Begin ``AsyncMqtt.publish``, and return what becomes of it."""
        names = ("qos", "retain", "properties")
        given = {**dict(zip(names, args, strict=False)), **named}
        data = msg if payload is None else payload
        if self._new:  # AsyncMqtt leaves what comes before the connection to the client underneath
            return self.client.publish(topic, data, **given)
        return self._ask(lambda: self.mqtt.publish(topic, data, **given))

    def subscribe(self, topic: Any, qos: int = 0, options: Any = None) -> Any:
        """Begin ``AsyncMqtt.subscribe``."""
        if self._new:
            return self.client.subscribe(topic, qos, options)
        return self._ask(lambda: self.mqtt.subscribe(topic, qos, options), here=True)

    def unsubscribe(self, topic: Any) -> Any:
        """Begin ``AsyncMqtt.unsubscribe``."""
        if self._new:
            return self.client.unsubscribe(topic)
        return self._ask(lambda: self.mqtt.unsubscribe(topic))

    def _ask(self, make: Callable[[], Coroutine[Any, Any, Any]], *, here: bool = False) -> FaceReceipt:
        """Begin it; ``here``: inside a handler, have that one's coroutine await it."""
        home = self._home
        if home is None:
            task: Future[Any] = Future()
            try:
                asyncio.run(make())
            except Exception as exc:  # noqa: BLE001 - judged below
                task.set_exception(exc)
            receipt = None
        else:
            if home.inside_handler and here:
                task = Future()
                task.set_result(None)
                home.await_here(make)
                key: object = home.handlers_task
            else:
                task, key = home.begin_now(make)
            receipt = self._receipts.pop(key, None)
        error = task.exception() if task.done() else None
        if isinstance(error, AT_THE_CALL):
            raise error
        return FaceReceipt(receipt if receipt is not None else Receipt(), task)

    def _keeping(self, call: Callable[..., Receipt]) -> Callable[..., Receipt]:
        def keep(*args: Any, **named: Any) -> Receipt:
            receipt = call(*args, **named)
            task = asyncio.current_task() if self._home is not None else None
            if self._home is not None and task in self._home.asking:
                self._receipts[task] = receipt
            return receipt

        return keep

    # --- handlers -----------------------------------------------------------------------------------

    def message_callback_add(self, sub: str, callback: Callable[..., Any]) -> None:
        """Add a coroutine that has the handler called."""
        self.mqtt.message_callback_add(sub, self._handler(callback))

    def message_callback_remove(self, sub: str, callback: Any = None) -> None:
        """Remove it again."""
        self.mqtt.message_callback_remove(sub, None if callback is None else self._handler(callback))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in EVENTS:
            setattr(self.mqtt, name, None if value is None else self._handler(value))
        else:
            super().__setattr__(name, value)

    def _handler(self, callback: Any) -> Any:
        return FaceHandler(self, callback) if callable(callback) else callback


class FaceHandler:
    """A coroutine function to the event loop, around a handler that may block."""

    def __init__(self, face: AsyncioFace, handler: Callable[..., Any]) -> None:
        functools.update_wrapper(self, handler)
        self.__wrapped__ = handler
        self._face = face

    def __call__(self, _mqtt: AsyncMqtt, *args: Any) -> Any:
        if isinstance(self.__wrapped__, Recorder):
            return self.__wrapped__(self._face, *args)
        home = self._face._home
        assert home is not None
        return home.in_handlers_thread(functools.partial(self.__wrapped__, self._face, *args))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaceHandler) and self.__wrapped__ == other.__wrapped__

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


class FaceReceipt:
    """What a receipt is to a case: the client's own, with the coroutine that awaits it."""

    def __init__(self, receipt: Receipt, task: Future[Any]) -> None:
        self.receipt = receipt
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.receipt, name)

    def __iter__(self) -> Any:
        return iter((self.rc, self.receipt.mid))

    def __getitem__(self, index: int) -> int:
        return (self.rc, self.receipt.mid)[index]

    def __len__(self) -> int:
        return 2

    @property
    def rc(self) -> int:
        """4 for what failed at once for want of a connection."""
        return RC_NO_CONN if self.receipt.mid == 0 and self.task.done() else self.receipt.rc

    def done(self) -> bool:
        """True once the coroutine has ended."""
        return self.task.done()

    def exception(self) -> BaseException | None:
        """What the coroutine raised; None while it runs."""
        return self.task.exception() if self.task.done() else None

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the coroutine, and raise what it raised."""
        try:
            self.task.result(timeout)
        except (TimeoutError, FutureTimeoutError) as exc:  # one and the same from Python 3.11 on
            if self.task.done():
                raise
            raise ReceiptTimeoutError(f"no answer within {timeout} s") from exc
        return self

    def is_published(self) -> bool:
        """Paho's name."""
        error = self.exception()
        if error is not None:
            raise error
        return self.done()

    def wait_for_publish(self, timeout: float | None = None) -> None:
        """Paho's name; returns quietly when the time is over."""
        try:
            self.wait(timeout)
        except ReceiptTimeoutError:
            return


class Home:
    """An event loop in a thread, and the thread in which the handlers of its client do their work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.asking: set[asyncio.Task[Any] | None] = set()
        """Tasks that run what a case has asked for."""
        self.handlers_task: asyncio.Task[Any] | None = None
        self._works: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wishes: asyncio.Queue[Any] | None = None
        self._ending = False
        self._worker: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="face-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
            self._loop.run_until_complete(asyncio.sleep(0))  # whoever waits for what has just ended is told
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            self._works.put(None)

    def begin(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        """Begin a coroutine; from any thread but the loop's."""
        return asyncio.run_coroutine_threadsafe(make(), self._loop)

    def begin_now(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Future[Any], object]:
        """Begin a coroutine, and return once it has ended or awaits something; with its task."""
        begun: Future[asyncio.Task[Any]] = Future()
        outcome: Future[Any] = Future()

        def begin() -> None:
            task = self._loop.create_task(make())
            self.asking.add(task)
            task.add_done_callback(ended)
            self._loop.call_soon(look, task)  # after its first step, which create_task has put before

        def look(task: asyncio.Task[Any]) -> None:
            if task.done():
                ended(task)
            begun.set_result(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self.asking.discard(task)
            if not outcome.done():
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                if error is not None:
                    outcome.set_exception(error)
                else:
                    outcome.set_result(task.result())

        self._loop.call_soon_threadsafe(begin)
        return outcome, begun.result(_BOUND)

    @property
    def inside_handler(self) -> bool:
        """True on the thread in which a handler does its work."""
        return threading.current_thread() is self._worker

    def await_here(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Wait for a coroutine; inside a handler, have the handler's own coroutine await it."""
        if self.inside_handler and self._wishes is not None:
            granted: Future[None] = Future()
            self._loop.call_soon_threadsafe(self._wishes.put_nowait, (make, granted))
            granted.result(_BOUND)
        else:
            self.begin(make).result(_BOUND)

    async def in_handlers_thread(self, work: Callable[[], Any]) -> None:
        """Have a handler do its work, and grant meanwhile what it wishes to have awaited."""
        wishes: asyncio.Queue[Any] = asyncio.Queue()
        self._wishes = wishes
        raised: list[BaseException] = []
        ended = (None, None)

        def call() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - raised again in the coroutine
                raised.append(exc)
            try:
                self._loop.call_soon_threadsafe(wishes.put_nowait, ended)
            except RuntimeError:  # the handler has outlived the client
                return

        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="face-handlers", daemon=True)
            self._worker.start()
        self._works.put(call)
        while (wish := await wishes.get()) is not ended:
            make, granted = wish
            self.handlers_task = asyncio.current_task()
            self.asking.add(self.handlers_task)
            try:
                await make()
                granted.set_result(None)
            except Exception as exc:  # noqa: BLE001 - the handler's own, where it waits
                granted.set_exception(exc)
            finally:
                self.asking.discard(self.handlers_task)
        if self._ending:
            self._loop.call_soon(self._loop.stop)
        if raised:
            raise raised[0]

    def _work(self) -> None:
        while (work := self._works.get()) is not None:
            work()

    def end(self) -> None:
        """Stop the loop; inside a handler, once that has returned."""
        if self.inside_handler:
            self._ending = True
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_BOUND)
        if self._worker is not None:
            self._worker.join(_BOUND)
