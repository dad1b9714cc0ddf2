"""A grid from settings to results: what is left of it is done, whoever has done the rest."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from polyprompt.bench.plan import cells_of, write_plan
from polyprompt.bench.precision import decided
from polyprompt.bench.settings import GridSettings
from polyprompt.bench.worker import failure_of, title, work
from polyprompt.disk.files import make_folder, read_json, writing
from polyprompt.executors import Executor, start
from polyprompt.progress import progress, say
from polyprompt.runs.cells import CELLS, Cell, done_in, results_in
from polyprompt.runs.folder import check_place
from polyprompt.runs.load import load_encoder


class Planned(NamedTuple):
    """A grid, before anything is done."""

    cells: list[Cell]
    left: list[Cell]
    """Those without a result."""
    seconds: float | None
    """How long these should take, by those that are done; None where none is."""


def planned(settings: GridSettings, folder: Path, *, keep: bool = True) -> Planned:
    """What is to be done.

    Args:
        settings: the grid.
        folder: where its results are, or will be.
        keep: whether the precision that is decided for it is kept there, too (precision.py); nothing else is written.

    Raises:
        PolypromptError: as `cells_of`; the folder lies among the pictures, or what is in it is damaged.
    """
    check_place(folder, settings.data)
    asked = cells_of(settings, cache(load_encoder), cache(partial(decided, folder, keep=keep)))
    done, cells = done_in(folder), _different(asked)
    left = [cell for name, cell in cells.items() if name not in done]
    return Planned(list(cells.values()), left, _seconds(folder, left) if done and left else None)


def _different(asked: Sequence[Cell]) -> dict[str, Cell]:
    """Cells by their names; those that are the same, whatever they are called, are told and taken once."""
    cells: dict[str, Cell] = {}
    twice: list[tuple[Cell, Cell]] = []
    for cell in asked:
        first = cells.setdefault(cell.name, cell)
        if first is not cell:
            twice.append((cell, first))
    if twice:
        (cell, first), are = twice[0], "cell is" if len(twice) == 1 else "cells are"
        same = "" if title(cell) == title(first) else f", which is the same as {title(first)}"
        say(f"{len(twice)} {are} asked for twice and done once, such as {title(cell)}{same}.")
    return cells


def _seconds(folder: Path, left: Sequence[Cell]) -> float | None:
    """Each cell is taken to last as long as those of its method and set, of its method, or all."""
    known: dict[tuple[str, ...], list[float]] = {}
    for result in results_in(folder):
        for key in ((result.cell.method, result.cell.data), (result.cell.method,), ()):
            known.setdefault(key, []).append(result.seconds)
    if not known:
        return None  # what is there is of another figures version
    keys = [((cell.method, cell.data), (cell.method,), ()) for cell in left]
    return sum(mean(next(known[key] for key in some if key in known)) for some in keys)


def run(cells: Sequence[Cell], folder: Path, *, executor: Executor = "local", workers: int = 1) -> list[str]:
    """Does the cells that have no result yet.

    Returns:
        what failed, in a line each.

    Raises:
        ConfigError: the executor is not there. FileError: the folder cannot be written.
    """
    make_folder(folder / CELLS)  # by which the folder is known as a grid's, whatever comes between
    plan, names = write_plan(folder, cells), {cell.name for cell in cells}
    for name in names:  # they are tried again; of other runs in this folder nothing is taken away
        with writing(failure := failure_of(folder, name)):
            failure.unlink(missing_ok=True)
    finished = len(names & done_in(folder))
    with progress("Cells", len(names), finished) as advance:

        def watch() -> None:
            nonlocal finished
            now = len(names & done_in(folder))
            advance(now - finished)
            finished = now

        start(executor, workers, work, plan, watch)
        watch()
    done = done_in(folder)
    return [_failed(folder, cell) for cell in cells if cell.name not in done]


def _failed(folder: Path, cell: Cell) -> str:
    path = failure_of(folder, cell.name)
    noted = read_json(path) if path.exists() else None
    why = noted.get("error") if isinstance(noted, dict) else None
    why = why or "not done, its worker was lost; run the same again"
    return f"{title(cell)}: {why}"
