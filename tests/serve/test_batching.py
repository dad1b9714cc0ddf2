"""Requests go through the model together, each gets its own row, and what was cancelled frees its place."""

import asyncio
import threading

import pytest

from polyprompt.errors import DataError
from polyprompt.serve.batching import MOST, Batcher
from polyprompt.serve.errors import Refused


class Gate:
    """Work that stands still until it is let go on; it notes its batches."""

    def __init__(self):
        self.open, self.started, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, items):
        self.started.set()
        assert self.open.wait(10)
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise DataError("below zero")
        return [item * item for item in items]


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batcher(gate):
    made = Batcher(gate, 4, threading.Lock())
    yield made
    gate.open.set()
    made.close()


async def first_at_work(batcher, gate):
    """A request that holds the model up."""
    first = asyncio.ensure_future(batcher([100]))
    await asyncio.to_thread(gate.started.wait, 10)
    return first


def test_what_gathers_meanwhile_goes_together(batcher, gate):
    async def run():
        first = await first_at_work(batcher, gate)
        others = [asyncio.ensure_future(batcher([n, n + 1])) for n in range(3)]
        await asyncio.sleep(0.01)
        gate.open.set()
        return [await one for one in (first, *others)]

    assert asyncio.run(run()) == [[10000], [0, 1], [1, 4], [4, 9]]
    assert gate.batches == [[100], [0, 1, 1, 2], [2, 3]]
    assert list(batcher.sizes) == [1, 4, 2]


def test_cancelled_requests_are_not_computed(batcher, gate):
    async def run():
        first = await first_at_work(batcher, gate)
        gone, stays = (asyncio.ensure_future(batcher([n])) for n in (5, 6))
        await asyncio.sleep(0.01)
        assert batcher.waiting() == 2
        gone.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting() == 1
        gate.open.set()
        await asyncio.gather(first, stays)

    asyncio.run(run())
    assert gate.batches == [[100], [6]]


def test_a_full_queue_is_told_and_cancelled_ones_make_room(batcher, gate):
    async def run():
        first = await first_at_work(batcher, gate)
        waiting = asyncio.ensure_future(batcher(range(MOST)))
        await asyncio.sleep(0.01)
        with pytest.raises(Refused, match="busy"):
            await batcher([4])
        waiting.cancel()
        await asyncio.sleep(0.01)
        last = asyncio.ensure_future(batcher([5]))
        await asyncio.sleep(0.01)
        gate.open.set()
        assert await last == [25]
        await first

    asyncio.run(run())


def test_a_wrong_item_harms_no_other_request(batcher, gate):
    async def run():
        first = await first_at_work(batcher, gate)
        answers = [asyncio.ensure_future(batcher([n])) for n in (2, -1, 3)]
        await asyncio.sleep(0.01)
        gate.open.set()
        await first
        return await asyncio.gather(*answers, return_exceptions=True)

    two, wrong, three = asyncio.run(run())
    assert (two, three) == ([4], [9])
    assert isinstance(wrong, DataError)
