"""Workers as processes of this machine; the cores are shared out among them."""

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from polyprompt.executors.job import Job, Watch
from polyprompt.progress import say

EVERY = 0.2
"""Seconds between two looks."""
DEATHS = 3
"""How often each worker may be made up for: something that kills whoever does it must not go on for ever."""


def run(workers: int, job: Job, what: Path, watch: Watch) -> None:
    """See `executors.start`. A worker that was killed is made up for, a few times."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    running, deaths = [_started(job, what, threads) for _ in range(workers)], 0
    try:
        while running:
            time.sleep(EVERY)
            watch()
            killed = [one for one in running if one.exitcode not in (None, 0)]
            running = [one for one in running if one.exitcode is None]
            for one in killed[: DEATHS * workers - deaths]:
                say(f"A worker ended with {one.exitcode}; another one takes its place.")
                running.append(_started(job, what, threads))
            deaths += len(killed)
    finally:
        for one in running:
            one.terminate()
            one.join()


def _started(job: Job, what: Path, threads: int) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(job, what, threads))
    process.start()
    return process


def _work(job: Job, what: Path, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    job(what)
