"""Receipts, awaited: what the library's thread resolves comes to the loop, many with one wake-up."""

from __future__ import annotations

import asyncio

from juham_core.aio.threads import Post
from juham_core.errors import JuhamError, ReceiptTimeoutError
from juham_core.jmqtt import JMqtt
from juham_core.message import Receipt


class Answers:
    """Those that are awaited in one client's loop."""

    def __init__(self, client: JMqtt, post: Post, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._post = post
        self._loop = loop
        self._awaited: set[asyncio.Future[None]] = set()

    async def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Return once the receipt is done; raise what it failed with.

        Raises ReceiptTimeoutError after ``timeout`` seconds, and what :meth:`fail_all` is called with.
        """
        if not receipt.done():
            future = self._loop.create_future()
            self._awaited.add(future)
            timer = None
            if timeout is not None:
                timer = self._loop.call_later(max(0.0, timeout), _expire, future, timeout)
            receipt.add_done_callback(lambda _: self._post.call(_settle, future))
            try:
                await future
            finally:
                self._awaited.discard(future)
                if timer is not None:
                    timer.cancel()
        error = receipt.exception()
        if error is not None:
            raise error

    def fail_all(self, error: JuhamError) -> None:
        """End all waiting: no answer will come."""
        for future in list(self._awaited):
            if not future.done():
                future.set_exception(error)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _expire(future: asyncio.Future[None], timeout: float) -> None:
    if not future.done():
        future.set_exception(ReceiptTimeoutError(f"no answer from the broker within {timeout} s"))
