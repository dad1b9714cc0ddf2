"""Workers of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from polyprompt.executors.local import prepare, run

JOB = """
import json, os, sys, time
from pathlib import Path

def job(folder):
    import torch
    (folder / "new").write_text(json.dumps([os.getpid(), torch.get_num_threads()]))
    (folder / "new").rename(folder / "worker")
    time.sleep(60)

if __name__ == "__main__":
    from polyprompt.executors.local import run
    run(1, job, Path(sys.argv[1]), lambda: None)
"""


def started(program: str, folder: Path, stderr: int | None = None, **environment: str) -> subprocess.Popen:
    (folder / "job.py").write_text(program)
    same = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])} | environment
    return subprocess.Popen([sys.executable, folder / "job.py", folder], env=same, stderr=stderr)


def test_workers_end_with_a_killed_command_and_keep_to_its_threads(tmp_path):
    command = started(JOB, tmp_path, OMP_NUM_THREADS="1")
    while not (tmp_path / "worker").exists():
        assert command.poll() is None
        time.sleep(0.05)
    worker, threads = json.loads((tmp_path / "worker").read_text())
    assert threads == 1
    command.send_signal(signal.SIGKILL)
    command.wait()
    assert ends(worker), "the worker went on alone"


PREPARED = """
import json, os, sys
from pathlib import Path

if __name__ == "__main__":
    from polyprompt.executors.local import prepare, run
    prepare(2, "loaded")
    from loaded import job
    run(2, job, Path(sys.argv[1]), lambda: None)
"""
LOADED = """
import json, os, signal

server = os.getpid()

def job(folder):
    deaf = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    seen = [server, os.getppid(), deaf, os.environ["OMP_NUM_THREADS"]]
    (folder / f"{os.getpid()}.json").write_text(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded beforehand")
def test_workers_are_forked_from_what_was_prepared(tmp_path):
    (tmp_path / "loaded.py").write_text(LOADED)
    assert started(PREPARED, tmp_path, OMP_NUM_THREADS="4").wait() == 0
    one, other = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    server = one[0]
    assert one == other == [server, server, True, "2"]
    assert ends(server), "the server went on alone"


@pytest.mark.outside("process", "socket", "pickle", "import")
def test_workers_are_spawned_where_no_server_can_be(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(forkserver, "ensure_running", nowhere)
    prepare(1, deaf.__module__)
    run(1, deaf, tmp_path, lambda: None)
    assert (tmp_path / "deaf").exists()


def counting(folder):
    import numpy as np
    from threadpoolctl import threadpool_info

    assert np.ones((2, 2)) @ np.ones(2) is not None
    (folder / str(os.getpid())).write_text(json.dumps([one["num_threads"] for one in threadpool_info()]))


@pytest.mark.outside("process", "socket", "pickle", "import")
def test_all_libraries_of_a_worker_keep_to_its_share_of_the_threads(tmp_path, monkeypatch):
    """NumPy's products, too, which ask nobody: two workers with as many threads each would wait for each other."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(2, counting, tmp_path, lambda: None)
    finally:
        torch.set_num_threads(before)
    counts = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert len(counts) == 2
    assert {count for each in counts for count in each} == {1}
    assert "OMP_NUM_THREADS" not in os.environ


REFUSED = """
import sys
from pathlib import Path

from polyprompt.errors import FileError

def job(folder):
    with (folder / "tries").open("a") as file:
        file.write("x")
    raise FileError(f"{folder}: cannot be written (No space left on device)")

if __name__ == "__main__":
    from polyprompt.executors.local import run
    run(1, job, Path(sys.argv[1]), lambda: None)
"""


def test_a_worker_that_cannot_go_on_says_why_in_a_line_and_is_not_made_up_for(tmp_path):
    command = started(REFUSED, tmp_path, stderr=subprocess.PIPE)
    said = f"polyprompt: A worker cannot go on: {tmp_path}: cannot be written (No space left on device)\n"
    assert command.communicate()[1].decode() == said
    assert (tmp_path / "tries").read_text() == "x"


def deaf(folder):
    (folder / "deaf").write_text(str(signal.getsignal(signal.SIGINT) == signal.SIG_IGN))


@pytest.mark.outside("process", "socket", "pickle", "import")
def test_a_worker_leaves_interrupts_to_the_command(tmp_path):
    """A terminal sends Ctrl-C to both; a worker would end in a traceback, in the midst of its imports."""
    before = signal.getsignal(signal.SIGINT)
    run(1, deaf, tmp_path, lambda: None)
    assert (tmp_path / "deaf").read_text() == "True"
    assert signal.getsignal(signal.SIGINT) == before


def ends(process: int) -> bool:
    """Whether it does so soon; else it is made to."""
    last = time.monotonic() + 10
    while goes_on := is_there(process):
        if time.monotonic() > last:
            os.kill(process, signal.SIGKILL)
            break
        time.sleep(0.1)
    return not goes_on


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
