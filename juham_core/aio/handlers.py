"""Handlers set through the asyncio face, which they get as their client; they may be coroutine functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from juham_core.handlers import Handler

if TYPE_CHECKING:
    from juham_core.aio.client import AsyncMqtt


class AsyncHandler:
    """A handler whose first argument is the asyncio face; equal to another one of the same function."""

    def __init__(self, mqtt: AsyncMqtt, handler: Handler) -> None:
        if not callable(handler):
            raise TypeError(f"a handler is a function or a coroutine function, not {type(handler).__name__}")
        self.__wrapped__ = handler  # how inspect finds out which shape it has
        self._mqtt = mqtt

    def __call__(self, _client: object, *args: Any) -> Any:
        return self.__wrapped__(self._mqtt, *args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncHandler) and self.__wrapped__ == other.__wrapped__

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class EventHandler:
    """``mqtt.on_message = handler``, and what is set when read."""

    def __init__(self, event: str) -> None:
        self._event = event
        self.__doc__ = f"The handler that :meth:`juham_core.jmqtt.JMqtt.{event}` tells of."

    @overload
    def __get__(self, mqtt: None, owner: type) -> EventHandler: ...
    @overload
    def __get__(self, mqtt: AsyncMqtt, owner: type) -> Handler | None: ...
    def __get__(self, mqtt: AsyncMqtt | None, owner: type) -> EventHandler | Handler | None:
        if mqtt is None:
            return self
        handler = mqtt.client._event_handlers.get(self._event)
        return handler.__wrapped__ if isinstance(handler, AsyncHandler) else handler

    def __set__(self, mqtt: AsyncMqtt, handler: Handler | None) -> None:
        mqtt.client._set_handler(self._event, None if handler is None else AsyncHandler(mqtt, handler))
