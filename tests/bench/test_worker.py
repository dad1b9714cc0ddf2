"""Workers of a grid: what they list, where they write."""

import os

from outside import heard

from polyprompt.bench import worker
from polyprompt.bench.grid import planned
from polyprompt.bench.plan import write_plan
from polyprompt.runs.cells import CELLS, done_in

SHORT = {"name": "coop", "context": 2}


def test_results_are_listed_once_for_many_cells(settings, tmp_path):
    """Not once a cell: of ten thousand, that would be a hundred million names."""
    listed = []
    grid = settings("few-shot", methods=[SHORT], seeds=[1], shots=[1], settings={"epochs": 1})
    cells = planned(grid, tmp_path).cells
    plan = write_plan(tmp_path, cells)
    with heard("os.listdir", lambda folder: listed.append(str(folder))):
        worker.work(plan)
    assert done_in(tmp_path) == {cell.name for cell in cells}
    assert (len(cells), listed.count(str(tmp_path / CELLS))) == (4, 2)


def test_a_worker_killed_at_any_moment_leaves_nothing_among_the_results(settings, tmp_path):
    """A result is put there in one step; where it is written before is elsewhere."""
    names = []
    grid = settings("few-shot", methods=[SHORT], seeds=[1], shots=[1], settings={"epochs": 1})
    plan = write_plan(tmp_path, planned(grid, tmp_path).cells)
    with heard("os.link", lambda *_: names.append(os.listdir(tmp_path / CELLS))):
        worker.work(plan)
    assert [len(one) for one in names] == [0, 1, 2, 3]
    assert set(os.listdir(tmp_path / CELLS)) == {f"{name}.json" for name in done_in(tmp_path)}
    assert len(done_in(tmp_path)) == 4
