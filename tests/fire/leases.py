"""Workers of one grid killed at random moments, or stopped beyond their leases and let go on late."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from forks import server, start

from polyprompt.bench import worker
from polyprompt.bench.plan import write_plan
from polyprompt.report.averages import grids
from polyprompt.report.grid import comma_separated, made_by, markdown, shown
from polyprompt.runs.cells import CELLS, Cell, done_in, results_in

WORKERS, CELLS_A_GRID, LONGEST = 3, 60, 0.1
"""At once; in each grid; seconds that a cell takes at most."""
LEASE = 0.6
ROUND = 20
"""Kills of one grid, before it is let to its end."""


@dataclass
class Counted:
    """How workers ended, and what their grids hold."""

    kills: int = 0
    stopped: int = 0
    """Of those: stopped, taken over by others, and let go on when all was done."""
    grids: int = 0
    results: int = 0
    lost: int = 0
    """Cells without a result once a worker had ended well."""
    twice: int = 0
    """Results that were others when they were looked at again."""
    other: int = 0
    """Grids whose reports are not those of an undisturbed one, times and machines aside."""
    notes: list[str] = field(default_factory=list)


def cells() -> list[Cell]:
    """A grid's: two methods, many seeds."""
    same = {"protocol": "few-shot", "task": "classify", "encoder": "", "data": "toys", "shots": 1}
    return [
        Cell(**same, method=method, seed=seed, settings={"encoder": "", "seed": seed, "method": method})
        for seed in range(CELLS_A_GRID // 2)
        for method in ("zeroshot", "coop")
    ]


def do(cell: Cell, encoder: object, folder: Path) -> dict[str, object]:
    """A cell that takes a moment; its figures follow from what it is."""
    time.sleep(random.uniform(0, LONGEST))
    accuracy = int(cell.name, 16) % 1000 / 1000
    scores = {"accuracy": accuracy, "pictures": 1000, "classes": 2, "class_accuracy": {"cat": accuracy, "dog": 1.0}}
    return {"classification": {"test": scores}}


def work(plan: Path, lease: float = LEASE) -> None:
    """A worker of such a grid; it needs no encoder."""
    torch.set_num_threads(1)
    worker.TASKS, worker.load_encoder, worker.WAIT = {"classify": do}, lambda name: None, 0.02
    worker.work(plan, lease)


def reports(folder: Path) -> tuple[str, str]:
    """A grid's tables and every figure, without times and machines."""
    results = results_in(folder)
    text = markdown([shown(grid) for grid in grids(results)], results)
    return text.replace("\n".join(made_by(results)), ""), comma_separated(results)


def count_leases(kills: int, place: Path, *, until: float = float("inf"), seed: int = 0) -> Counted:
    """Kills and stops so many workers, of as many grids as that takes.

    Args:
        kills: how many; every fourth is stopped.
        place: a folder for all that is written.
        until: on `time.monotonic`'s clock, when it ends even so.
        seed: of the moments.
    """
    counted, draw, quiet = Counted(), random.Random(seed), place / "quiet"
    one = start(server(), work, place / "quiet.txt", plan=write_plan(quiet, cells()))
    one.join()
    assert one.exitcode == 0, (place / "quiet.txt").read_text()
    right = reports(quiet)
    while counted.kills < kills and time.monotonic() < until:
        folder = place / f"grid-{counted.grids}"
        _one_grid(folder, min(ROUND, kills - counted.kills), draw, counted)
        if reports(folder) != right:
            counted.other += 1
            counted.notes.append(f"{folder.name}: another report than that of an undisturbed grid")
        shutil.rmtree(folder)
    return counted


def _one_grid(folder: Path, most: int, draw: random.Random, counted: Counted) -> None:
    context, plan, output = server(), write_plan(folder, cells()), folder.with_suffix(".txt")
    seen: dict[str, bytes] = {}

    def begin():
        return start(context, work, output, plan=plan)

    def look():
        for path in (folder / CELLS).glob("[!.]*.json"):
            counted.twice += seen.setdefault(path.name, path.read_bytes()) != path.read_bytes()

    living, stopped, ends = [begin() for _ in range(WORKERS)], [], counted.kills + most
    while counted.kills < ends and len(done_in(folder)) < CELLS_A_GRID:
        time.sleep(draw.uniform(0, 0.4))
        victim = living.pop(draw.randrange(len(living)))
        living.append(begin())
        look()
        if not victim.is_alive():
            continue
        counted.kills += 1
        if counted.kills % 4:
            victim.kill()
        else:
            os.kill(victim.pid, signal.SIGSTOP)
            stopped.append(victim)
    for one in living:
        one.join()
    look()
    for one in stopped:
        with suppress(ProcessLookupError):  # it had ended a moment before it was stopped
            os.kill(one.pid, signal.SIGCONT)
    for one in stopped:
        one.join()
    look()
    if failed := [one.exitcode for one in (*living, *stopped) if one.exitcode]:
        counted.notes.append(f"{folder.name}: workers ended with {failed}; {output.read_text()[-300:]}")
    counted.stopped += len(stopped)
    counted.grids += 1
    counted.results += len(seen)
    counted.lost += CELLS_A_GRID - len(done_in(folder))
