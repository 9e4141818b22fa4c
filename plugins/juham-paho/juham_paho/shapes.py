"""The shapes of handlers: paho's two callback API versions, and a client that was told neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import ConnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from juham_core.handlers import Handler, positional_arguments, takes_five
from juham_core.wire.reasons import connack_to_v3

Five = Callable[[Any, Any, Any, Any, Any], None]


class EitherFlags(ConnectFlags):
    """CONNACK's flags for handlers that say ``flags.session_present`` or ``flags["session present"]``."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """The flag of the old name, or the item of the tuple."""
        return int(self.session_present) if key == "session present" else super().__getitem__(key)


def for_paho(event: str, handler: Handler, protocol: int) -> Handler:
    """What paho is to call, in the shape of version 2, for a handler of any shape."""
    if event == "on_message":
        return handler
    return _ADAPTERS[event](handler, protocol)


def for_jmqtt(
    event: str, handler: Handler | None, version: CallbackAPIVersion | None, protocol: int
) -> Handler | None:
    """What JMqtt is to call, which looks at the number of arguments, for a handler of this version.

    Without a version JMqtt finds out by itself, but for two shapes that only paho has had.
    """
    if handler is None or event == "on_message":
        return handler
    if version is CallbackAPIVersion.VERSION2:
        return _five(handler)
    if version is CallbackAPIVersion.VERSION1:
        return _version_1(event, handler, protocol)
    if event == "on_disconnect" and positional_arguments(handler) == 4:
        return _version_1(event, handler, MQTTv5)
    if event == "on_unsubscribe" and _wants_properties_first(handler):
        return _version_1(event, handler, MQTTv5)
    return handler


def _five(handler: Handler) -> Five:
    def five(client: Any, userdata: Any, first: Any, second: Any, third: Any) -> None:
        handler(client, userdata, first, second, third)

    return five


def _version_1(event: str, handler: Handler, protocol: int) -> Handler:
    if protocol != MQTTv5 or event == "on_publish":

        def old(*args: Any) -> None:
            handler(*args)

        return old
    if event == "on_disconnect":

        def disconnected(client: Any, userdata: Any, _flags: Any, code: Any, properties: Any) -> None:
            handler(client, userdata, code, properties)

        return disconnected
    if event == "on_unsubscribe":

        def unsubscribed(client: Any, userdata: Any, mid: int, codes: Any, properties: Any) -> None:
            handler(client, userdata, mid, properties, codes[0] if len(codes) == 1 else codes)

        return unsubscribed
    return _five(handler)


def _wants_properties_first(handler: Handler) -> bool:
    """True for the old shape ``(client, userdata, mid, properties, reason_codes)`` of on_unsubscribe."""
    if not takes_five(handler):
        return False
    import inspect  # noqa: PLC0415  # making a client does without

    return list(inspect.signature(handler).parameters)[3].startswith("prop")


def _on_connect(handler: Handler, protocol: int) -> Five:
    five = takes_five(handler)

    def connected(client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if five:
            handler(client, userdata, EitherFlags(*flags), code, properties)
        else:
            number = code.value if protocol == MQTTv5 else connack_to_v3(code.value)
            handler(client, userdata, {"session present": int(flags.session_present)}, number)

    return connected


def _on_disconnect(handler: Handler, protocol: int) -> Five:
    count = positional_arguments(handler) or 3

    def disconnected(client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if count >= 5:
            handler(client, userdata, flags, code, properties)
        elif count == 4:
            handler(client, userdata, code, properties)
        elif protocol == MQTTv5 or code.value == 0:
            handler(client, userdata, code.value)
        else:
            handler(client, userdata, MQTTErrorCode.MQTT_ERR_CONN_LOST)

    return disconnected


def _on_publish(handler: Handler, _protocol: int) -> Five:
    if takes_five(handler):
        return handler

    def published(client: Any, userdata: Any, mid: int, _code: Any, _properties: Any) -> None:
        handler(client, userdata, mid)

    return published


def _on_subscribe(handler: Handler, _protocol: int) -> Five:
    if takes_five(handler):
        return handler

    def subscribed(client: Any, userdata: Any, mid: int, codes: Any, _properties: Any) -> None:
        handler(client, userdata, mid, tuple(code.value for code in codes))

    return subscribed


def _on_unsubscribe(handler: Handler, _protocol: int) -> Five:
    if _wants_properties_first(handler):
        return _version_1("on_unsubscribe", handler, MQTTv5)
    if takes_five(handler):
        return handler

    def unsubscribed(client: Any, userdata: Any, mid: int, _codes: Any, _properties: Any) -> None:
        handler(client, userdata, mid)

    return unsubscribed


_ADAPTERS: dict[str, Callable[[Handler, int], Five]] = {
    "on_connect": _on_connect,
    "on_disconnect": _on_disconnect,
    "on_publish": _on_publish,
    "on_subscribe": _on_subscribe,
    "on_unsubscribe": _on_unsubscribe,
}
