"""Grids: what is done and what is left, stale results, failures, executors."""

import itertools
import shutil
from pathlib import Path

import pytest

import polyprompt
from polyprompt.bench import grid as module
from polyprompt.bench import worker
from polyprompt.bench.grid import planned, run
from polyprompt.bench.plan import write_plan
from polyprompt.bench.settings import GridSettings
from polyprompt.data.domainbed import in_and_out
from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError
from polyprompt.executors import start
from polyprompt.runs.adapt import adapt
from polyprompt.runs.cells import done_in, results_in
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


def test_a_run_that_joins_leaves_the_failures_of_others(settings, here, tmp_path):
    """Else a worker of theirs would try them again, and find the folder gone as it looks."""
    grid = settings("base-to-novel", methods=["maple"], seeds=[1, 2], shots=[2], settings={"epochs": 1})
    theirs = [cell for cell in planned(grid, tmp_path).cells if cell.seed == 2]
    assert len(run(theirs, tmp_path)) == 1
    noted = worker.failure_of(tmp_path, theirs[0].name)
    before = noted.stat().st_mtime_ns
    assert len(run([cell for cell in planned(grid, tmp_path).cells if cell.seed == 1], tmp_path)) == 1
    assert noted.stat().st_mtime_ns == before
    assert len(run(theirs, tmp_path)) == 1
    assert noted.stat().st_mtime_ns != before


def test_unreadable_pictures_are_left_out_of_a_grid(settings, here, place, tmp_path):
    moved = shutil.copytree(place / "split", tmp_path / "moved")
    sorted((moved / "test" / "red").iterdir())[0].write_bytes(b"no picture")
    grid = settings("base-to-novel", data=(str(moved),), methods=[SHORT], seeds=[1], shots=[2], settings={"epochs": 1})
    (failed, _) = run(planned(grid, tmp_path / "none").cells, tmp_path / "none")
    assert "not a picture" in failed
    assert "with --set max_bad=10" in failed
    some = grid.model_copy(update={"settings": {"epochs": 1, "max_bad": 1}})
    assert run(planned(some, tmp_path / "some").cells, tmp_path / "some") == []


def test_a_grid_that_is_stopped_at_once_is_known_as_one(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "start", lambda *_: None)
    cells = planned(settings("zero-shot"), tmp_path).cells
    assert ["its worker was lost" in line for line in run(cells, tmp_path)] == [True]
    assert results_in(tmp_path) == []


def test_executors_that_are_not_there(tmp_path, not_installed, environ):
    environ(PATH=tmp_path)
    with pytest.raises(ConfigError, match=r"no sbatch|needs submitit"):
        start("slurm", 1, print, tmp_path, print)
    with pytest.raises(ConfigError, match="workers is 0"):
        start("local", 0, print, tmp_path, print)
    not_installed("ray")
    with pytest.raises(ConfigError, match=r"polyprompt\[ray\]"):
        start("ray", 1, print, tmp_path, print)


# Executors


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.outside("process", "socket", "pickle", "import")
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
