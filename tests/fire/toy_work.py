"""What is killed, raced and made to fail: align, adapt, a grid and an index on toy towers, in a folder each.

`JOBS[name].run(place, out, cache)` does the work, or what is left of it; `JOBS[name].left(out)` is what it leaves,
times aside, to be compared.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bits
import golden_cases as golden
import torch
import toy_runs
from flips import Toy
from golden_cases import Case
from safetensors.torch import save_file

from polyprompt.bench.plan import cells_of, write_plan
from polyprompt.bench.settings import GridSettings
from polyprompt.bench.worker import work
from polyprompt.runs.cells import results_in
from polyprompt.runs.folder import read_results
from polyprompt.runs.load import load_encoder
from polyprompt.search.candidates import in_folder
from polyprompt.search.collection import Collection
from polyprompt.search.fill import index
from polyprompt.settings import checked
from polyprompt.train.log import read_log

TIMES = {"seconds", "training_seconds", "pairs_per_second", "date", "machine", "command"}
LEASE = 1.0
"""Seconds until the cell of a killed worker is taken by the next one."""


class Job(NamedTuple):
    """One kind of work."""

    run: Callable[[Path, Path, Path], None]
    left: Callable[[Path], object]


def make_place(place: Path) -> None:
    """Toy towers and pictures for all jobs."""
    bits.photos(place / "photos")
    bits.towers(place)
    case = Case(next(name for name in sorted(golden.checkpoints()) if name in golden.names()))
    save_file({name: tensor.contiguous() for name, tensor in case.state.items()}, place / "toy.safetensors")


def _ready(cache: Path) -> None:
    torch.set_num_threads(1)
    os.environ["POLYPROMPT_CACHE"] = str(cache)


def align(place: Path, out: Path, cache: Path) -> None:
    _ready(cache)
    toy_runs.run(out, place, resume=True)


def adapt(place: Path, out: Path, cache: Path) -> None:
    _ready(cache)
    toy_runs.run_adapt(out, place, resume=True)


def grid(place: Path, out: Path, cache: Path) -> None:
    _ready(cache)
    training = {"epochs": 2, "batch": 4, "precision": "fp32"}  # what is measured may differ when others use the machine
    given = {
        "protocol": "few-shot", "methods": ["coop"], "data": [str(place / "photos")], "shots": [2], "seeds": [1, 2],
        "encoders": [str(place / "toy.safetensors")], "settings": training,
    }  # fmt: skip
    cells = cells_of(checked(GridSettings, given), load_encoder)
    work(write_plan(out, [cell for cell in cells if cell.method == "coop"]), LEASE)


def fill_index(place: Path, out: Path, cache: Path) -> None:
    _ready(cache)
    index(Toy(), in_folder(place / "photos"), str(place / "photos"), out)


def left_of_run(out: Path) -> object:
    results = {name: value for name, value in read_results(out).items() if name not in TIMES}
    log = [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(out / "log.jsonl")]
    model = {path.name: _hash(path) for path in (out / "model").glob("*.safetensors")}
    return json.loads(json.dumps([results, log, model, _names(out)]))


def left_of_grid(out: Path) -> object:
    figures = [
        [result.cell.name, {name: value for name, value in result.figures.items() if name not in TIMES}]
        for result in results_in(out)
    ]
    return json.loads(json.dumps([sorted(figures, key=str), _names(out / "cells")]))


def left_of_index(out: Path) -> object:
    found = Collection(out)
    found.check()
    files = sorted(str(line["path"]) for line in found.stores.latest().values())
    rows = {
        found.vectors.key(row).hex(): found.vectors.take(torch.tensor([row]).numpy()).tolist()
        for row in range(len(found))
    }
    return json.loads(json.dumps([files, sorted(rows.items()), [path.name for path in out.rglob("*.tmp")]]))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


JOBS = {
    "align": Job(align, left_of_run),
    "adapt": Job(adapt, left_of_run),
    "grid": Job(grid, left_of_grid),
    "index": Job(fill_index, left_of_index),
}
