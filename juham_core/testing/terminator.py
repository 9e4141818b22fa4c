"""TLS in front of something that does not speak it: what a reverse proxy does for websockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class TlsTerminator:
    """Listens on 127.0.0.1 with TLS, and passes what comes on to ``target``, and back."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        self.host, self.port = "127.0.0.1", 0
        self._target = target
        self._context = context
        self._listening: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="tls-terminator")

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._ways: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._lead, self.host, 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set_result(None)
        await self._stopping.wait()
        server.close()
        for task in self._ways:
            task.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self._target)
        for one, other in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(_pass_on(one, other))
            self._ways.add(task)
            task.add_done_callback(self._ways.discard)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()
