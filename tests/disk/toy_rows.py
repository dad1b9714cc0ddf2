"""Items whose rows follow from their keys, and processes that fill a store with them."""

import os
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from polyprompt.disk import rows as module
from polyprompt.disk.rows import RowStore, fill

WIDTH = 3


def rows_of(key: str) -> torch.Tensor:
    """One to three rows, none of them zeros."""
    draw = torch.Generator().manual_seed(sum(key.encode()) * 31 + len(key))
    return torch.randn(1 + len(key) % 3, WIDTH, generator=draw)


def fills(
    folder: Path,
    keys: list[str],
    log: Path,
    dies_after: int | None,
    wait: float,
    both: Barrier | None = None,
    at_once: int = 8,
) -> None:
    """Fills a store with small pieces, noting each item it computes; killed by its own hand where the test says so.

    With `both` it goes on from its first piece once another process is at a piece, too.
    """
    module.BATCH, module.PIECE_BYTES, module.AT_ONCE = 4, 1, at_once
    store, done = RowStore(folder), 0

    def compute(items: list[int]) -> list[list[torch.Tensor]]:
        nonlocal done
        with open(log, "a") as file:
            file.write("".join(f"{keys[item]}\n" for item in items))
        if both and not done:
            both.wait(60)
        done += 1
        if done == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(wait)
        return [[rows_of(keys[item]) for item in items]]

    fill([store], keys, compute, "Toys")
    found = store.find(keys)
    for item, key in enumerate(keys):
        assert torch.equal(found.read(item), rows_of(key)), key


def reads_where_nobody_may_write(folder: Path, keys: list[str], answer: Path) -> None:
    """Reads a store without any right to write, asks for one item more, and notes what it is told."""
    import filelock  # noqa: F401  while files can still be read

    out = open(answer, "w")  # noqa: SIM115
    if not os.geteuid():
        os.setuid(65534)
    store = RowStore(folder)
    found = store.find(keys)
    assert all(torch.equal(found.read(item), rows_of(key)) for item, key in enumerate(keys))
    try:
        store.get(["more"], lambda items: [rows_of("more")], "Toys")
    except Exception as error:
        out.write(f"{type(error).__name__}: {error}")
    out.close()
