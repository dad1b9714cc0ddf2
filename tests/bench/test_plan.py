"""What a user asks for as cells: what decides their figures, what is read for them, what cannot be."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from polyprompt.bench.grid import planned
from polyprompt.bench.plan import read_plan, write_plan
from polyprompt.errors import FileError
from polyprompt.runs import cells as module

SHORT = {"name": "coop", "context": 2}


def test_what_decides_figures_makes_another_cell(settings, place, tmp_path, monkeypatch):
    """Pictures, classes, encoder, settings, the figures' version; not where things lie."""
    grid = settings("base-to-novel", methods=["coop"], seeds=[1])
    names = {cell.method: cell.name for cell in planned(grid, tmp_path).cells}

    def other(change=None, **values):
        found = planned(grid.model_copy(update=values), tmp_path).cells
        return next(cell.name for cell in found if cell.method == "coop") != names["coop"]

    moved = shutil.copytree(place / "split", tmp_path / "moved")
    shutil.copy(place / "toy.safetensors", tmp_path / "toy2.safetensors")
    assert not other(data=(str(moved),), encoders=(str(tmp_path / "toy2.safetensors"),))
    assert not other(settings={"max_bad": 5})
    assert other(settings={"epochs": 3})
    assert other(methods=(SHORT,))
    picture, another = (next((moved / "test" / name).iterdir()) for name in ("red", "blue"))
    for spoil in (lambda: picture.write_bytes(another.read_bytes()), picture.unlink):
        spoil()
        assert other(data=(str(moved),))
    monkeypatch.setattr(module, "FIGURES", module.FIGURES + 1)
    assert other()


def test_a_method_may_be_trained_in_a_way_of_its_own(settings, tmp_path):
    slow = SHORT | {"called": "slow", "training": {"rate": 0.001}}
    grid = settings("base-to-novel", methods=[SHORT, slow], seeds=[1], settings={"rate": 0.5, "epochs": 2})
    rates = {cell.method: (cell.settings["rate"], cell.settings["epochs"]) for cell in planned(grid, tmp_path).cells}
    assert rates == {"zeroshot": (0.5, 2), "coop": (0.5, 2), "slow": (0.001, 2)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": [SHORT, SHORT]}, "1 cell is asked for twice and done once, such as coop on"),
        ({"methods": [SHORT, SHORT | {"called": "x"}]}, "such as x on .* which is the same as coop on"),
        ({"methods": SHORT, "seeds": [1, 1]}, "3 cells are asked for twice"),
    ],
)
def test_what_is_asked_for_twice_is_told_and_done_once(settings, tmp_path, capsys, values, message):
    plan = planned(settings("few-shot", **{"seeds": [1], "shots": [1]} | values), tmp_path)
    assert [cell.method for cell in plan.cells] == ["zeroshot", "nearest_mean", "linear_probe", "coop"]
    assert plan.left == plan.cells
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("protocol", "values", "message"),
    [
        ("few-short", {}, "did you mean few-shot|few-shot"),
        ("few-shot", {"encoders": []}, "give --encoders"),
        ("few-shot", {"methods": ["mapel"]}, "maple"),
        ("few-shot", {"methods": [{"depth": 3}]}, "has no name"),
        ("few-shot", {"settings": {"epoch": 3}}, "epochs"),
        ("few-shot", {"seeds": []}, "seeds is empty"),
        ("few-shot", {"methods": [{"name": "mmap", "training": {"task": ["more"]}}]}, "cell of a grid has one"),
        ("few-shot", {"methods": [SHORT | {"training": 5}]}, "training of coop: holds 5; settings are keys"),
        ("few-shot", {"methods": [SHORT | {"training": {"epoch": 3}}]}, "training of coop: .* mean epochs"),
        ("few-shot", {"methods": [SHORT | {"training": {"shots": 3}}]}, "training of coop: shots is 3, .* give shots"),
        ("few-shot", {"methods": [SHORT | {"called": None}]}, "coop has called: None; it should be a text"),
        ("few-shot", {"methods": [SHORT | {"called": "a\nb"}]}, "coop has called: .* a text of one line"),
        ("few-shot", {"methods": [SHORT | {"called": "zeroshot"}]}, "what all others are compared with"),
        ("few-shot", {"settings": {"shots": 2}}, "settings: shots is 2, .* give shots"),
        ("few-shot", {"settings": {"seed": 2}}, "give seeds"),
        ("few-shot", {"settings": {"method": {"name": "maple"}}}, "give methods"),
        ("few-shot", {"settings": {"protocol": "base-to-novel"}}, "give another protocol"),
        ("few-shot", {"split": "val"}, "split is of captions and sentences"),
        ("zero-shot", {"shots": [2]}, "give no shots"),
        ("zero-shot", {"methods": ["coop"]}, "give no methods"),
        ("retrieval", {"settings": {"epochs": 3}}, "trains nothing"),
        ("sts", {"settings": {"max_bad": 3}}, "trains nothing"),
        ("single-source", {}, "two sources or more"),
        ("aspects", {}, "have one aspect|has one aspect|one aspect"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, tmp_path, protocol, values, message):
    with pytest.raises(Exception, match=f"(?i){message}") as found:
        planned(settings(protocol, **values), tmp_path)
    assert "\n" not in str(found.value)


def test_a_plan_comes_back_from_its_file_and_an_altered_one_does_not(settings, tmp_path):
    cells = planned(settings("few-shot", methods=[SHORT], seeds=[1], shots=[1]), tmp_path).cells
    path = write_plan(tmp_path, cells)
    assert read_plan(path) == [replace(cell, settings=json.loads(json.dumps(cell.settings))) for cell in cells]
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(FileError, match=r"it is not what its name says\. Run the same again"):
        read_plan(path)
