"""What cells read decides what they are: each part is read once, and a change since then is found."""

import itertools
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from polyprompt.bench import worker
from polyprompt.bench.grid import planned
from polyprompt.bench.plan import write_plan
from polyprompt.runs.cells import done_in

SHORT = {"name": "coop", "context": 2}


@pytest.mark.parametrize(
    ("protocol", "data"), [("few-shot", ("split", "plain")), ("cross-dataset", ("split", "other"))]
)
def test_a_plan_reads_each_part_of_a_set_once(settings, place, tmp_path, readings, protocol, data):
    shutil.copytree(place / "split", place / "other", dirs_exist_ok=True)
    grid = settings(protocol, data=data, methods=[SHORT], seeds=[1, 2], shots=[1, 2])
    assert len(planned(grid, tmp_path / "grid").cells) > 2
    assert readings
    assert set(readings.values()) == {1}


def test_sets_of_the_same_pictures_are_told(settings, place, tmp_path, capsys):
    copied = shutil.copytree(place / "split", tmp_path / "copied")
    grid = settings("zero-shot", data=("split", str(copied)))
    assert len({cell.name for cell in planned(grid, tmp_path / "grid").cells}) == 1
    line = f"{copied}: holds the same as {place}/split, to the last byte; one result stands for both."
    assert line in capsys.readouterr().err
    planned(settings("zero-shot", data=("split", "plain")), tmp_path / "grid")
    assert "the same as" not in capsys.readouterr().err


def test_pictures_that_are_trained_on_and_scored_are_told_where_they_are_seen(settings, place, tmp_path, capsys):
    """What a cell says of it stands in its log; of a set it is told once."""
    shutil.copytree(place / "split", tmp_path / "split")
    data = [str(tmp_path / "split")]
    planned(settings("few-shot", methods=[SHORT], data=data, seeds=[1], shots=[1]), tmp_path / "grid")
    line = "test: 4 pictures are trained on as well, byte for byte, so its figures flatter: "
    assert line in capsys.readouterr().err
    planned(settings("zero-shot", data=data), tmp_path / "grid")
    assert "byte for byte" not in capsys.readouterr().err


def test_the_split_that_is_scored_decides(settings, place, tmp_path):
    """Also of a set that is only scored: pictures of a split that no cell looks at do not matter."""
    roots = [tmp_path / name for name in ("first", "second")]
    for root, split in itertools.product(roots, ("train", "test", "dev")):
        shutil.copytree(place / "plain", root / split)
    grid = settings("cross-dataset", data=list(map(str, roots)), methods=[SHORT], seeds=[1], shots=[1])

    def names(scored):
        same = grid.model_copy(update={"settings": {"test_split": scored}})
        return {cell.name for cell in planned(same, tmp_path / "grid").cells}

    before = {scored: names(scored) for scored in ("test", "dev")}
    next((roots[1] / "dev" / "red").iterdir()).unlink()
    assert names("test") == before["test"]
    assert not names("dev") & before["dev"]


def test_descriptions_decide_by_their_words_and_not_by_their_place(settings, tmp_path):
    def cells(source):
        one = {"name": "zeroshot", "called": "described", "training": {"descriptions": source}}
        found = planned(settings("few-shot", methods=[one], seeds=[1, 2]), tmp_path).cells
        return [cell.name for cell in found if cell.method == "described"]

    first, moved = tmp_path / "first.json", tmp_path / "moved.json"
    first.write_text('{"{}": ["a red {}."]}')
    shutil.copy(first, moved)
    before = cells(str(first))
    assert cells(str(moved)) == before
    moved.write_text('{"{}": ["a blue {}."]}')
    assert cells(str(moved)) != before
    assert (len(before), len(cells("random:3"))) == (1, 2)  # random words are drawn by the seed


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


def test_pictures_that_change_while_a_grid_runs_give_no_result(settings, place, tmp_path, monkeypatch):
    """A worker looked at a set once, and filed what it then read under the fingerprints of what had been there."""
    shutil.copytree(place / "split", tmp_path / "data")
    grid = settings("few-shot", methods=[SHORT], seeds=[1, 2], shots=[1])
    plan = write_plan(tmp_path, planned(grid.model_copy(update={"data": (str(tmp_path / "data"),)}), tmp_path).cells)
    red, blue = (sorted((tmp_path / "data" / "test" / name).iterdir())[0] for name in ("red", "blue"))
    begun = []

    def task(cell, encoder, folder):
        begun.append(cell.name)
        if len(begun) == 2:
            shutil.copy(blue, red)
        return {}

    monkeypatch.setattr(worker, "TASKS", {"classify": task})
    worker.work(plan)
    assert done_in(tmp_path) == {begun[0]}
    assert len(begun) == 2


def test_an_encoder_that_changed_since_is_another_one(settings, place, tmp_path):
    file = shutil.copy(place / "toy.safetensors", tmp_path / "toy.safetensors")
    grid = settings("zero-shot").model_copy(update={"encoders": (str(file),)})
    plan = write_plan(tmp_path, planned(grid, tmp_path).cells)
    save_file({name: tensor + 0.01 for name, tensor in load_file(file).items()}, file)
    worker.work(plan)
    (noted,) = (tmp_path / "failures").iterdir()
    assert f"{file}: changed since this was planned" in noted.read_text()
