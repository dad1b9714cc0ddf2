"""Processes that start in milliseconds, forked from one that has imported everything."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest

os.environ["ACCELERATE_USE_CPU"] = "true"  # bits are compared, and only CPUs repeat them

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def start_processes(tmp_path_factory):
    """`start(function, world=1, **arguments)`: the started processes, each with `.output`, a file of what it prints."""
    context = multiprocessing.get_context("forkserver")
    toys = "toy_contrast", "toy_rows", "toy_runs"
    context.set_forkserver_preload(["pytest", "torch._dynamo", "safetensors.torch", *toys])
    with pytest.MonkeyPatch.context() as patch:
        for folder in (HERE, HERE / "disk", HERE / "train", HERE / "runs"):
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        from multiprocessing import forkserver

        forkserver.ensure_running()

    def start(function, world=1, **arguments):
        folder = tmp_path_factory.mktemp("output")
        port = free_port()
        processes = []
        for rank in range(world):
            output = folder / f"{rank}.txt"
            process = context.Process(target=in_process, args=(rank, world, port, output, function, arguments))
            process.start()
            process.output = output
            processes.append(process)
        return processes

    return start


@pytest.fixture(scope="session")
def run_processes(start_processes):
    """The same, waited for; the exit codes."""

    def run(function, world=1, **arguments):
        processes = start_processes(function, world, **arguments)
        for process in processes:
            process.join(60)
            process.kill()  # one that waits for another for ever
        return [process.exitcode for process in processes]

    return run


def in_process(rank: int, world: int, port: int, output: Path, function, arguments: dict) -> None:
    """Run `function(**arguments)` as one of several processes; what it prints goes to `output`."""
    if world > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
        os.environ |= {name: str(value) for name, value in where.items()}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server that forks us ignores it
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        function(**arguments)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
