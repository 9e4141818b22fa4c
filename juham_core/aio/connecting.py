"""From a URL to a client that coroutines use, connected: nothing of it blocks the loop, imports included."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any

from juham_core.aio.client import AsyncMqtt
from juham_core.aio.threads import in_thread
from juham_core.jmqtt import JMqtt


class Connecting:
    """``async with connect(...) as mqtt``, or ``mqtt = await connect(...)`` and ``await mqtt.close()``."""

    def __init__(self, arguments: dict[str, Any], timeout: float | None) -> None:
        self._arguments = arguments
        self._timeout = timeout
        self._mqtt: AsyncMqtt | None = None

    def __await__(self) -> Generator[Any, None, AsyncMqtt]:
        return self._connect().__await__()

    async def _connect(self) -> AsyncMqtt:
        mqtt = AsyncMqtt(await in_thread(self._create, "juham-create"))
        await mqtt.connect(self._timeout)
        return mqtt

    def _create(self) -> JMqtt:
        from juham_core.factory import create_for  # noqa: PLC0415  # may import a whole library

        return create_for(**self._arguments)

    async def __aenter__(self) -> AsyncMqtt:
        self._mqtt = await self._connect()
        return self._mqtt

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mqtt is not None:
            await self._mqtt.close()


def connect(
    url: str | None = None,
    *,
    backend: str | None = None,
    name: str | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Connecting:
    """Connect to a broker, in an ``async with`` or an ``await``.

    The arguments and the errors are those of :func:`juham_core.connect`. Leaving the scope closes, within
    ``close_timeout`` seconds for each of what is to be sent, handled and released. A connect that is
    cancelled gives up at once what it can, and the rest within ``connect_timeout``.
    """
    return Connecting({"url": url, "backend": backend, "name": name, **options}, timeout)
