"""Pictures made ready by threads while the towers compute; Pillow lets go of the interpreter where it decodes."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

LISTS = 2
"""Held ready at most, so that memory does not grow with the number of pictures."""


def made_ahead(make: Callable[[Item], Made], items: Sequence[Item], together: int) -> Iterator[list[Made]]:
    """What `make` gives for each item, in order, `together` at a time; two lists are made ahead of who asks.

    What it raises for an item is raised when that item's list is asked for, and the rest is not made.
    """
    starts = iter(range(0, len(items), together))
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:

        def send(at: int) -> list[Future[Made]]:
            return [pool.submit(make, item) for item in items[at : at + together]]

        waiting = [send(at) for at in islice(starts, LISTS)]
        try:
            while waiting:
                yield [one.result() for one in waiting.pop(0)]
                waiting += [send(at) for at in islice(starts, 1)]
        finally:
            pool.shutdown(cancel_futures=True)


def made_together(make: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What `make` gives for each item, in order, by threads side by side; what it raises is raised."""
    return [one for part in made_ahead(make, items, max(1, len(items))) for one in part]
