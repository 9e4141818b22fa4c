"""Waiting for receipts in a loop: each for as long as was asked, with as few timers as that takes."""

import asyncio
import threading

import pytest
from running import run

import juham_core as juham
from juham_core.aio.answers import MOST_PATIENCES, Answers
from juham_core.message import Receipt


def timers():
    loop = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


class Timeless(asyncio.SelectorEventLoop):
    """A loop whose clock goes on to the next timer at once, so that a machine may be as slow as it likes."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


def test_each_waits_as_long_as_was_asked():
    async def main():
        loop = asyncio.get_running_loop()
        answers = Answers(loop)
        waited = {}

        async def wait(timeout):
            begun = loop.time()
            with pytest.raises(juham.ReceiptTimeoutError, match=str(timeout)):
                await answers.wait(Receipt(), timeout)
            waited[timeout] = loop.time() - begun

        # Begun the other way round, of more different timeouts than have a timer of their own.
        timeouts = [0.01 + number / 50 for number in reversed(range(2 * MOST_PATIENCES))]
        await asyncio.gather(*map(wait, timeouts))
        assert waited == {timeout: pytest.approx(timeout) for timeout in timeouts}
        assert not answers._awaited

    run(main(), Timeless)


def test_those_that_wait_equally_long_share_a_timer():
    async def main():
        answers = Answers(asyncio.get_running_loop())
        receipts = [Receipt(number) for number in range(100)]
        waiting = [asyncio.create_task(answers.wait(receipt, 30)) for receipt in receipts]
        before = len(timers())
        await asyncio.sleep(0)
        assert len(timers()) == before + 1
        threading.Thread(target=lambda: [receipt._resolve() for receipt in receipts]).start()
        await asyncio.gather(*waiting)
        assert not answers._awaited
        answers.fail_all(juham.NotConnectedError("closed"))
        assert len(timers()) == before

    run(main())


def test_the_next_one_expires_after_those_before_it_are_answered():
    async def main():
        answers = Answers(asyncio.get_running_loop())
        first, second = Receipt(1), Receipt(2)
        waiting = [asyncio.create_task(answers.wait(receipt, 0.05)) for receipt in (first, second)]
        await asyncio.sleep(0)
        first._resolve()
        await waiting[0]
        with pytest.raises(juham.ReceiptTimeoutError):
            await waiting[1]
        assert not answers._awaited

    run(main())
