"""Dynamic batching: what several clients ask for at the same time goes through the model together.

Nothing waits for a batch to fill. While the model is at work, requests gather; when it is done, it takes as many as may
go together. A request that was cancelled is not computed.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from polyprompt.errors import PolypromptError
from polyprompt.serve.errors import Refused

Item = TypeVar("Item")
Row = TypeVar("Row")

MOST = 2048
"""Items that may wait; a request beyond them is told to come again."""


class Batcher(Generic[Item, Row]):
    """A thread that feeds `work` with what is waiting.

    Args:
        work: some items to as many rows.
        together: items in one call.
        model: held while `work` runs, since models share the processor.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Row]], together: int, model: threading.Lock) -> None:
        self._work, self._together, self._model = work, together, model
        self._waiting: deque[tuple[Item, Future[Row]]] = deque()
        self._there = threading.Condition()
        self.sizes: deque[int] = deque(maxlen=1000)
        """How many items the last batches had."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def __call__(self, items: Sequence[Item]) -> list[Row]:
        """The rows of some items, in their order.

        Raises:
            Refused: too many wait already. PolypromptError: of `work`, for one of these items.
        """
        futures = self._put(items)
        try:
            return await asyncio.gather(*map(asyncio.wrap_future, futures))
        finally:
            for future in futures:
                future.cancel()

    def waiting(self) -> int:
        """How many items wait that someone still wants."""
        with self._there:
            return sum(not future.cancelled() for _, future in self._waiting)

    def close(self) -> None:
        """Ends the thread; what still waits is cancelled."""
        with self._there:
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._together = 0
            self._there.notify()
        self._thread.join()

    def _put(self, items: Sequence[Item]) -> list[Future[Row]]:
        futures = [Future[Row]() for _ in items]
        with self._there:
            if len(self._waiting) + len(items) > MOST:
                kept = [(item, future) for item, future in self._waiting if not future.cancelled()]
                self._waiting = deque(kept)
            if len(self._waiting) + len(items) > MOST:
                raise Refused(503, "the server is busy; try again")
            self._waiting += zip(items, futures, strict=True)
            self._there.notify()
        return futures

    def _run(self) -> None:
        while batch := self._next():
            with self._model:
                self.sizes.append(len(batch))
                self._answer(batch)
            del batch  # nothing is held on to while the thread waits

    def _next(self) -> list[tuple[Item, "Future[Row]"]]:
        batch: list[tuple[Item, Future[Row]]] = []
        with self._there:
            while not batch:
                self._there.wait_for(lambda: self._waiting or not self._together)
                if not self._together:
                    break
                while self._waiting and len(batch) < self._together:
                    item, future = self._waiting.popleft()
                    if future.set_running_or_notify_cancel():
                        batch.append((item, future))
        return batch

    def _answer(self, batch: list[tuple[Item, "Future[Row]"]]) -> None:
        try:
            rows = self._work([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1 or not isinstance(error, PolypromptError):
                for _, future in batch:
                    future.set_exception(error)
                return
            for one in batch:  # the others did nothing wrong
                self._answer([one])
            return
        for (_, future), row in zip(batch, rows, strict=True):
            future.set_result(row)
