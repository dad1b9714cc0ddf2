"""A worker of a grid: claims cells in the shared folder, does them, puts their results where they belong."""

import contextlib
import datetime
import shutil
import time
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from polyprompt.bench.inputs import Inputs
from polyprompt.bench.plan import read_plan
from polyprompt.bench.tasks import TASKS
from polyprompt.disk.files import make_folder, write_json
from polyprompt.errors import ImageError, PolypromptError
from polyprompt.executors.claims import LEASE, Claim, take
from polyprompt.nn.memory import keep_memory
from polyprompt.runs.cells import CELLS, FAILURES, Cell, Result, done_in, write_result
from polyprompt.runs.load import load_encoder
from polyprompt.runs.machine import machine
from polyprompt.towers.encoder import Encoder

WAIT = 0.5
"""Seconds until claims of others are looked at again."""


def work(plan: Path, lease: float = LEASE) -> None:
    """Does cells of a plan until none is left; waits for those that others hold, should they be lost.

    A cell that fails is noted in `failures/` and not tried again before the next run.
    """
    keep_memory()
    folder, cells = plan.parent.parent, {cell.name: cell for cell in read_plan(plan)}
    opened, inputs = cache(load_encoder), Inputs()
    for place in (CELLS, FAILURES, "logs", "runs"):
        make_folder(folder / place)
    while left := _left(folder, cells):
        busy = True
        for name in left:
            if (folder / CELLS / f"{name}.json").exists():
                continue
            if (claim := take(folder / "claims" / name, lease)) is not None:
                busy = False
                if (folder / CELLS / f"{name}.json").exists():  # since it was looked for, or nobody could have it
                    claim.drop()
                    continue
                _do(folder, cells[name], claim, opened(str(cells[name].settings["encoder"])), inputs)
        if busy:
            time.sleep(WAIT)


def _left(folder: Path, names: Iterable[str]) -> list[str]:
    """What has neither a result nor failed; both folders are listed once, since a grid may have thousands of cells."""
    done = done_in(folder) | {path.stem for path in (folder / FAILURES).glob("*.json")}
    return [name for name in names if name not in done]


def failure_of(folder: Path, name: str) -> Path:
    """Where it is noted that a cell failed."""
    return folder / FAILURES / f"{name}.json"


def _do(folder: Path, cell: Cell, claim: Claim, encoder: Encoder, inputs: Inputs) -> None:
    log = folder / "logs" / f"{cell.name}.txt"
    try:
        with (
            log.open("a", encoding="utf-8") as file,
            contextlib.redirect_stderr(file),
            contextlib.redirect_stdout(file),
        ):
            try:
                _put(folder, cell, claim, encoder, inputs)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        known = isinstance(error, PolypromptError)
        message = str(error) if known else f"{type(error).__name__}: {error} (all of it in {log})"
        if isinstance(error, ImageError):
            message = error.advised("--set max_bad=10")
        write_json(failure_of(folder, cell.name), {"cell": title(cell), "error": message})
    finally:
        claim.give_back()


def _put(folder: Path, cell: Cell, claim: Claim, encoder: Encoder, inputs: Inputs) -> None:
    inputs.check(cell, encoder)
    began = time.perf_counter()
    # A holder that was stopped may still have the run folder of an earlier number open.
    run = folder / "runs" / (cell.name if claim.number == 1 else f"{cell.name}-{claim.number}")
    figures = TASKS[cell.task](cell, encoder, run)
    result = Result(cell, figures, round(time.perf_counter() - began, 3), machine(), datetime.date.today().isoformat())
    inputs.check(cell, encoder)  # what changed meanwhile may have been read
    written = claim.folder / f"result-{claim.number}"  # where it is in nobody's way, should the worker be killed now
    write_result(written, result)
    if not claim.publish(written, folder / CELLS / f"{cell.name}.json"):
        shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def title(cell: Cell) -> str:
    """A cell in words."""
    shots = f", {cell.shots} shot{'s' * (cell.shots > 1)}" if cell.shots else ""
    seed = "" if cell.seed is None else f", seed {cell.seed}"
    return f"{cell.method} on {cell.encoder}, {cell.data}{shots}{seed}"
