"""The two shapes of handlers, and how they are set."""

import functools

import pytest

from juham_core.handlers import (
    BoundSlot,
    ConnectFlags,
    DisconnectFlags,
    HandlerSlot,
    call_on_connect,
    call_on_disconnect,
    positional_arguments,
    takes_five,
)
from juham_core.wire import Properties, ReasonCode


class Methods:
    def three(self, client, userdata, message): ...

    def five(self, client, userdata, flags, reason_code, properties): ...


class Callable5:
    def __call__(self, client, userdata, flags, reason_code, properties): ...


@pytest.mark.parametrize(
    ("handler", "count"),
    [
        (lambda c, u, m: None, 3),
        (lambda c, u, f, r, p: None, 5),
        (lambda c, u, f, rc, extra=None: None, 5),
        (lambda c, u, f, rc, *, key=None: None, 4),
        (lambda *args: None, None),
        (Methods().three, 3),
        (Methods().five, 5),
        (Callable5(), 5),
        (functools.partial(lambda first, c, u, f, r, p: None, "bound"), 5),
        (functools.partial(lambda c, u, f, r, p, last: None, last=1), 5),
        (print, None),
    ],
)
def test_how_many_arguments_a_handler_takes(handler, count):
    assert positional_arguments(handler) == count
    assert takes_five(handler) == (count == 5)


def recorded(calls, arguments):
    if arguments == 5:
        return lambda c, u, f, r, p: calls.append((c, u, f, r, p))
    return lambda *args: calls.append(args)


def test_on_connect_gets_the_old_code_or_the_reason():
    calls = []
    arguments = ("client", "userdata", True, 0x87, 5, Properties())
    call_on_connect(recorded(calls, 4), *arguments)
    call_on_connect(recorded(calls, 5), *arguments)
    (*_, old_flags, old_code), (*_, flags, reason, _) = calls
    assert (old_flags["session present"], old_code) == (1, 5)
    assert flags.session_present
    assert isinstance(reason, ReasonCode)
    assert reason == 0x87
    assert reason.is_failure


def test_on_disconnect_in_both_shapes():
    calls = []
    arguments = ("client", "userdata", True, 0x8E, Properties())
    call_on_disconnect(recorded(calls, 3), *arguments)
    call_on_disconnect(recorded(calls, 5), *arguments)
    (old, (*_, flags, reason, _)) = calls
    assert old == ("client", "userdata", 0x8E)
    assert flags.is_disconnect_packet_from_server
    assert isinstance(reason, ReasonCode)


def test_flags_are_dictionaries_with_attributes():
    assert ConnectFlags(False) == {"session present": 0}
    assert not ConnectFlags(False).session_present
    assert not DisconnectFlags(False).is_disconnect_packet_from_server


class Client:
    def __init__(self):
        self.handlers = {}

    def _set_handler(self, name, handler):
        self.handlers[name] = handler

    def _get_handler(self, name):
        return self.handlers.get(name)

    def on_message(self, mth):
        """Set it."""


Client.on_message = HandlerSlot(Client.__dict__["on_message"])


def test_a_slot_is_a_method_on_the_class_and_takes_assignment_on_an_object():
    client = Client()
    assert Client.on_message.__doc__ == "Set it."
    assert isinstance(client.on_message, BoundSlot)
    assert not client.on_message
    assert client.on_message != print
    client.on_message = print
    assert client.on_message
    assert client.on_message == print
    assert client.on_message.handler is print
    assert "print" in repr(client.on_message)

    @client.on_message
    def decorated(client, userdata, message): ...

    assert client.on_message == decorated
    assert hash(client.on_message) == hash(client.on_message)
