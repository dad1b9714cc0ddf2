"""Grids: what is done and what is left, stale results, failures, executors."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from outside import heard

import polyprompt
from polyprompt.bench import worker
from polyprompt.bench.grid import planned, run
from polyprompt.bench.plan import write_plan
from polyprompt.bench.settings import GridSettings
from polyprompt.data.domainbed import in_and_out
from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError, FileError
from polyprompt.executors import start
from polyprompt.runs import cells as module
from polyprompt.runs.adapt import adapt
from polyprompt.runs.cells import CELLS, done_in, read_result, results_in
from polyprompt.runs.folder import read_results
from polyprompt.runs.load import load_encoder
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import evaluate
from polyprompt.settings import checked

SHORT = {"name": "coop", "context": 2}


def figures(folder: Path) -> dict[str, object]:
    """By cell, without what a clock says."""
    found = {result.cell.name: dict(result.figures) for result in results_in(folder)}
    for one in found.values():
        one.pop("training_seconds", None)
    return found


def test_a_grid_from_nothing_to_results(settings, here, tmp_path):
    wanted = {"methods": [SHORT], "seeds": [1, 2], "shots": [1, 2], "settings": {"epochs": 1}}
    grid = settings("few-shot", data=("split", "plain"), **wanted)
    plan = planned(grid, tmp_path / "grid")
    assert len(plan.cells) == len(plan.left) == 2 + 3 * 2 * 2 * 2
    assert plan.seconds is None
    assert run(plan.cells, tmp_path / "grid") == []
    assert done_in(tmp_path / "grid") == {cell.name for cell in plan.cells}
    assert {(r.cell.method, r.cell.seed, r.cell.shots) for r in results_in(tmp_path / "grid")} == {
        ("zeroshot", None, None),
        *(
            (name, seed, shots)
            for name in ("nearest_mean", "linear_probe", "coop")
            for seed in (1, 2)
            for shots in (1, 2)
        ),
    }
    again = planned(grid, tmp_path / "grid")
    assert (again.left, again.seconds) == ([], None)
    more = planned(grid.model_copy(update={"seeds": (1, 2, 3)}), tmp_path / "grid")
    assert {cell.seed for cell in more.left} == {3}
    assert more.seconds > 0


def test_a_cell_is_the_run_that_adapt_makes(settings, here, place, tmp_path):
    grid = settings("base-to-novel", methods=[SHORT], seeds=[2], shots=[2], settings={"epochs": 1})
    plan = planned(grid, tmp_path / "grid")
    assert run(plan.cells, tmp_path / "grid") == []
    (result,) = [one for one in results_in(tmp_path / "grid") if one.cell.method == "coop"]
    alone = {
        "name": "coop", "data": str(place / "split"), "encoder": str(place / "toy.safetensors"), "shots": 2, "seed": 2,
        "method": SHORT, "protocol": "base-to-novel", "epochs": 1,
        "precision": result.cell.settings["precision"],
    }  # fmt: skip
    adapt(checked(AdaptSettings, alone), tmp_path / "alone", encoder=load_encoder(str(place / "toy.safetensors")))
    expected = read_results(tmp_path / "alone")
    for name in ("classification", "zero_shot", "harmonic_mean", "learned"):
        assert result.figures[name] == expected[name]


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


@pytest.mark.parametrize(
    ("protocol", "data"), [("few-shot", ("split", "plain")), ("cross-dataset", ("split", "other"))]
)
def test_a_plan_reads_each_part_of_a_set_once(settings, place, tmp_path, readings, protocol, data):
    shutil.copytree(place / "split", place / "other", dirs_exist_ok=True)
    grid = settings(protocol, data=data, methods=[SHORT], seeds=[1, 2], shots=[1, 2])
    assert len(planned(grid, tmp_path / "grid").cells) > 2
    assert readings
    assert set(readings.values()) == {1}


def test_a_method_may_be_trained_in_a_way_of_its_own(settings, tmp_path):
    slow = SHORT | {"called": "slow", "training": {"rate": 0.001}}
    grid = settings("base-to-novel", methods=[SHORT, slow], seeds=[1], settings={"rate": 0.5, "epochs": 2})
    rates = {cell.method: (cell.settings["rate"], cell.settings["epochs"]) for cell in planned(grid, tmp_path).cells}
    assert rates == {"zeroshot": (0.5, 2), "coop": (0.5, 2), "slow": (0.001, 2)}


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


def test_a_failing_cell_stops_no_other(settings, here, tmp_path):
    """Told in one line each; tried again by the next run."""
    grid = settings(
        "base-to-novel",
        methods=["maple", SHORT],
        seeds=[1, 2],
        shots=[2],
        settings={"epochs": 1},
    )
    plan = planned(grid, tmp_path)
    failed = run(plan.cells, tmp_path)
    assert len(failed) == 2
    assert all("maple on " in line and "depth is 9" in line and "\n" not in line for line in failed)
    assert len(done_in(tmp_path)) == 3
    assert len(planned(grid, tmp_path).left) == 2
    assert len(run(plan.cells, tmp_path)) == 2


def test_unreadable_pictures_are_left_out_of_a_grid(settings, here, place, tmp_path):
    moved = shutil.copytree(place / "split", tmp_path / "moved")
    sorted((moved / "test" / "red").iterdir())[0].write_bytes(b"no picture")
    grid = settings("base-to-novel", data=(str(moved),), methods=[SHORT], seeds=[1], shots=[2], settings={"epochs": 1})
    (failed, _) = run(planned(grid, tmp_path / "none").cells, tmp_path / "none")
    assert "not a picture" in failed
    assert "with --set max_bad=10" in failed
    some = grid.model_copy(update={"settings": {"epochs": 1, "max_bad": 1}})
    assert run(planned(some, tmp_path / "some").cells, tmp_path / "some") == []


@pytest.mark.parametrize("spoil", ["figure", "cell", "json", "name", "version"])
def test_altered_results_are_refused(settings, here, tmp_path, spoil):
    plan = planned(settings("zero-shot"), tmp_path)
    run(plan.cells, tmp_path)
    (path,) = (tmp_path / CELLS).glob("*.json")
    content = json.loads(path.read_text())
    if spoil == "figure":
        content["figures"]["classification"]["test"]["accuracy"] = 0.99
    if spoil == "cell":
        content["cell"]["method"] = "maple"
    if spoil == "version":
        content["figures_version"] = 0
    path.write_text("{" if spoil == "json" else json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if spoil == "name":
        path = path.rename(path.with_name("0" * 32 + ".json"))
    with pytest.raises(FileError, match=path.name):
        read_result(path)
    with pytest.raises(FileError, match=path.name):
        results_in(tmp_path)


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
        ("zero-shot", {"methods": ["coop"]}, "give no methods"),
        ("retrieval", {"settings": {"epochs": 3}}, "trains nothing"),
        ("single-source", {}, "two sources or more"),
        ("aspects", {}, "have one aspect|has one aspect|one aspect"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(settings, tmp_path, protocol, values, message):
    with pytest.raises(Exception, match=f"(?i){message}") as found:
        planned(settings(protocol, **values), tmp_path)
    assert "\n" not in str(found.value)


def test_executors_that_are_not_there(tmp_path, not_installed, environ):
    environ(PATH=tmp_path)
    with pytest.raises(ConfigError, match=r"no sbatch|needs submitit"):
        start("slurm", 1, print, tmp_path, print)
    with pytest.raises(ConfigError, match="workers is 0"):
        start("local", 0, print, tmp_path, print)
    not_installed("ray")
    with pytest.raises(ConfigError, match=r"polyprompt\[ray\]"):
        start("ray", 1, print, tmp_path, print)


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


# Executors


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("executor", ["local", "ray", "slurm"])
def test_real_executors(settings, tmp_path, executor):
    """Two workers by each, the same results."""
    if executor != "local":
        pytest.importorskip({"ray": "ray", "slurm": "submitit"}[executor])
    grid = settings("few-shot", methods=[SHORT], seeds=[1], shots=[1, 2], settings={"epochs": 1})
    plan = planned(grid, tmp_path / "grid")
    if executor == "slurm":
        from polyprompt.executors.slurm import run as run_slurm

        run_slurm(2, worker.work, write_plan(tmp_path / "grid", plan.cells), lambda: None, cluster="local")
        assert done_in(tmp_path / "grid") == {cell.name for cell in plan.cells}
    else:
        assert run(plan.cells, tmp_path / "grid", executor=executor, workers=2) == []


SOURCES = ("art_painting", "cartoon", "photo")


def test_a_domainbed_cell_chooses_its_epoch_on_the_sources(place, here, tmp_path):
    """What is drawn, held out and scored are DomainBed's parts; the epoch's score is the mean over the sources."""
    for copies, domain in enumerate(("art_painting", "cartoon", "photo", "sketch"), 1):
        for name, copy in itertools.product(("red", "blue"), range(copies)):
            for path in (place / "plain" / name).iterdir():
                folder = tmp_path / "pacs" / domain / name
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / f"{copy}-{path.name}")
    grid = checked(
        GridSettings,
        {
            "protocol": "domainbed", "methods": [SHORT], "data": [f"pacs@{tmp_path}"], "seeds": [0],
            "encoders": [str(place / "toy.safetensors")], "settings": {"epochs": 2},
        },
    )  # fmt: skip
    plan = planned(grid, tmp_path / "grid")
    assert {cell.method for cell in plan.cells} == {"zeroshot", "nearest_mean", "linear_probe", "coop"}
    (cell,) = [one for one in plan.cells if one.method == "coop" and one.data.startswith("pacs:art_painting+cartoon+p")]
    assert run([cell], tmp_path / "grid") == []
    (result,) = results_in(tmp_path / "grid")
    assert result.figures["classification"]["test"]["pictures"] == 4 * 16 - int(0.2 * 4 * 16)
    classifier = polyprompt.load(next((tmp_path / "grid" / "runs").iterdir()))
    held = [in_and_out(read_labelled(one), one, 0)[1] for one in (f"pacs:{d}@{tmp_path}" for d in SOURCES)]
    assert [len(one.pictures) for one in held] == [int(0.2 * copies * 16) for copies in (1, 2, 3)]
    shares = [evaluate(classifier.method, one, 1.0)["accuracy"] for one in held]
    assert result.figures["selected"]["accuracy"] == pytest.approx(sum(shares) / 3)
