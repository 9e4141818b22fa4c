"""What other threads bring to the loop: at once where it is little, together where it is a stream."""

from __future__ import annotations

import asyncio
import threading

import pytest

from juham_core.aio import dispatcher as module
from juham_core.aio.dispatcher import STREAM, LoopDispatcher
from juham_core.aio.streams import Streams
from juham_core.statistics import Statistics


class Brought:
    """A dispatcher for the running loop, and calls that another thread puts while the loop stands still."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.calls, self.wake_ups = 0, 0
        self._called = asyncio.Event()
        self._wake, loop.call_soon_threadsafe = loop.call_soon_threadsafe, self._count
        self.dispatcher = LoopDispatcher(
            "test", pytest.fail, Streams(Statistics()), None, None, lambda _topic: None, None
        )
        self.dispatcher.start()

    async def begin(self):
        """Let the turn pass that starting has asked for."""
        await asyncio.sleep(0)
        return self

    def _call(self):
        self.calls += 1
        self._called.set()

    def _count(self, *arguments):
        self.wake_ups += 1
        return self._wake(*arguments)

    def bring(self, count):
        def put():
            for _ in range(count):
                self.dispatcher.put(self._call)

        thread = threading.Thread(target=put)
        thread.start()
        thread.join()

    async def made(self, count):
        while self.calls < count:
            self._called.clear()
            await asyncio.wait_for(self._called.wait(), 10)


def test_what_follows_a_stream_gathers_and_is_made_without_another_wake_up(monkeypatch):
    monkeypatch.setattr(module, "NAP", 0.5)

    async def main():
        brought = await Brought().begin()
        brought.bring(STREAM)
        await brought.made(STREAM)
        brought.bring(1)
        assert brought.wake_ups == 1
        await brought.made(STREAM + 1)
        brought.bring(1)  # the stream is over
        assert brought.wake_ups == 2
        await brought.made(STREAM + 2)
        brought.dispatcher.stop()

    asyncio.run(main())


def test_what_is_no_stream_wakes_the_loop_each_time(monkeypatch):
    monkeypatch.setattr(module, "NAP", 60.0)

    async def main():
        brought = await Brought().begin()
        for number in range(1, 4):
            brought.bring(STREAM - 1)
            assert brought.wake_ups == number
            await brought.made(number * (STREAM - 1))
        brought.dispatcher.stop()

    asyncio.run(main())


def test_calls_that_gather_can_be_taken_away_and_made_after_a_new_start(monkeypatch):
    monkeypatch.setattr(module, "NAP", 0.5)

    async def main():
        brought = await Brought().begin()
        brought.bring(STREAM)
        await brought.made(STREAM)
        brought.bring(2)
        brought.dispatcher.stop()
        assert len(brought.dispatcher.take_all()) == 2
        brought.dispatcher.start()
        brought.bring(1)
        await brought.made(STREAM + 1)
        brought.dispatcher.stop()

    asyncio.run(main())
