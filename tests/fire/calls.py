"""Every n-th call that writes fails once: of each writer, and of each command to its end, with no cap on n.

    python tests/fire/calls.py PLACE [NAME...]     a line of JSON for each writer or command; all, if none is named

The calls are those of the system (open, write, fsync, truncate, rename, link, mkdir, chmod), whoever makes them:
Python, safetensors, SQLite, torch. A small library that is preloaded (failing.c) counts those below one folder and lets
one fail; a process is forked for each n.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

HERE = Path(__file__).parent
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
LEFT = (".tmp", ".new")
"""Endings of what a writer leaves under a name that is not its own."""


@dataclass
class Outcome:
    """What became of one writer or command, over all n."""

    name: str
    calls: int = 0
    told: int = 0
    """One line, exit code 2."""
    done: int = 0
    """It went to its end all the same, as notes of what was checked may fail."""
    wrong: int = 0
    """A traceback, an old file harmed, or something left behind."""
    notes: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


def library(place: Path) -> Path:
    """The compiled library to preload."""
    built = place / "failing.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", built, HERE / "failing.c", "-ldl"], check=True)
    return built


def run_preloaded(place: Path, names: Iterable[str] = (), seconds: float | None = None) -> list[dict]:
    """Starts this file with the library preloaded; its lines."""
    return run_alone("calls.py", place, names, seconds, LD_PRELOAD=str(library(place)))


def run_alone(
    file: str, place: Path, names: Iterable[str] = (), seconds: float | None = None, **environment: str
) -> list[dict]:
    """Starts a file of this folder as a program; its lines of JSON, as far as it came within so many seconds."""
    path = os.pathsep.join([str(HERE.parent), str(HERE.parent / "runs"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment
    words = [sys.executable, str(HERE / file), str(place), *names]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=seconds)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # what it has forked, too
        said, _ = process.communicate()
    return [json.loads(line) for line in said.splitlines() if line.startswith(b"{") and line.endswith(b"}")]


def every_call(
    name: str, prepare: Callable[[Path], None], act: Callable[[Path], int], trial: Path, *, warm: bool = True
) -> Outcome:
    """Lets each call of `act` fail once.

    Args:
        name: for the outcome.
        prepare: fills a new folder `trial` with what was there before.
        act: writes below `trial`; its exit code.
        trial: the folder.
        warm: call it once before.
    """
    outcome = Outcome(name)
    if warm:
        trial.mkdir(parents=True)
        prepare(trial)
        act(trial)  # what it imports is there in all forks then
    for n in range(1, 1_000_000):
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir(parents=True)
        prepare(trial)
        before = content(trial)
        code, said, call = _failing(act, trial, n, ERRORS[n % len(ERRORS)])
        if not call:
            outcome.calls = n - 1
            if code:
                raise AssertionError(f"{name}: does not even work without a failure: {said}")
            break
        outcome.failed[call.split()[0]] += 1
        wrong = what_is_wrong(code, said, trial, before)
        outcome.told += code == 2 and not wrong
        outcome.done += code == 0 and not wrong
        if wrong:
            outcome.wrong += 1
            outcome.notes.append(f"{name}, call {n} ({call}): {wrong}")
    return outcome


def _failing(act: Callable[[Path], int], trial: Path, n: int, error: int) -> tuple[int, str, str]:
    """Exit code, what was said, and the call that failed, if there were so many."""
    told = trial.with_name("told.txt")

    def armed(trial: Path) -> int:
        library = ctypes.CDLL(None)
        library.call_failed.restype = ctypes.c_char_p
        library.arm(os.fsencode(trial), n, error)
        try:
            return act(trial)
        finally:
            call = library.call_failed()
            library.arm(b"", 0, 0)
            told.write_bytes(call)

    code, said = in_fork(armed, trial)
    return code, said, os.fsdecode(told.read_bytes())


def in_fork(act: Callable[[Path], int], trial: Path) -> tuple[int, str]:
    """The exit code of `act` in a process of its own, and all that it said."""
    said = trial.with_name("said.txt")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            torch.set_num_threads(1)  # torch makes its pool anew after a fork, which two threads at once cannot do
            try:
                code = act(trial)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")


def what_is_wrong(code: int, said: str, trial: Path, before: dict[Path, bytes]) -> str:
    """A traceback, an end that is not one line, a file that was harmed or is left over; "" if nothing is."""
    lines = [line for line in said.splitlines() if line.startswith("polyprompt: ")]
    if code not in (0, 2) or "Traceback" in said or (code == 2 and not lines):
        return f"exit code {code}, {said[-600:]}"
    now = content(trial)
    for path, data in before.items():
        if now.get(path) != data and not _still_whole(path, before):
            return f"{path.relative_to(trial)} was harmed"
    left = [path for path in now if path.name.endswith(LEFT) or path.name in (".lock", ".holder.json")]
    left += [path for path in trial.rglob("*.tmp") if path.is_dir()]
    return f"{left[0].relative_to(trial)} was left behind" if left else ""


def _still_whole(path: Path, before: dict[Path, bytes]) -> bool:
    """Whether a file that the writer changes is what its new hash says."""
    from polyprompt.errors import PolypromptError
    from polyprompt.runs.folder import check_truth

    try:
        if path.name == "results.json":
            check_truth(path.parent)
            return True
        if path.name == "log.jsonl":
            return _goes_on(path.parent)
        if path.parents[1].joinpath("collection.json").exists():  # pieces of its stores are merged
            return _holds(path.parents[1], before)
        if path.name in ("checked.json", "pieces.json"):
            return bool(json.loads(path.read_text()))
        if path.parent.name == "damaged":  # a cache, which is set aside
            return True
        return path.exists() and path.read_bytes() == b"new" * 1000
    except (PolypromptError, OSError, ValueError):
        return False


def _goes_on(run: Path) -> bool:
    """Whether a run that was begun has a log and a checkpoint that it can go on from."""
    from polyprompt.disk.files import check_manifest
    from polyprompt.runs.folder import check_truth
    from polyprompt.train.checkpoint import checkpoints_in, newest
    from polyprompt.train.log import read_log

    check_truth(run)
    read_log(run / "log.jsonl")
    for path in checkpoints_in(run / "checkpoints"):
        check_manifest(path)
    return (run / "log.jsonl").stat().st_size >= newest(run / "checkpoints").log_bytes > 0


def _holds(collection: Path, before: dict[Path, bytes]) -> bool:
    """Whether a collection is whole, and has no fewer files than there were rows in it."""
    from safetensors.torch import load

    from polyprompt.search.collection import Collection

    found = Collection(collection)
    found.check()
    logged = [data for path, data in before.items() if path.match("files/*.safetensors")]
    return len(found.stores.latest()) >= sum(len(load(data)["keys"]) for data in logged)


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main(place: Path, names: list[str]) -> None:
    """Prints a line for each."""
    import failing_work

    made = failing_work.every(place, names)
    for name, (prepare, act) in made.items():
        shutil.rmtree(place / "trial", ignore_errors=True)
        outcome = every_call(name, prepare, act, place / "trial", warm=name not in failing_work.COLD)
        print(json.dumps(vars(outcome)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
