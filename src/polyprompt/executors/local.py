"""Workers as processes of this machine; the threads that libraries may use are shared out among them."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from polyprompt.errors import PolypromptError, in_one_line
from polyprompt.executors.job import Job, Watch
from polyprompt.progress import say

THREADS = "OMP_NUM_THREADS"
EVERY = 0.2
"""Seconds between two looks."""
DEATHS = 3
"""How often each worker may be made up for: something that kills whoever does it must not go on for ever."""
REFUSED = 2
"""What a worker ends with that has said why it cannot go on; another one could not either."""
_prepared: set[str] = set()
"""Modules that a server has loaded, or is loading, from which workers are forked."""


def prepare(workers: int, module: str) -> None:
    """See `executors.prepare`: on Linux, where what is loaded may be forked, a server loads it once for all workers."""
    if sys.platform == "linux":
        said = os.environ.get(THREADS, "")
        threads = int(said) if said.isdecimal() else len(os.sched_getaffinity(0))
        multiprocessing.set_forkserver_preload([module])
        with _deaf_to_interrupts(), _threads_of_a_child(max(1, threads // workers)), suppress(OSError):
            forkserver.ensure_running()  # it needs a temporary folder; workers are spawned where there is none
            _prepared.add(module)


def run(workers: int, job: Job, what: Path, watch: Watch) -> None:
    """See `executors.start`. A worker that was killed is made up for, a few times."""
    import torch

    threads = max(1, torch.get_num_threads() // workers)  # what OMP_NUM_THREADS and the cores of this process allow
    running, deaths = [_started(job, what, threads) for _ in range(workers)], 0
    try:
        while running:
            time.sleep(EVERY)
            watch()
            killed = [one for one in running if one.exitcode not in (None, 0, REFUSED)]
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
    forked, spawned = multiprocessing.get_context("forkserver"), multiprocessing.get_context("spawn")
    process = (forked if job.__module__ in _prepared else spawned).Process(target=_work, args=(job, what, threads))
    with _deaf_to_interrupts(), _threads_of_a_child(threads):
        process.start()
    return process


@contextmanager
def _threads_of_a_child(threads: int) -> Iterator[None]:
    """NumPy's BLAS looks at the environment as it is loaded, and takes all cores where that says nothing."""
    before = {THREADS: os.environ[THREADS]} if THREADS in os.environ else {}
    os.environ[THREADS] = str(threads)
    try:
        yield
    finally:
        del os.environ[THREADS]
        os.environ |= before


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started within do not hear Ctrl-C, which a terminal sends to all; the command ends them."""
    if threading.current_thread() is not threading.main_thread():  # where Python sets no signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(job: Job, what: Path, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job(what)
    except (PolypromptError, OSError) as error:  # the folder, say, takes no files any more
        say(f"A worker cannot go on: {in_one_line(error)}")
        sys.exit(REFUSED)


def _end_with_parent() -> None:
    """A killed command cannot end its workers, and nobody wants them to go on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
