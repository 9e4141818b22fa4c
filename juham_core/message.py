"""What travels and what is promised: the message, and the receipts that publish and subscribe return."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from juham_core.errors import (
    JuhamError,
    NotConnectedError,
    PayloadError,
    QosError,
    ReceiptTimeoutError,
    SubscribeError,
)
from juham_core.turn import Turn
from juham_core.wire.properties import Properties
from juham_core.wire.reasons import UNSPECIFIED_ERROR, ReasonCode
from juham_core.wire.terms import MAX_PAYLOAD

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("juham.message")

RC_SUCCESS: Final = 0
RC_NO_CONN: Final = 4
"""paho's number for "not connected", which code written for paho compares with."""


def encode_payload(payload: object) -> bytes:
    """The bytes of a payload: str as UTF-8, int and float as their decimal text, None as nothing.

    Raises :class:`~juham_core.errors.PayloadError` for any other type and past 268,435,455 bytes.
    """
    if isinstance(payload, bytes):
        data = payload
    elif payload is None:
        data = b""
    elif isinstance(payload, str):
        try:
            data = payload.encode()
        except UnicodeEncodeError as exc:
            raise PayloadError(f"the payload is a str that UTF-8 cannot carry: {exc.reason}") from exc
    elif isinstance(payload, bytearray | memoryview):
        if len(payload) > MAX_PAYLOAD:  # before copying what cannot be sent
            raise _too_large(len(payload))
        data = bytes(payload)
    elif isinstance(payload, int | float):
        try:
            data = str(payload).encode()
        except ValueError as exc:  # Python writes no int of so many digits
            raise PayloadError(f"the payload is an int that has no decimal text: {exc}") from exc
    else:
        raise PayloadError(
            "a payload is str, bytes, bytearray, memoryview, int, float or None, "
            f"not {type(payload).__name__}; json.dumps() makes a str of most other things"
        )
    if len(data) > MAX_PAYLOAD:
        raise _too_large(len(data))
    return data


def _too_large(size: int) -> PayloadError:
    return PayloadError(f"a payload has at most {MAX_PAYLOAD:,} bytes; this one has {size:,}")


def check_qos(qos: object) -> int:
    """Return the quality of service if it is 0, 1 or 2; raise :class:`~juham_core.errors.QosError` if not."""
    if isinstance(qos, int) and 0 <= qos <= 2:
        return int(qos)
    raise QosError(f"a quality of service is 0, 1 or 2, not {qos!r}")


class MqttMsg:
    """A message: ``topic`` (str), ``payload`` (bytes), ``qos``, ``retain``, ``dup``, ``mid``, ``properties``.

    Of a received message ``dup`` is the flag DUP, by which the broker says that it may have sent the message
    before (section 3.3.1.1), and ``mid`` the packet identifier, 0 at QoS 0 (section 2.2.1), if the client's
    capabilities have ``dup_and_mid``. Without it ``dup`` is always False, whatever the broker has said, and
    ``mid`` above QoS 0 a number of the client's own, good for :meth:`~juham_core.jmqtt.JMqtt.ack`.
    ``properties`` is empty under MQTT 3.1.1.
    """

    __slots__ = ("_properties", "dup", "mid", "payload", "qos", "retain", "topic")

    def __init__(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        mid: int = 0,
        properties: Properties | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.mid = mid
        self._properties = properties

    @property
    def properties(self) -> Properties:
        """The MQTT 5 properties of the message (section 3.3.2.3)."""
        if self._properties is None:
            self._properties = Properties()
        return self._properties

    @properties.setter
    def properties(self, properties: Properties | None) -> None:
        self._properties = properties

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MqttMsg):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]  # it can be changed, so it is no key

    def __repr__(self) -> str:
        payload = self.payload if len(self.payload) <= 40 else self.payload[:37] + b"..."
        flags = "".join(f", {flag}" for flag in ("retain", "dup") if getattr(self, flag))
        return f"MqttMsg({self.topic!r}, {payload!r}, qos={self.qos}{flags})"


_COMPARED: Final = ("topic", "payload", "qos", "retain", "dup", "mid", "properties")


ReceiptT = TypeVar("ReceiptT", bound="Receipt")
_WAITING: Final = threading.Lock()
"""Guards the making of any receipt's list of waiters: waiting is rare and slow anyway."""


