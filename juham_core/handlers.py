"""The application's handlers: where they are kept, and which of paho's two shapes each one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from juham_core.wire.properties import Properties
from juham_core.wire.reasons import ReasonCode

Handler = Callable[..., Any]
OldT = TypeVar("OldT")


class ConnectFlags(dict[str, Any]):
    """What CONNACK says beside its code: ``flags["session present"]`` and ``flags.session_present``."""

    def __init__(self, session_present: bool) -> None:
        super().__init__({"session present": int(session_present)})
        self.session_present = session_present


class DisconnectFlags(dict[str, Any]):
    """How a connection ended: ``flags.is_disconnect_packet_from_server``."""

    def __init__(self, from_server: bool) -> None:
        super().__init__({"is_disconnect_packet_from_server": from_server})
        self.is_disconnect_packet_from_server = from_server


def positional_arguments(handler: Handler) -> int | None:
    """How many positional arguments a handler takes; None where it takes any number or cannot be asked."""
    import inspect  # noqa: PLC0415  # making a client does without

    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


def takes_five(handler: Handler) -> bool:
    """True if a handler asks for the five arguments of paho's callback API version 2."""
    count = positional_arguments(handler)
    return count is not None and count >= 5


class HandlerSlot(Generic[OldT]):
    """A handler as ``client.on_message = f`` and as ``client.on_message(f)``.

    The class attribute is the documented method; on an instance it is a :class:`BoundSlot`.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.name = method.__name__
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: object, owner: type) -> BoundSlot: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self.method
        return BoundSlot(client, self.name)

    def __set__(self, client: Any, handler: Handler | None) -> None:
        client._set_handler(self.name, handler)


class BoundSlot:
    """One client's handler for one event: call it with a function to set it; true if one is set."""

    __slots__ = ("_client", "_name")

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    @property
    def handler(self) -> Handler | None:
        """The function that is set, or None."""
        handler: Handler | None = self._client._get_handler(self._name)
        return handler

    def __call__(self, mth: Handler | None) -> Handler | None:
        """Set the handler (None: no handler) and return it, so that it serves as a decorator too."""
        self._client._set_handler(self._name, mth)
        return mth

    def __eq__(self, other: object) -> bool:
        return other is self or self.handler == other

    def __hash__(self) -> int:
        return hash(self._name)

    def __bool__(self) -> bool:
        return self.handler is not None

    def __repr__(self) -> str:
        return f"<{self._name}: {self.handler!r}>"


def call_on_connect(
    handler: Handler,
    client: object,
    userdata: Any,
    session_present: bool,
    reason_code: int,
    old_code: int,
    properties: Properties,
) -> Any:
    """Return ``handler(client, userdata, flags, rc)``, or the five-argument shape if the handler has it.

    ``old_code`` is the number the four-argument shape gets: the CONNACK return code of the protocol in use.
    """
    flags = ConnectFlags(session_present)
    if takes_five(handler):
        return handler(client, userdata, flags, ReasonCode(reason_code), properties)
    return handler(client, userdata, flags, old_code)


def call_on_disconnect(
    handler: Handler,
    client: object,
    userdata: Any,
    from_server: bool,
    reason_code: int,
    properties: Properties,
) -> Any:
    """Return ``handler(client, userdata, rc)``, or the five-argument shape if the handler has it.

    ``rc`` is 0 for a disconnect that was asked for, as both shapes have it.
    """
    if takes_five(handler):
        flags = DisconnectFlags(from_server)
        return handler(client, userdata, flags, ReasonCode(reason_code), properties)
    return handler(client, userdata, reason_code)
