"""FaultBroker: the embedded broker, told to misbehave, with every packet on record.

It is what a broken network and a broken broker look like to a client, made to order. Without a script it is
a correct broker of MQTT 3.1.1 and 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from juham_core.broker import Broker, Limits
from juham_core.testing.link import FaultLink
from juham_core.testing.script import Anything, Rule, Where
from juham_core.testing.wirelog import Entry, WireLog
from juham_core.wire import Connect, Packet

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class FaultBroker:
    """A broker on 127.0.0.1, in a thread of its own, that does what its script says.

    >>> broker.on("publish", nth=3).reset()                      # RST when the third PUBLISH arrives
    >>> broker.before("puback").withhold()                       # no PUBACK, ever
    >>> broker.on("connect", connection=1).silence()             # the first connection gets no CONNACK
    >>> broker.on("subscribe").answer(Suback(0, [0x80]))         # in place of what the broker would do
    >>> broker.on("subscribe").send(Disconnect(0x8E)).close()    # taken over
    >>> broker.before("connack").change(reason_code=0x87)        # not authorized

    ``on`` is about what the client sends, ``before`` about what the broker is about to send. The first rule
    that applies to a packet decides. Connections are numbered from 1. Every method may be called from any
    thread. ``fragment`` is the number of bytes written at a time, each a moment after the last;
    None for whole packets. ``narrow``: of what is not read, as little is received as the system allows.
    """

    def __init__(
        self,
        *,
        ssl: SSLContext | None = None,
        users: dict[str, str] | None = None,
        authenticate: Callable[[Connect], int] | None = None,
        limits: Limits | None = None,
        fragment: int | None = None,
        narrow: bool = False,
    ) -> None:
        self.state = Broker(users=users, authenticate=authenticate, limits=limits or Limits())
        self.wire = WireLog()
        self.fragment = fragment
        self.host = "127.0.0.1"
        self.port = 0
        self._ssl = ssl
        self._narrow = narrow
        self._rules: list[Rule] = []
        self._links: dict[int, FaultLink] = {}
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._stopping: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- where it is ----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """``mqtt://127.0.0.1:PORT``, or ``mqtts:`` with TLS."""
        return f"{'mqtts' if self._ssl else 'mqtt'}://{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen on a free port, and return once connections are accepted."""
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="fault-broker", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def stop(self) -> None:
        """Cut every connection and wait until thread and sockets are gone. May be called twice."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the script -----------------------------------------------------------------------------------

    def on(
        self, kind: str, *, nth: int | None = None, connection: int | None = None, where: Where | None = None
    ) -> Rule:
        """A rule for packets that a client sends; steps are added to it.

        ``kind`` as in ``Publish.kind``, or ``"accept"`` for the connection itself. ``nth`` (from 1) counts
        those that match the rest, from now on; None is every one. ``where`` takes the packet.
        """
        return self._add(Rule(kind, nth=nth, connection=connection, where=where, sent=False))

    def before(
        self, kind: str, *, nth: int | None = None, connection: int | None = None, where: Where | None = None
    ) -> Rule:
        """A rule for packets that the broker is about to send."""
        return self._add(Rule(kind, nth=nth, connection=connection, where=where, sent=True))

    def after_bytes(self, count: int, *, connection: int | None = None) -> Rule:
        """A rule for the moment when a client has sent this many bytes: in the middle of a packet, say."""
        return self._add(
            Rule("bytes", nth=1, connection=connection, where=lambda total: total >= count, sent=False)
        )

    def forgive(self) -> None:
        """Forget every rule: behave from now on."""
        self._rules.clear()

    # --- here and now: to the newest connection unless one is named --------------------------------------

    def send(self, *packets: Anything, connection: int | None = None) -> None:
        """Send packets or raw bytes, past all rules."""

        def write(link: FaultLink) -> None:
            for each in packets:
                link.write(each)

        self._with_link(connection, write)

    def pour(self, data: bytes, times: int, connection: int) -> None:
        """Send the same bytes so many times, past all rules, as fast as they are read.

        Blocks until they are out, or the connection has ended; what waits takes no more room than one or two.
        """
        link, loop = self._links.get(connection), self._loop
        if link is not None and loop is not None:
            asyncio.run_coroutine_threadsafe(link.pour(data, times), loop).result()

    def reset(self, connection: int | None = None) -> None:
        """End a connection with RST."""
        self._with_link(connection, FaultLink.reset)

    def close(self, connection: int | None = None) -> None:
        """End a connection with FIN."""
        self._with_link(connection, FaultLink.hang_up)

    def silence(self, connection: int | None = None) -> None:
        """Make a connection half-open: nothing is answered any more."""
        self._with_link(connection, FaultLink.fall_silent)

    def read_on(self, connection: int | None = None) -> None:
        """Read again what a connection brings, after a rule has had it ignored."""
        self._with_link(connection, FaultLink.read_on)

    def refuse(self) -> None:
        """Close the port: whoever connects is refused. Connections that stand go on."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._stop_listening(), self._loop).result()

    def accept(self) -> None:
        """Open the same port again, and return once connections are accepted."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def reset_all(self) -> None:
        """End every connection with RST."""
        self.call(self._reset_links)

    # --- the record -----------------------------------------------------------------------------------

    @property
    def log(self) -> list[Entry]:
        """All that happened so far."""
        return self.wire.entries()

    @property
    def connections(self) -> int:
        """How many connections stand at this moment; of frozen ones nobody can tell."""
        return sum(not link.frozen for link in list(self._links.values()))

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._count

    def packets(
        self,
        kind: str,
        *,
        sent: bool = False,
        connection: int | None = None,
        where: Where | None = None,
    ) -> list[Any]:
        """The packets of a kind that came (``sent``: that the broker sent), in order."""
        found = self.wire.entries(kind, sent=sent, connection=connection, where=where)
        return [entry.packet for entry in found]

    def wait_for(
        self,
        kind: str,
        *,
        nth: int = 1,
        sent: bool = False,
        connection: int | None = None,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Block until there are ``nth`` such packets in the record, counted from its beginning; return that.

        Raises AssertionError, with the record, after ``timeout`` seconds.
        """

        def found() -> list[Entry]:
            entries = self.wire.entries(kind, sent=sent, connection=connection, where=where)
            return entries[nth - 1 : nth]

        which = f"{'sent' if sent else 'received'} {kind} #{nth}"
        entry: Entry = self.wire.wait_until(found, timeout, which)[0]
        return entry.packet

    def wait_for_count(
        self, kind: str, count: int, *, sent: bool = False, timeout: float | None = None
    ) -> None:
        """Block until there have been so many of a kind: cheaper than :meth:`wait_for` among very many."""
        what = f"{count:,} {kind}"
        self.wire.wait_until(lambda: self.wire.count(kind, sent=sent) >= count, timeout, what)

    def wait_until(self, condition: Callable[[], Any], timeout: float | None = None, what: str = "") -> Any:
        """Block until the condition, which is looked at whenever something happens here; return its value."""
        return self.wire.wait_until(condition, timeout, what or "the condition")

    # --- for the links, in the loop --------------------------------------------------------------------

    def opened(self, link: FaultLink) -> None:
        """A connection stands."""
        self._links[link.number] = link
        self._empty.clear()

    def gone(self, link: FaultLink) -> None:
        """A connection has ended."""
        self._links.pop(link.number, None)
        if not self._links:
            self._empty.set()
        self.settle()

    def rule_for(
        self, kind: str, packet: Packet | int | None, connection: int, sent: bool
    ) -> Rule | None:
        """Let every rule count the packet; the first that is about it."""
        if not self._rules:
            return None
        applying = [rule for rule in list(self._rules) if rule.applies(kind, packet, connection, sent)]
        return applying[0] if applying else None

    def settle(self) -> None:
        """Mind the clock of the broker's state: keepalives, wills, expiry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        delay = self.state.tick()
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self.settle)

    def call(self, function: Callable[[], T]) -> T | None:
        """Run a function in the broker's thread and return its result; None if the broker is not running."""
        loop = self._loop
        if loop is None:
            return None
        if threading.current_thread() is self._thread:
            return function()
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(function())
            except BaseException as exc:  # noqa: BLE001 - raised again by result()
                answer.set_exception(exc)

        loop.call_soon_threadsafe(run)
        return answer.result()

    # --- inside ---------------------------------------------------------------------------------------

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def _with_link(self, connection: int | None, function: Callable[[FaultLink], Any]) -> None:
        def run() -> None:
            link = self._links.get(connection if connection is not None else max(self._links, default=0))
            if link is None:
                raise AssertionError(f"connection {connection or '(any)'} does not stand:\n{self.wire}")
            function(link)

        self.call(run)

    async def _serve(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        await self._listen()
        started.set_result(None)
        await self._stopping.wait()
        await self._stop_listening()
        shaking_hands = asyncio.all_tasks() - {asyncio.current_task()}
        for task in shaking_hands:
            task.cancel()
        await asyncio.gather(*shaking_hands, return_exceptions=True)
        self._reset_links()
        await self._empty.wait()
        if self._timer is not None:
            self._timer.cancel()

    async def _stop_listening(self) -> None:
        """Accept nobody more, and make links of those who were: closing the server would leave them open."""
        server, self._server = self._server, None
        if server is None:
            return
        loop = asyncio.get_running_loop()
        for sock in server.sockets:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.remove_reader(sock.fileno())
        for _ in range(2):  # a task is begun, then what it has asked for is done
            await asyncio.sleep(0)
        server.close()

    async def _listen(self) -> None:
        sock = socket.create_server((self.host, self.port), backlog=512)
        self.port = sock.getsockname()[1]
        if self._narrow:  # connections inherit it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._new_link, sock=sock, ssl=self._ssl, backlog=512)

    def _reset_links(self) -> None:
        for link in list(self._links.values()):
            link.reset()

    def _new_link(self) -> FaultLink:
        self._count += 1
        return FaultLink(self, self._count)