class Receipt:
    """The promise that a request makes: it is done once the broker has answered, and no sooner.

    ``rc`` is 0 if the request was accepted, 4 if it failed at once for want of a connection; ``mid`` numbers
    the requests of one client. Iterable as ``(rc, mid)``. May be used from any thread, handlers included.
    """

    __slots__ = ("_callbacks", "_done", "_error", "_turn", "_waiters", "mid", "rc")

    def __init__(self, mid: int = 0, turn: Turn | None = None) -> None:
        self._turn = turn
        self.rc: int = RC_SUCCESS
        self.mid = mid
        self._done = False
        self._error: JuhamError | None = None
        # Most receipts are never waited for: what a waiter needs is made when one comes.
        self._waiters: list[threading.Lock] | None = None
        self._callbacks: list[Callable[[Any], None]] | None = None

    def done(self) -> bool:
        """True once the request has succeeded or failed."""
        return self._done

    def exception(self) -> JuhamError | None:
        """Why the request failed; None while it is under way and after it succeeded."""
        return self._error

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the request is done, for at most ``timeout`` seconds (None: for ever); return self.

        Raises what the request failed with, or :class:`~juham_core.errors.ReceiptTimeoutError`. Not to be
        called from a hook: hooks run on the thread that would bring the answer. Where handlers do so as well
        (``handlers="inline"``), a receipt that is not done raises
        :class:`~juham_core.errors.DeadlockError` at once in a handler of its client.
        """
        if not self._wait(timeout):
            raise ReceiptTimeoutError(
                f"no answer from the broker to request {self.mid} within {timeout} s; "
                "it is still under way and may be waited for again"
            )
        if self._error is not None:
            raise self._error
        return self

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(receipt)`` when done, at once if it is: on whichever thread brings the answer.

        What it raises is logged.
        """
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)
        if self._done:
            self._run_callbacks()

    def _wait(self, timeout: float | None) -> bool:
        if self._done:
            return True
        if self._turn is not None and (timeout is None or timeout > 0):
            self._turn.check_may_wait(f"request {self.mid}")
        waiter = threading.Lock()
        waiter.acquire()  # released by whoever resolves the receipt
        with _WAITING:
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
        # Resolving sets _done and then goes through the waiters; waiting enters itself and then looks at
        # _done. One of the two always sees the other, so resolving, the frequent one, takes no lock.
        try:
            if not self._done:
                longest = -1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX))
                waiter.acquire(timeout=longest)
        finally:
            if not self._done:  # who waits again and again must not leave more and more behind
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
        return self._done

    def _resolve(self, error: JuhamError | None = None) -> bool:
        """Mark as done; False if it already was."""
        if self._done:
            return False
        self._error = error
        self._done = True
        if self._waiters or self._callbacks:
            self._tell()
        return True

    def _tell(self) -> None:
        """Wake those who wait, and call those who want to be called, once it is done."""
        waiters = self._waiters
        while waiters:
            try:
                waiter = waiters.pop()
            except IndexError:  # the last one has just given up
                break
            waiter.release()
        if self._callbacks:
            self._run_callbacks()

    def _run_callbacks(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks.pop(0)
            except IndexError:  # another thread took the last one
                return
            try:
                if self._turn is None:
                    callback(self)
                else:
                    self._turn.tell(callback, self)
            except Exception:  # the thread is the library's: it has other receipts to resolve
                log.exception("a callback of %r failed", self)

    def __iter__(self) -> Iterator[int]:
        yield self.rc
        yield self.mid

    def __len__(self) -> int:
        return 2

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> int:
        return (self.rc, self.mid)[index]

    def __repr__(self) -> str:
        state = "under way" if not self._done else f"failed: {self._error}" if self._error else "done"
        return f"<{type(self).__name__} {self.mid}: {state}>"


class PublishReceipt(Receipt):
    """The receipt of a publish.

    At QoS 1 it is done on PUBACK, at QoS 2 on PUBCOMP (MQTT 5 section 4.3); at QoS 0, where no broker
    answers, once the client library has taken the message. ``wait`` raises
    :class:`~juham_core.errors.PublishError` for a negative reason code and
    :class:`~juham_core.errors.NotConnectedError` if the client is closed first.
    """

    __slots__ = ("_message", "reason_code", "sent_at")

    def __init__(self, mid: int = 0, message: MqttMsg | None = None, turn: Turn | None = None) -> None:
        # One for each message, so the attributes of the base class are set here, without another call.
        self._turn = turn
        self.rc = RC_SUCCESS
        self.mid = mid
        self._done = False
        self._error = None
        self._waiters = None
        self._callbacks = None
        self._message = message
        self.reason_code: ReasonCode | None = None
        self.sent_at = 0.0

    def is_published(self) -> bool:
        """Paho's name: True once done. Raises what the publish failed with."""
        if self._error is not None:
            raise self._error
        return self._done

    def wait_for_publish(self, timeout: float | None = None) -> None:
        """Paho's name: like :meth:`wait`, but it returns quietly when the time is over."""
        self._wait(timeout)
        if self._error is not None:
            raise self._error


def succeed(receipts: Sequence[PublishReceipt], reason_code: ReasonCode) -> None:
    """Mark publishes as done, and only then tell those who wait: they find all done that came together."""
    told = []
    for receipt in receipts:
        receipt.reason_code = reason_code
        receipt._message = None  # a receipt that is kept must not keep the payload
        if not receipt._done:
            receipt._done = True
            if receipt._waiters or receipt._callbacks:
                told.append(receipt)
    for receipt in told:
        receipt._tell()


class SubscribeReceipt(Receipt):
    """The receipt of a subscribe: done on SUBACK (MQTT 5 section 3.9).

    ``granted`` maps each topic filter to the QoS the broker granted. ``wait`` raises
    :class:`~juham_core.errors.SubscribeError`, naming the filters, if the broker refused any.
    """

    __slots__ = ("_open", "granted", "topic_filters")

    def __init__(self, mid: int, topic_filters: Sequence[str], turn: Turn | None = None) -> None:
        super().__init__(mid, turn)
        self.topic_filters = tuple(topic_filters)
        self.granted: dict[str, int] = {}
        self._open = dict.fromkeys(topic_filters, -1)

    def _answer(self, codes: dict[str, int], why: str = "") -> bool:
        """Take the broker's code for some filters; True if that completed the receipt."""
        for topic_filter in self._open.keys() & codes.keys():
            self._open[topic_filter] = codes[topic_filter]
        if -1 in self._open.values():
            return False
        refused = {name: code for name, code in self._open.items() if code >= UNSPECIFIED_ERROR}
        self.granted = {name: code for name, code in self._open.items() if code < UNSPECIFIED_ERROR}
        if not refused:
            return self._resolve()
        listed = ", ".join(f"{name!r} ({ReasonCode(code)})" for name, code in refused.items())
        text = f"the broker refused to subscribe to {listed}" + (f": {why}" if why else "")
        return self._resolve(SubscribeError(text, refused=refused))

    def _unanswered(self) -> list[str]:
        """The filters of which the broker has said nothing yet."""
        return [name for name, code in self._open.items() if code == -1]

    def _codes(self, last: list[int]) -> list[int]:
        """The codes of all filters, in order, once the ``last`` of them have come; else an empty list."""
        if len(last) == len(self.topic_filters):
            return last
        codes = [self._open[topic_filter] for topic_filter in self.topic_filters]
        return [] if -1 in codes else codes


class UnsubscribeReceipt(Receipt):
    """The receipt of an unsubscribe: done on UNSUBACK (MQTT 5 section 3.11).

    ``wait`` raises :class:`~juham_core.errors.SubscribeError`, naming the filters, if the broker refused any.
    """

    __slots__ = ("_open", "topic_filters")

    def __init__(self, mid: int, topic_filters: Sequence[str], turn: Turn | None = None) -> None:
        super().__init__(mid, turn)
        self.topic_filters = tuple(topic_filters)
        self._open = dict.fromkeys(topic_filters, -1)

    def _answer(self, codes: dict[str, int]) -> bool:
        """Take the broker's code for some filters; True if that completed the receipt."""
        for topic_filter in self._open.keys() & codes.keys():
            self._open[topic_filter] = codes[topic_filter]
        if -1 in self._open.values():
            return False
        refused = {name: code for name, code in self._open.items() if code >= UNSPECIFIED_ERROR}
        if not refused:
            return self._resolve()
        listed = ", ".join(f"{name!r} ({ReasonCode(code)})" for name, code in refused.items())
        return self._resolve(
            SubscribeError(f"the broker refused to unsubscribe from {listed}", refused=refused)
        )

    def _codes(self) -> list[int]:
        """The codes of all filters, in order."""
        return [self._open[topic_filter] for topic_filter in self.topic_filters]


def closed_error(what: str) -> NotConnectedError:
    """The failure of a request whose client was closed before the broker answered."""
    return NotConnectedError(f"the client was closed before the broker answered {what}")
