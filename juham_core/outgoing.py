"""What goes out, in order: the bounded queue of publishes, and the in-flight window.

Every backend shares this. Requests are handed to the library by one thread at a time, yet nothing here
makes a thread wait: whoever finds the hand-over under way leaves, and whoever does it looks again before it
leaves. So a library's network thread may report an acknowledgement while it holds locks of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from juham_core.asking import Asker, Asking
from juham_core.awaiting import Awaiting, Request
from juham_core.errors import JuhamError, NotConnectedError, QueueFullError, interrupted, translated
from juham_core.locks import Condition, TryLock
from juham_core.message import MqttMsg, PublishReceipt
from juham_core.options import OutboxBounds

if TYPE_CHECKING:
    from juham_core.limits import BrokerLimits


class Library(Asker, Protocol):
    """The primitives of a backend that this module calls; see :class:`~juham_core.jmqtt.JMqtt`."""

    _wanted_id: int
    _sent_before: bool

    def _publish(self, message: MqttMsg) -> int: ...
    def _publish_many(self, messages: list[MqttMsg]) -> Sequence[int]: ...
    def _push(self) -> None: ...
    def _pubrel(self, key: int, message: MqttMsg) -> None: ...


class Outgoing:
    """The queue and the window of one client."""

    def __init__(
        self,
        library: Library,
        acknowledged: Callable[[list[PublishReceipt], Any], None],
        subscribed: Callable[[Request, Any], None],
        together: bool = False,
    ) -> None:
        """``acknowledged`` is called with receipts and the broker's answer to all of them.

        ``together``: the library takes several publishes at once, by ``_publish_many``.
        """
        self.max_queued = 0
        self.window = 20
        self.limits: BrokerLimits | None = None
        """Of the broker that we are connected to."""
        self.resent = 0
        """Publishes that were handed over again, or that the library sent again."""
        self.bytes_sent = 0
        """Payload bytes handed to the library."""
        self.loop_thread: int | None = None
        """The thread of the event loop that the client lives in: nothing may wait for a disk there."""
        self.gathering: int | None = None
        """A thread that offers now and will call :meth:`hand_over` later, with what it offers meanwhile."""
        self.gathered = False
        """True while publishes wait for that call, and for nothing else."""
        self.bounds: OutboxBounds | None = None
        """Of the outbox; None: publishes wait in memory."""
        self.over = False
        """True once the connection has ended, until the next attempt: nothing more is acknowledged."""
        self._library = library
        self._acknowledged = acknowledged
        self._asking = Asking(library, subscribed)
        self._controls = self._asking.waiting
        self.subscribed = self._asking.subscribed
        self.unsubscribed = self._asking.unsubscribed
        self._together = together
        self._queue: deque[PublishReceipt] = deque()
        self._in_flight: Awaiting[PublishReceipt] = Awaiting()
        self._up = False
        self._struck = False
        self._handing_over = TryLock()
        self._changed = Condition()
        self._watchers = 0

    @property
    def queued(self) -> int:
        """Publishes accepted and not yet handed to the library."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Publishes handed to the library and not yet acknowledged."""
        return len(self._in_flight)

    @property
    def stored(self) -> tuple[int, int]:
        """Messages and bytes in the outbox."""
        return 0, 0

    def open(self) -> frozenset[str]:
        """Be ready to send; return the capabilities that what waits from an earlier process needs."""
        return frozenset()

    def offer(self, receipt: PublishReceipt) -> PublishReceipt:
        """Accept a publish of QoS 1 or 2, or raise QueueFullError; return the receipt to be handed out."""
        if len(self._queue) >= self.max_queued and self._is_full():
            raise QueueFullError(
                f"{len(self._queue):,} messages wait for the broker (max_queued={self.max_queued:,}): "
                "this one was not accepted; publish slower, wait for receipts, or raise max_queued"
            )
        self._queue.append(receipt)
        room = self.window - len(self._in_flight._sent)
        if self.gathering is not None and len(self._queue) < room and self._gathers():
            self.gathered = True
        elif room > 0 or self._controls:
            self.hand_over()
        else:
            self.gathered = False  # from here on there is something that waits for an answer
        return receipt

    def withdraw(self, receipt: PublishReceipt) -> bool:
        """Take a publish out of the queue; False if it is no longer there: it is with the library."""
        try:
            self._queue.remove(receipt)
        except ValueError:
            return False
        self._notify()
        return True

    def enter(self, request: Request) -> None:
        """Put a subscribe or unsubscribe in the line, for :meth:`hand_over`; the ledger does so in order."""
        self._controls.append(request)

    def session(self, *, present: bool, kept: bool) -> None:
        """Before :meth:`up`: whether the broker has the session, and will keep it for another connection."""

    def may_release(self, key: int) -> bool:  # noqa: ARG002 - the outbox needs it
        """PUBREC has come: True if PUBREL may follow at once; False if the library will be told."""
        return True

    def up(self, resent: bool, requests: Sequence[Request]) -> None:
        """Begin to hand over, subscriptions first: a connection stands.

        ``resent`` tells that the library itself sends again what was in flight; otherwise it goes next here.
        """
        if resent:
            now = time.monotonic()
            for receipt in self._in_flight:
                receipt.sent_at = now
                self.resent += 1
        else:
            self._queue.extendleft(reversed(self._in_flight.take_all()))
        self._controls.extendleft(reversed(requests))
        self._up = True
        self.hand_over()

    def waiting_since(self) -> float | None:
        """When the request was sent that has waited longest for its answer (``time.monotonic()``)."""
        oldest = (self._in_flight.oldest(), *self._asking.oldest())
        return min((request.sent_at for request in oldest if request is not None), default=None)

    def stop(self) -> None:
        """Hand over nothing more; returns at once."""
        self._up = False
        self.over = True
        self._notify()

    def leftover(self) -> list[Request]:
        """Before :meth:`up`: take out requests that came while the last connection was ending."""
        return self._asking.take_waiting()

    def collect(self) -> list[Request]:
        """After :meth:`stop`: return the subscribes and unsubscribes that will never be answered.

        Waits for whoever is handing over, so it is not for a library's own thread.
        """
        with self._handing_over:
            return self._asking.take_unanswered() + self._asking.take_waiting()

    def fail_all(self, error: Callable[[PublishReceipt], JuhamError]) -> int:
        """Resolve every publish that is queued or in flight as failed; return how many."""
        with self._handing_over:
            receipts = self._in_flight.take_all() + list(self._queue)
            self._queue.clear()
        failed = [receipt for receipt in receipts if receipt._resolve(error(receipt))]
        self._notify()
        return len(failed)

    def wait_empty(self, timeout: float) -> bool:
        """Block until nothing is queued or in flight, for at most ``timeout`` seconds; tell which.

        False at once when the connection ends meanwhile. What is gathered goes now.
        """
        self.hand_over()
        with self._changed:
            self._watchers += 1
            try:
                self._changed.wait_for(lambda: self.over or self._is_empty(), timeout)
                return self._is_empty()
            finally:
                self._watchers -= 1

    def acknowledged(self, key: int, answer: Any) -> None:
        """Take the broker's answer to a publish; from any thread."""
        receipt = self._in_flight.answered(key, answer)
        if receipt is not None:
            self._finish(receipt, answer)

    def acknowledged_many(self, keys: Sequence[int], answer: Any) -> None:
        """Take the same answer to several publishes, in order; from any thread.

        What may follow them is sent first: who waits for a receipt wakes up on another thread, which then
        competes with this one for the interpreter.
        """
        found = self._in_flight.answered_many(keys, answer)
        try:
            if self._queue and not self.gathered:
                self.hand_over()
                self._library._push()
        finally:
            self._acknowledged(found, answer)
            self._look_again()

    def hand_over(self) -> None:
        """Hand to the library whatever may go now."""
        self.gathered = False  # before looking: what is gathered from now on will be handed over later
        controls, queue, in_flight = self._controls, self._queue, self._in_flight
        while self._up and (controls or (queue and len(in_flight._sent) < self.window)):
            if not self._handing_over.taken:
                return  # whoever holds it looks again after letting go
            try:
                self._hand_over_now()
            except BaseException:  # a signal's: what it was about is neither in the queue nor in flight
                self._struck = True
                raise
            finally:
                self._handing_over.release()

    def _hand_over_now(self) -> None:
        controls, queue, in_flight = self._controls, self._queue, self._in_flight
        while self._up and (controls or (queue and len(in_flight._sent) < self.window)):
            if controls:
                if not self._asking.send_next(self.limits):
                    self._up = False
            elif not self._send_next():
                return

    def _gathers(self) -> bool:
        """True if the calling thread gathers what it offers, and the library takes several at once."""
        return self._together and self.gathering == threading.get_ident()

    def _is_full(self) -> bool:
        """True if no more may wait; what is only gathered does not."""
        self.hand_over()
        return len(self._queue) >= self.max_queued and (bool(self._queue) or not self._has_room())

    def _is_empty(self) -> bool:
        return not self._queue and not len(self._in_flight)

    def _has_room(self) -> bool:
        """True if a publish may be handed to the library now: with max_queued=0 only then is it accepted."""
        return self._up and len(self._in_flight) < self.window

    def _send_next(self) -> bool:
        """Hand over the publish that is next, or several; False if the connection has gone."""
        if self._together and len(self._queue) > 1:
            room = self.window - len(self._in_flight)
            if room > 1:
                return self._send_together(room)
        try:
            receipt = self._queue.popleft()
        except IndexError:  # it was withdrawn just now
            return True
        return self._send_publish(receipt)

    def _send_together(self, most: int) -> bool:
        receipts, messages = self._next(most)
        if not receipts:
            return True
        self._in_flight.sending()
        try:
            keys = self._library._publish_many(messages)
        except NotConnectedError:
            self._queue.extendleft(reversed(receipts))  # as one alone, they keep their places
            self._up = False
            return False
        except Exception:  # noqa: BLE001 - which of them has failed, and why, each by itself will tell
            return self._send_one_by_one(receipts)
        except BaseException as exc:
            for receipt in receipts:
                self._interrupted(receipt, exc)
            raise
        now = time.monotonic()
        for receipt in receipts:
            if receipt.sent_at:
                self.resent += 1
            receipt.sent_at = now
        for early in self._in_flight.sent_many(keys, receipts):
            self._finish(*early)
        self.bytes_sent += sum([len(message.payload) for message in messages])
        return True

    def _next(self, most: int) -> tuple[list[PublishReceipt], list[MqttMsg]]:
        """Take at most so many publishes from the queue; the broker's limits keep back what it refuses."""
        receipts: list[PublishReceipt] = []
        messages: list[MqttMsg] = []
        queue, limits = self._queue, self.limits
        for _ in range(min(most, len(queue))):
            try:
                receipt = queue.popleft()
            except IndexError:  # the last one was withdrawn just now
                break
            message = receipt._message
            if message is None or receipt._done:
                continue
            refused = limits.on_publish(message) if limits is not None else None
            if refused is not None:
                self._finish(receipt, refused)
                continue
            receipts.append(receipt)
            messages.append(message)
        return receipts, messages

    def _send_one_by_one(self, receipts: list[PublishReceipt]) -> bool:
        self._queue.extendleft(reversed(receipts))
        for _ in receipts:
            try:
                receipt = self._queue.popleft()
            except IndexError:  # as above
                break
            if not self._send_publish(receipt):
                return False
        return True

    def _send_publish(self, receipt: PublishReceipt) -> bool:
        message = receipt._message
        if message is None or receipt._done:
            return True
        refused = self.limits.on_publish(message) if self.limits is not None else None
        if refused is not None:
            self._finish(receipt, refused)
            return True
        if receipt.sent_at:
            self.resent += 1
        receipt.sent_at = time.monotonic()
        self._in_flight.sending()
        try:
            key = self._hand(receipt, message)
        except NotConnectedError:
            # The connection went while we were at it: the message keeps its place for the next one.
            self._queue.appendleft(receipt)
            self._up = False
            return False
        except Exception as exc:  # noqa: BLE001 - whatever the library raises, this one message has failed
            self._give_up(receipt, translated(exc, f"publish to {message.topic!r}"))
            return True
        except BaseException as exc:  # what ends the program must leave no receipt that nobody resolves
            self._interrupted(receipt, exc)
            raise
        self.bytes_sent += len(message.payload)  # one thread at a time hands over
        early = self._in_flight.sent(key, receipt)
        if early is not None:
            self._finish(*early)
        return True

    def _hand(self, receipt: PublishReceipt, message: MqttMsg) -> int:  # noqa: ARG002 - the outbox needs it
        """Hand a publish to the library; return its key."""
        return self._library._publish(message)

    def _finish(self, receipt: PublishReceipt, answer: Any) -> None:
        self._acknowledged([receipt], answer)
        self._look_again()

    def _look_again(self) -> None:
        if self._watchers:
            self._notify()
        if self._controls or (self._queue and not self.gathered):
            self.hand_over()

    def _give_up(self, receipt: PublishReceipt, error: JuhamError) -> None:
        receipt._resolve(error)
        self._notify()

    def _interrupted(self, receipt: PublishReceipt, exc: BaseException) -> None:
        """A signal's handler has raised this while the library was given the message, which it has or not."""
        self._give_up(receipt, interrupted(exc))

    def _notify(self) -> None:
        if self._watchers:
            with self._changed:
                self._changed.notify_all()
