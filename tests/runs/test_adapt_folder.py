"""Runs of `adapt` in their folder: two at once, finished ones, seconds, places."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from outside import heard
from run_files import content, gone, learned, log_of, same
from toy_encoders import toy_encoder
from toy_runs import adapt_settings, run_adapt

from polyprompt.errors import FileError
from polyprompt.runs.adapt import adapt
from polyprompt.runs.folder import add_scores, read_results


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory, module_cache):
    """An undisturbed run, to compare with."""
    folder = tmp_path_factory.mktemp("whole")
    run_adapt(folder / "run", place)
    return folder / "run"


def test_finished_before_is_said_of_the_same_settings_only(whole, place, tmp_path, typed, capsys):
    out = shutil.copytree(whole, tmp_path / "run")
    add_scores(out, "classification", "another set", {"accuracy": 0.5}, {})
    before, command = content(out), read_results(out)["command"]
    typed("adapt", "--resume")
    with gone(place / "photos"):  # no data is read
        classifier = adapt(adapt_settings(place), out, resume=True, encoder=toy_encoder("clip"))
    assert "finished before" in capsys.readouterr().err
    assert classifier.class_names == ("blue", "green", "red", "white")
    for other in ({"shots": 2}, {"seed": 2}, {"rate": 0.5}, {"method": {"name": "coop", "context": 3}}):
        with pytest.raises(FileError, match="was started with other settings"):
            adapt(adapt_settings(place, **other), out, resume=True, encoder=toy_encoder("clip"))
    assert "finished before" not in capsys.readouterr().err
    assert content(out) == before
    assert read_results(out)["command"] == command != "polyprompt adapt --resume"


@pytest.mark.parametrize("pairs", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_two_runs_into_one_folder(pairs, whole, place, tmp_path, start_processes):
    draw = random.Random(0)
    for number in range(pairs):
        out, rates = tmp_path / str(number), [0.01, 0.5] if number % 2 else [0.01, 0.01]
        (first,) = start_processes(run_adapt, out=out, place=place, resume=True, rate=rates[0])
        time.sleep(draw.uniform(0, 0.5))
        (second,) = start_processes(run_adapt, out=out, place=place, resume=True, rate=rates[1])
        for process in (first, second):
            process.join(60)
        results = read_results(out)
        assert results["config"]["rate"] == json.loads((out / "config.json").read_text())["rate"]
        steps = [line["step"] for line in log_of(out) if "loss" in line]
        assert steps == [1, 9]
        codes = [first.exitcode, second.exitcode]
        assert 0 in codes
        for process, rate in zip((first, second), rates, strict=True):
            message = process.output.read_text()
            if process.exitcode:
                assert "in use by process" in message or "other settings" in message, message
            else:
                assert rate == results["config"]["rate"]
        if results["config"]["rate"] == 0.01:
            assert same(learned(out), learned(whole))


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_times_ends_with_the_same_model(
    kills, whole, place, tmp_path, start_processes, run_processes
):
    out, draw = tmp_path / "run", random.Random(0)
    for _ in range(kills):
        (process,) = start_processes(run_adapt, out=out, place=place, resume=True)
        while process.is_alive() and not (out / ".holder.json").exists():
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 1.0))
        process.kill()
        process.join()
    assert run_processes(run_adapt, out=out, place=place, resume=True) == [0]
    assert same(learned(out), learned(whole))
    kept = {"config.json", "inputs.json", "log.jsonl", "results.json", "checkpoints", "model"}
    assert set(os.listdir(out)) == kept


def test_training_seconds_are_those_of_steps(place, tmp_path):
    """Reading takes half a second and each pass through the text tower a tenth; zero-shot trains for no time."""
    encoder = toy_encoder("clip")
    encoder.text.ln_final.register_forward_hook(lambda *_: time.sleep(0.1))

    def slowly(folder):
        if Path(folder) == place / "photos" / "red":
            time.sleep(0.5)

    for name, steps in (("coop", 9), ("zeroshot", 0)):
        method = {"name": name} | ({"context": 2} if steps else {})
        began = time.perf_counter()
        with heard("os.scandir", slowly):
            adapt(adapt_settings(place, method=method), tmp_path / name, encoder=encoder)
        took = time.perf_counter() - began
        results = read_results(tmp_path / name)
        assert 0.1 * steps <= results["training_seconds"] <= results["seconds"] - 0.4
        assert results["seconds"] <= took + 0.06  # they are rounded to a tenth
    assert results["training_seconds"] == 0.0


def test_a_run_does_not_lie_among_its_pictures(place, tmp_path):
    other = shutil.copytree(place / "photos", tmp_path / "other")
    for settings, out in (
        ({}, place / "photos" / "run"),
        ({"also": (str(other),)}, other / "run"),
        ({"test": str(other)}, other / "red" / "run"),
    ):
        with pytest.raises(FileError, match="lies among the pictures of"):
            adapt(adapt_settings(place, **settings), out, encoder=toy_encoder("clip"))
        assert not out.exists()


@pytest.mark.parametrize("name", ["file", "file/run", "a" * 300])
def test_where_no_run_can_be(name, place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        adapt(adapt_settings(place), tmp_path / name, encoder=toy_encoder("clip"))
