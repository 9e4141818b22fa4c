"""What lets one object be a paho client and a JMqtt: attributes and methods that are one's or the other's."""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from juham_core.errors import NotSupportedError
from juham_core.handlers import Handler
from juham_core.jmqtt import JMqtt
from juham_paho import shapes
from juham_paho.library import PahoClient
from juham_paho.properties import as_core
from juham_paho.settings import MOST_INFLIGHT, MOST_QUEUED
from juham_paho.use import Use, become_paho, connecting_as_paho

if TYPE_CHECKING:
    from juham_paho.jpaho2 import JPaho2


class ClassDefault:
    """A plain value on the class, an attribute of paho's kind on an instance."""

    def __init__(self, value: Any, attribute: property) -> None:
        self.value = value
        self.attribute = attribute

    def __get__(self, client: Any, owner: type) -> Any:
        return self.value if client is None else self.attribute.__get__(client, owner)

    def __set__(self, client: Any, value: Any) -> None:
        self.attribute.__set__(client, value)


class Twofold(ABCMeta):
    """Lets a :class:`ClassDefault` be assigned on the class, as its configuration does."""

    def __setattr__(cls, name: str, value: Any) -> None:
        held = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
        if isinstance(held, ClassDefault) and not isinstance(value, ClassDefault):
            value = ClassDefault(value, held.attribute)
        super().__setattr__(name, value)


def either(name: str) -> Callable[..., Any]:
    """A method of both: paho's where the client is used as paho's, else JMqtt's."""
    paho = getattr(PahoClient, name)
    ours = getattr(JMqtt, name)

    @functools.wraps(paho)
    def method(self: JPaho2, *args: Any, **named: Any) -> Any:
        if self._use is Use.PAHO:
            return paho(self, *args, **named)
        args = tuple(as_core(argument) for argument in args)
        return ours(self, *args, **{key: as_core(value) for key, value in named.items()})

    return method


def bound(name: str, most: int) -> Callable[..., Any]:
    """A method of both that sets a bound, where paho's 0 means none."""
    method = either(name)

    @functools.wraps(method)
    def set_bound(self: JPaho2, *args: Any, **named: Any) -> Any:
        if self._use is not Use.PAHO:
            args = tuple(argument or most for argument in args)
            named = {key: value or most for key, value in named.items()}
        return method(self, *args, **named)

    return set_bound


def connecting(name: str) -> Callable[..., Any]:
    """A method by which an application takes the connection into its own hands."""
    paho = getattr(PahoClient, name)

    @functools.wraps(paho)
    def method(self: JPaho2, *args: Any, **named: Any) -> Any:
        if self._use is Use.JUHAM:
            raise NotSupportedError(
                f"{name}() is for those who use paho's client by itself; this one was connected with "
                "connect_to_server(), and reconnects by itself"
            )
        with connecting_as_paho(self):
            return paho(self, *args, **named)

    return method


def looping(name: str) -> Callable[..., Any]:
    """A part of the external event loop; paho's own thread calls these too."""
    paho = getattr(PahoClient, name)

    @functools.wraps(paho)
    def method(self: JPaho2, *args: Any, **named: Any) -> Any:
        if self._use is Use.UNDECIDED:
            become_paho(self)
        return paho(self, *args, **named)

    return method


def event(name: str) -> property:
    """A handler: an application reads what it has set, paho what is to be called."""
    paho: property = getattr(PahoClient, name)

    def get(self: JPaho2) -> Any:
        # paho reads with its mutex held, and no application does.
        if self._callback_mutex._is_owned():  # type: ignore[attr-defined]  # what threading.Condition asks it
            return _to_be_called(self, name)
        return paho.__get__(self)

    def put(self: JPaho2, handler: Any) -> None:
        paho.__set__(self, handler)
        if handler is None:
            self._event_handlers.pop(name, None)
        else:
            self._event_handlers[name] = handler

    return property(get, put, doc=paho.__doc__)


def _to_be_called(client: JPaho2, event: str) -> Handler | None:
    """What paho is to call for an event."""
    if client._use is Use.JUHAM:
        return client._driver.callbacks[event]
    handler = client._event_handlers.get(event)
    if handler is not None and client._explicit is None:
        handler = shapes.for_paho(event, handler, client._protocol)
    if client._handover is not None:
        if client._handover.done:
            client._handover = None
        else:
            handler = client._handover.wrap(event, handler)
    return handler


def bounding(name: str, option: str, unbounded: int) -> property:
    """A bound of paho's that JMqtt keeps instead; 0 where there is none."""
    paho: property = getattr(PahoClient, name)

    def get(self: JPaho2) -> Any:
        if self._use is Use.JUHAM and not self._connection_closed():
            return getattr(self.options, option) % unbounded
        return paho.__get__(self)

    return property(get, paho.fset, doc=paho.__doc__)


def complete(cls: type[JPaho2]) -> None:
    """Set those methods and handlers of paho's for which one of the rules above is all there is to say."""
    for name in (
        *("subscribe", "unsubscribe", "ack", "is_connected", "disconnect", "loop_start", "loop_stop"),
        *("username_pw_set", "will_set", "will_clear", "tls_set", "tls_set_context", "tls_insecure_set"),
        *("ws_set_options", "manual_ack_set", "reconnect_delay_set"),
    ):
        setattr(cls, name, either(name))
    for name, most in (
        ("max_inflight_messages_set", MOST_INFLIGHT),
        ("max_queued_messages_set", MOST_QUEUED),
    ):
        setattr(cls, name, bound(name, most))
    for name in ("connect_async", "connect_srv", "reconnect", "loop"):
        setattr(cls, name, connecting(name))
    for name in ("loop_read", "loop_write", "loop_misc"):
        setattr(cls, name, looping(name))
    for name in ("on_connect", "on_disconnect", "on_message", "on_publish", "on_subscribe", "on_unsubscribe"):
        setattr(cls, name, event(name))
