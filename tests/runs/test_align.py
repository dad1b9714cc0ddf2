"""Runs of `align` in their folder: killed, resumed, finished, timed, opened from elsewhere."""

import json
import os
import random
import re
import shutil
import time

import pytest
import torch
from hooks import after_forward, stopped_in_pass
from outside import heard
from run_files import content, gone, learned, log_of, same
from toy_runs import run, toy_settings

import polyprompt
from polyprompt.campe.objective import Objective
from polyprompt.errors import FileError
from polyprompt.runs.align import align
from polyprompt.runs.folder import add_scores, read_results

STEPS = 8
"""Of a whole run: two epochs of four."""


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory, module_cache):
    """An undisturbed run, to compare with."""
    folder = tmp_path_factory.mktemp("whole")
    align(toy_settings(place), folder / "run")
    return folder / "run"


def test_a_run_reads_its_captions_once(place, tmp_path, readings):
    """Train, dev and test stand in one table."""
    align(toy_settings(place), tmp_path / "run")
    assert list(readings.values()) == [1]


def test_a_finished_run_resumed_changes_nothing(whole, place, tmp_path, typed):
    out = shutil.copytree(whole, tmp_path / "run")
    assert read_results(out)["command"] != "polyprompt align captions --resume"
    add_scores(out, "retrieval", "another set", {"recall": 0.5}, {})
    before = content(out)
    typed("align", "captions", "--resume")
    with gone(place / "captions"):  # no data is read
        model = align(toy_settings(place), out, resume=True)
    assert content(out) == before
    assert same(dict(model.learned()), learned(whole))
    with pytest.raises(FileError, match=r"other settings \(epochs: 2 there, 3 here\)"):
        align(toy_settings(place, epochs=3), out, resume=True)
    with pytest.raises(FileError, match="holds a run already"):
        align(toy_settings(place), out)
    assert content(out) == before


def test_what_a_run_was_started_with_must_stay(whole, place, tmp_path):
    data = shutil.copytree(place / "captions", tmp_path / "captions")
    settings = toy_settings(place, data=str(data))
    with stopped_in_pass(2, Objective):
        align(settings, tmp_path / "run")
    table = data / "captions.csv"
    text = table.read_text()
    table.write_text(text.replace("a red square", "a crimson square"))
    with pytest.raises(FileError, match=r"other inputs \(captions differ\)"):
        align(settings, tmp_path / "run", resume=True)
    table.write_text(text)
    align(settings, tmp_path / "run", resume=True)
    assert same(learned(tmp_path / "run"), learned(whole))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.usefixtures("every_epoch_kept")
def test_seconds_are_those_of_all_stretches_and_of_steps_alone(place, tmp_path, monkeypatch):
    """By a clock that only reading and steps move; the run is stopped in its sixth step."""
    clock, openings = Clock(), []

    def opening(path, *_):
        if path == str(place / "captions" / "captions.csv"):
            openings.append(clock.now)
            clock.now += 0.75

    def step(_):
        clock.now += 0.1

    monkeypatch.setattr(time, "perf_counter", clock)
    with heard("open", opening), after_forward(Objective, step):
        with stopped_in_pass(6, Objective):
            align(toy_settings(place), tmp_path / "run")  # a checkpoint was written after four steps
        clock.now += 1000.0  # nobody's time
        align(toy_settings(place), tmp_path / "run", resume=True)
    assert openings[0] < 1000 < openings[-1]  # reading in both stretches
    results, steps = read_results(tmp_path / "run"), [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert [line["step"] for line in steps] == [1, STEPS]
    assert results["training_seconds"] == pytest.approx(0.1 * STEPS)
    assert steps[-1]["seconds"] == pytest.approx(0.1 * STEPS)
    assert results["seconds"] == pytest.approx(clock.now - 1000.0 - 0.2, abs=0.051)  # two steps were done again
    assert results["seconds"] == pytest.approx(0.1 * STEPS + 0.75 * len(openings), abs=0.051)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_times_ends_with_the_same_model(
    kills, whole, place, tmp_path, start_processes, run_processes
):
    out, draw = tmp_path / "run", random.Random(0)
    for _ in range(kills):
        (process,) = start_processes(run, out=out, place=place, resume=True)
        while process.is_alive() and not (out / ".holder.json").exists():
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 1.0))
        process.kill()
        process.join()
    assert run_processes(run, out=out, place=place, resume=True) == [0]
    assert same(learned(out), learned(whole))
    kept = {"config.json", "inputs.json", "log.jsonl", "results.json", "checkpoints", "model"}
    assert set(os.listdir(out)) == kept
    assert read_results(out)["retrieval"] == read_results(whole)["retrieval"]


@pytest.mark.parametrize("pairs", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_two_runs_into_one_folder(pairs, whole, place, tmp_path, start_processes):
    """The second is refused while the first one trains, with the same settings and with others."""
    for number in range(pairs):
        out = tmp_path / str(number)
        (first,) = start_processes(run, out=out, place=place)
        time.sleep(0.1 * number)
        (second,) = start_processes(run, out=out, place=place, resume=True, rate=[1e-3, 0.5][number % 2])
        for process in (first, second):
            process.join(60)
        codes = [first.exitcode, second.exitcode]
        assert sorted(codes) == [0, 1]
        refused = (first, second)[codes.index(1)].output.read_text().strip().splitlines()[-1]
        assert re.search("in use by (process|another)|other settings|holds a run already", refused)
        rate = json.loads((out / "config.json").read_text())["rate"]
        assert rate == read_results(out)["config"]["rate"]
        assert [line["step"] for line in log_of(out) if "loss" in line] == [1, STEPS]
        if rate == 1e-3:
            assert same(learned(out), learned(whole))


def test_a_run_on_towers_named_from_here_opens_from_anywhere(whole, place, tmp_path, cd):
    for name in ("llm", "cnn", "captions"):
        shutil.copytree(place / name, tmp_path / name)
    cd(tmp_path)
    text = {"tower": "llm", "prompts": 3}
    align(toy_settings(place, text=text, image={"tower": "cnn", "width": 32}, data="captions"), tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["text"]["tower"], config["image"]["tower"]) == (str(tmp_path / "llm"), str(tmp_path / "cnn"))
    (tmp_path / "elsewhere").mkdir()
    cd(tmp_path / "elsewhere")
    model = polyprompt.load("../run")
    torch.testing.assert_close(
        model.encode_text(["a red square"]), polyprompt.load(whole).encode_text(["a red square"])
    )


def test_a_run_does_not_lie_among_its_pictures(place):
    with pytest.raises(FileError, match="lies among the pictures"):
        align(toy_settings(place), place / "captions" / "run")
    assert not (place / "captions" / "run").exists()
