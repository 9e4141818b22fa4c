"""AsyncioFace: an AsyncMqtt in the place of a JMqtt, so that the same cases try the asyncio face.

What a case calls runs as a coroutine in an event loop of its own; the case's thread waits for it. Handlers
are coroutines to the loop: what a case has them do runs in a thread, for it may block. With
``handlers="inline"`` they are functions, called in the loop, and what they ask for is asked of the client
underneath, as a function has to.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from juham_core.aio import AsyncMqtt
from juham_core.connection import State
from juham_core.dispatch import INLINE
from juham_core.errors import (
    InvalidArgumentError,
    NotSupportedError,
    OptionError,
    QueueFullError,
)
from juham_core.jmqtt import JMqtt
from juham_core.message import Receipt
from juham_core.testing.asyncio_home import BOUND, Home
from juham_core.testing.asyncio_receipts import FaceReceipt, TaskOutcome
from juham_core.testing.waiting import Quick, awaits_something

AT_THE_CALL: Final = (InvalidArgumentError, NotSupportedError, OptionError, QueueFullError, TypeError)
"""What JMqtt raises at the call and AsyncMqtt where it is awaited; anything else is in the receipt."""
EVENTS: Final = (
    *("on_connect", "on_disconnect", "on_message"),
    *("on_publish", "on_subscribe", "on_unsubscribe"),
)
_AT_A_TIME: Final = 64
"""Tasks that are begun in one turn of the loop."""
_DONE: Final[Future[None]] = Future()
_DONE.set_result(None)


class AsyncioFace:
    """Has the names of :class:`~juham_core.jmqtt.JMqtt`; what is not here is the client's underneath."""

    def __init__(self, client: JMqtt) -> None:
        self.client: Final = client
        self.mqtt: Final = AsyncMqtt(client)
        self._home: Home | None = None
        self._changing = threading.Lock()
        self._closing = False
        self._new = True
        self._holding = threading.Lock()  # guards the next two
        self._looping = False
        self._up = False
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
            self._leave()  # AsyncMqtt has failed to connect, or has given up
        with self._changing:
            home, taken = self._home, self._home is not None
            if home is None:
                self._closing = self._new = False
                self._opened = Future()
                home = self._home = Home()
                connecting = self._connecting = home.begin(self._connect)
        if taken:
            home.begin(self.mqtt.connect).result(BOUND)  # it is for AsyncMqtt to refuse
            return 0
        connecting.add_done_callback(self._end_opening)
        self._opened.result(BOUND)
        return 0

    async def _connect(self) -> None:
        try:
            await self.mqtt.connect()
        except BaseException:
            self._new = True
            raise
        with self._holding:
            self._up = True
            if not self._looping:
                self.client.loop_stop()

    def wait_until_connected(self, timeout: float | None = None) -> None:
        """Wait for the coroutine, which waits for the verdict."""
        connecting = self._connecting
        if connecting is None or (connecting.done() and connecting.exception() is None):
            self.client.wait_until_connected(timeout)
            return
        try:
            connecting.result(BOUND if timeout is None else timeout)
        except (TimeoutError, FutureTimeoutError):  # the client's own errors of that kind are no futures'
            if connecting.done():
                raise
            self.client.wait_until_connected(0)

    def is_connected(self) -> bool:
        """True between CONNACK and the end."""
        return self.mqtt.is_connected()

    def loop_start(self) -> int:
        """Let the handlers run, as AsyncMqtt does once connected; here they wait for whoever asks for it."""
        with self._holding:
            self._looping = True
            if self._up:
                self.client.loop_start()
        return 0

    def loop_stop(self) -> int:
        """Let no further handler run, by the client underneath."""
        with self._holding:
            self._looping = False
        home = self._home
        if home is not None and home.inside_handler:  # which is in the loop, but for what may block

            async def stop() -> None:
                self.client.loop_stop()

            home.await_here(stop)
        else:
            self.client.loop_stop()
        return 0

    def disconnect_from_server(self) -> None:
        """Await ``AsyncMqtt.close``, and end the loop."""
        self._leave()
        with self._holding:
            self._looping = False

    def _leave(self) -> None:
        with self._changing:
            home, closing = self._home, self._closing
            self._closing = home is not None
        if home is None or closing:
            self.client.disconnect_from_server()
            return
        home.await_here(self.mqtt.close)
        with self._holding:
            self._up = False
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
        if self._by_client:
            return self.client.publish(topic, data, **given)
        return self._ask(lambda: self.mqtt.publish(topic, data, **given))

    def subscribe(self, topic: Any, qos: int = 0, options: Any = None) -> Any:
        """Begin ``AsyncMqtt.subscribe``."""
        if self._by_client:
            return self.client.subscribe(topic, qos, options)
        return self._ask(lambda: self.mqtt.subscribe(topic, qos, options), here=True)

    def unsubscribe(self, topic: Any) -> Any:
        """Begin ``AsyncMqtt.unsubscribe``."""
        if self._by_client:
            return self.client.unsubscribe(topic)
        return self._ask(lambda: self.mqtt.unsubscribe(topic))

    @property
    def _by_client(self) -> bool:
        """AsyncMqtt leaves to the client underneath what comes before the connection, or from a function."""
        return self._new or (self._home is not None and self._home.is_here)

    def publish_many(self, messages: Iterable[tuple[str, Any]], qos: int) -> list[FaceReceipt]:
        """Publish in the loop, with a task each; at QoS 0 in one, which awaits one after the other."""
        home = self._home
        assert home is not None

        async def begin() -> list[FaceReceipt]:
            if not qos:
                return [FaceReceipt(await self.mqtt.publish(*each), _DONE) for each in messages]
            tasks = []
            for number, (topic, payload) in enumerate(messages):
                task = asyncio.get_running_loop().create_task(self.mqtt.publish(topic, payload, qos))
                home.asking.add(task)
                tasks.append(task)
                if number % _AT_A_TIME == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)  # each has had its first step
            home.asking.difference_update(tasks)
            receipts = []
            for task in tasks:
                receipt = self._receipts.pop(task, None)
                if task.done():
                    task.result()
                receipts.append(FaceReceipt(receipt or Receipt(), TaskOutcome(home, task)))
            return receipts

        return home.begin(begin).result(BOUND)  # type: ignore[no-any-return]  # of whatever was begun

    def have_awaited(self, make: Callable[[AsyncMqtt], Coroutine[Any, Any, Any]]) -> Any:
        """Have a coroutine of the case's own awaited in the client's loop; return what it returns."""
        home = self._home
        assert home is not None
        return home.begin(lambda: make(self.mqtt)).result()

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
            home = self._home
            task = home.current_task() if home is not None else None
            if home is not None and task in home.asking:
                self._receipts.setdefault(task, receipt)  # a subscribe that is given up asks for more
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
        handler = self.__wrapped__
        inline = self._face.client.options.handlers == INLINE and not awaits_something(handler)
        if inline or isinstance(getattr(handler, "__self__", handler), Quick):
            return handler(self._face, *args)
        home = self._face._home
        assert home is not None
        return home.in_handlers_thread(functools.partial(handler, self._face, *args))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaceHandler) and self.__wrapped__ == other.__wrapped__

    def __hash__(self) -> int:
        return hash(self.__wrapped__)
