"""How long a grid should take, before it has run."""

import pytest

from polyprompt.bench.estimate import _Paces, _steps, estimated
from polyprompt.bench.grid import planned
from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.runs.load import load_encoder
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

COOP = {"name": "coop", "context": 2}


def of(settings, tmp_path, method=COOP, seeds=(1,), **more):
    grid = settings("few-shot", methods=[method], seeds=seeds, shots=[2], settings={"epochs": 2, **more})
    return planned(grid, tmp_path).cells


def test_it_grows_with_the_steps(settings, tmp_path):
    assert estimated(of(settings, tmp_path, epochs=400)) > 10 * estimated(of(settings, tmp_path))


@pytest.mark.parametrize(
    "method", [{"name": "vpt", "depth": 1, "context": 2}, "tip_adapter", "auto"], ids=["vpt", "tip_adapter", "auto"]
)
def test_every_kind_of_method(settings, tmp_path, method):
    assert estimated(of(settings, tmp_path, method)) > 0


def test_a_budget_ends_it(settings, tmp_path):
    assert estimated(of(settings, tmp_path, epochs=10**7, budget=3.0)) < 30


def test_states_are_kept_once(settings, tmp_path):
    """By block, whatever the method."""
    (cell, *_), paces = of(settings, tmp_path), _Paces()
    encoder, data = load_encoder(cell.settings["encoder"]), read_labelled(cell.data, "test")
    first = paces.keeping(cell, encoder, data, None)
    assert first == len(data.pictures) * paces.picture(cell, encoder, data.pictures) > 0
    assert paces.keeping(cell, encoder, data, None) == 0
    assert paces.keeping(cell, encoder, data, 1) == first


def test_each_set_is_read_once_for_all_cells(settings, tmp_path, readings):
    cells = of(settings, tmp_path, seeds=(1, 2))
    readings.clear()
    assert estimated(cells) > 0
    assert len(cells) > 2
    assert set(readings.values()) == {1}


def test_steps_are_those_of_the_loop():
    """Full batches alone; steps are rounded up to whole epochs."""
    run = {"name": "", "data": "each", "encoder": "each", "method": COOP, "batch": 4}
    assert _steps(checked(AdaptSettings, run | {"epochs": 3}), 11) == 3 * 2
    assert _steps(checked(AdaptSettings, run | {"epochs": 3}), 2) == 3
    assert _steps(checked(AdaptSettings, run | {"steps": 5}), 11) == 6


def test_captions_and_sentences(settings, place, tmp_path):
    (cell,) = planned(settings("retrieval", data=["captions/captions.csv"], split="train"), tmp_path).cells
    one, two = _Paces(), _Paces()
    encoder, pairs = one.encoder(cell.settings["encoder"]), read_pairs(cell.data, "train")
    assert one.retrieved(cell) > len(pairs.images) * one.picture(cell, encoder, pairs.images)
    rows = "".join(f"a cat\ta dog\t{score}\ttest\n" for score in range(3))
    (tmp_path / "pairs.tsv").write_text(f"sentence1\tsentence2\tscore\tsplit\n{rows}")
    (cell,) = planned(settings("sts", data=[str(tmp_path / "pairs.tsv")]), tmp_path).cells
    assert two.compared(cell) > 0
