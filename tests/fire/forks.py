"""Processes forked from one that has imported everything: toy runs then start in milliseconds."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

TESTS = Path(__file__).parents[1]
PRELOAD = ["torch._dynamo", "safetensors.torch", "toy_work"]


def server(*, warm: bool = False) -> multiprocessing.context.ForkServerContext:
    """What starts them; they find what tests import.

    Args:
        warm: whether all work was done once before; only the first call in a process can choose.
    """
    places = [str(TESTS), str(TESTS / "runs"), str(TESTS / "fire")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, *["toy_warm"] * warm])
    return context


def wait_for_server() -> None:
    """Returns when the warm server is there: no time of a count that ends at a time is spent on it then."""
    first = server(warm=True).Process(target=int)
    first.start()
    first.join()


def start(context: multiprocessing.context.ForkServerContext, function, output: Path, **arguments) -> BaseProcess:
    """Starts `function(**arguments)`; what it prints goes to `output`."""
    process = context.Process(target=_in_process, args=(function, output, arguments))
    process.start()
    return process


def _in_process(function, output: Path, arguments: dict) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(output, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            function(**arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
