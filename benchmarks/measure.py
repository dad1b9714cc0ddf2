"""How the benchmarks measure: two sides in turn, peak memory in a process of its own, one JSON per claim."""

import ctypes
import datetime
import gc
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from polyprompt.nn.memory import keep_memory

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "polyprompt",
    "torch",
    "transformers",
    "timm",
    "open_clip_torch",
    "clip_benchmark",
    "numpy",
    "safetensors",
    "datasets",
    "faiss-cpu",
    "lancedb",
)


def machine() -> dict:
    """The processor, its cores and memory, the threads torch uses, the load by others when asked."""
    import torch

    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    return both_seconds(work)[0]


def both_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor time of one call; what was garbage before is not its affair."""
    gc.collect()
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict:
    """Time both sides in turn; who goes first changes every round, so that drift of the machine hits both.

    Returns `seconds` of each side, and `ratios` theirs / ours of each round with their median; the same in seconds of
    processor time, which tell more where others use the machine; and the load before. The caller warms up.
    """
    load = os.getloadavg()[0]
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    busy: dict[str, list[float]] = {"ours": [], "theirs": []}
    sides = [("ours", ours), ("theirs", theirs)]
    for turn in range(rounds):
        for name, work in sides if turn % 2 == 0 else reversed(sides):
            wall, processor = both_seconds(work)
            times[name].append(wall)
            busy[name].append(processor)
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "seconds": times,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "processor_seconds": busy,
        "processor_ratio": statistics.median(b / a for a, b in zip(busy["ours"], busy["theirs"], strict=True)),
        "load_before": round(load, 2),
    }


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: object, whole: bool = False) -> int:
    """Bytes that `prepare(*arguments)()` adds at its peak to what its process held before, Linux only.

    `prepare` is a module's own function. It runs in a new process, loads, warms up, and returns the work to measure.
    With `whole`, all that the process holds at the peak is counted: libraries, weights, everything.
    """
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.SimpleQueue()
    process = spawn.Process(target=_peak, args=(answers, prepare, arguments, whole))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{prepare.__name__} failed in its own process, exit code {process.exitcode}")
    return answers.get()


def _peak(answers, prepare, arguments, whole) -> None:
    keep_memory()
    work = prepare(*arguments)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was used once and is kept for later would count as held before
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is held now
    before = 0 if whole else _kib("VmRSS")
    work()
    answers.put((_kib("VmHWM") - before) * 1024)


def available_memory() -> int:
    """Bytes that a new process can have without swapping, Linux only."""
    return _kib("MemAvailable", "/proc/meminfo") * 1024


def _kib(name: str, path: str = "/proc/self/status") -> int:
    return int(_field(path, name).removesuffix(" kB"))


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.split(":")[0].strip() == name:
            return line.split(":", 1)[1].strip()
    raise RuntimeError(f"{path} has no {name}")


def write(name: str, result: dict) -> Path:
    """Write `result` with machine, date, versions and command to results/NAME.json, and print it."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except ModuleNotFoundError:
            continue
    head = {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **installed},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(text := json.dumps(head | result, indent=2) + "\n")
    print(text)
    return path
