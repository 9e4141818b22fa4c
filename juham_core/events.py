"""The application's handlers: one for each event, and any number for topic filters."""

from __future__ import annotations

from collections.abc import Callable

from juham_core.handlers import Handler, HandlerSlot
from juham_core.primitives import Backend
from juham_core.topics import check_filter


class Events(Backend):
    """Setting and removing handlers; see :class:`~juham_core.jmqtt.JMqtt` for how they are run.

    ``client.on_message = f`` and ``client.on_message(f)`` do the same.
    """

    def on_connect(self, mth: Handler | None) -> Handler | None:
        """Set the handler of the broker's verdict on a connection: ``mth(client, userdata, flags, rc)``.

        ``rc`` is 0 if it accepts, and else the CONNACK return code of MQTT 3.1.1 (section 3.2.2.3) or the
        reason code of MQTT 5 (section 3.2.2.2). A handler with five arguments gets ``(client, userdata,
        flags, reason_code, properties)``. Subscriptions are back before it is called. ``client.on_connect =
        mth`` does the same.
        """
        return self._set_handler("on_connect", mth)

    def on_disconnect(self, mth: Handler | None) -> Handler | None:
        """Set the handler of a connection's end: ``mth(client, userdata, rc)``; ``rc`` 0 if it was asked for.

        A handler with five arguments gets ``(client, userdata, flags, reason_code, properties)``.
        """
        return self._set_handler("on_disconnect", mth)

    def on_message(self, mth: Handler | None) -> Handler | None:
        """Set the handler of messages that no :meth:`message_callback_add` matches.

        It is called as ``mth(client, userdata, message)`` with a :class:`~juham_core.message.MqttMsg`.
        """
        return self._set_handler("on_message", mth)

    def on_publish(self, mth: Handler | None) -> Handler | None:
        """Set the handler of finished publishes: ``mth(client, userdata, mid)``.

        A handler with five arguments gets ``(client, userdata, mid, reason_code, properties)``.
        """
        return self._set_handler("on_publish", mth)

    def on_subscribe(self, mth: Handler | None) -> Handler | None:
        """Set the handler of SUBACK: ``mth(client, userdata, mid, granted_qos)``.

        A handler with five arguments gets ``(client, userdata, mid, reason_codes, properties)``.
        """
        return self._set_handler("on_subscribe", mth)

    def on_unsubscribe(self, mth: Handler | None) -> Handler | None:
        """Set the handler of UNSUBACK: ``mth(client, userdata, mid)``.

        A handler with five arguments gets ``(client, userdata, mid, reason_codes, properties)``.
        """
        return self._set_handler("on_unsubscribe", mth)

    def message_callback_add(self, sub: str, callback: Handler) -> None:
        """Call ``callback(client, userdata, message)`` for each message that matches the topic filter.

        Such messages do not go to ``on_message``. A filter may have several callbacks; adding the same one
        again changes nothing. Raises TopicError. This routes; :meth:`subscribe` asks the broker.
        """
        self._delivery.router.add(sub, callback)

    def message_callback_remove(self, sub: str, callback: Handler | None = None) -> None:
        """Remove one callback of a topic filter, or all of them; unknown ones do no harm."""
        self._delivery.router.remove(sub, callback)

    def topic_callback(self, sub: str) -> Callable[[Handler], Handler]:
        """Make a decorator that calls ``message_callback_add`` for the topic filter. Raises TopicError."""
        check_filter(sub)

        def add(callback: Handler) -> Handler:
            self.message_callback_add(sub, callback)
            return callback

        return add

    def _set_handler(self, event: str, handler: Handler | None) -> Handler | None:
        if handler is None:
            self._event_handlers.pop(event, None)
        elif callable(handler):
            self._event_handlers[event] = handler
        else:
            raise TypeError(f"{event} takes a function, not {type(handler).__name__}")
        return handler


for _event in ("on_connect", "on_disconnect", "on_message", "on_publish", "on_subscribe", "on_unsubscribe"):
    # Each stays the documented method when looked up on the class, and takes assignment on a client.
    setattr(Events, _event, HandlerSlot(vars(Events)[_event]))
