"""Workers of a grid: what they list, where they write."""

import json
import os
import shutil

import pytest
from outside import heard
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize("protocol", ["few-shot", "zero-shot"])
def test_what_changed_since_it_was_planned_is_no_result(settings, place, tmp_path, protocol):
    """Its figures would stand under the fingerprints of what there was before."""
    shutil.copytree(place / "split", tmp_path / "data")
    shutil.copy(place / "toy.safetensors", tmp_path / "toy.safetensors")
    some = {"methods": [SHORT], "seeds": [1], "shots": [1]} if protocol == "few-shot" else {}
    grid = settings(protocol, **some).model_copy(
        update={"data": (str(tmp_path / "data"),), "encoders": (str(tmp_path / "toy.safetensors"),)}
    )
    cells = planned(grid, tmp_path / "grid").cells
    plan = write_plan(tmp_path / "grid", cells)
    red, blue = (sorted((tmp_path / "data" / "test" / name).iterdir())[0] for name in ("red", "blue"))
    shutil.copy(blue, red)
    worker.work(plan)
    assert done_in(tmp_path / "grid") == set()
    for cell in cells:
        said = json.loads(worker.failure_of(tmp_path / "grid", cell.name).read_text())["error"]
        assert said.startswith(f"{tmp_path / 'data'}: changed since this was planned; run the same again")


def test_an_encoder_that_changed_since_is_another_one(settings, place, tmp_path):
    file = shutil.copy(place / "toy.safetensors", tmp_path / "toy.safetensors")
    grid = settings("zero-shot").model_copy(update={"encoders": (str(file),)})
    plan = write_plan(tmp_path, planned(grid, tmp_path).cells)
    save_file({name: tensor + 0.01 for name, tensor in load_file(file).items()}, file)
    worker.work(plan)
    (noted,) = (tmp_path / "failures").iterdir()
    assert f"{file}: changed since this was planned" in noted.read_text()
