"""One folder, one run: new, resumed or finished; who may write; what is refused before anything is written."""

import json
import os
import random
import time
from pathlib import Path

import pytest
import torch
from run_files import content
from toy_runs import ToySettings, hold, train_alone

from polyprompt.disk.files import write_json
from polyprompt.errors import FileError
from polyprompt.report.runs import read_run
from polyprompt.runs.folder import (
    absolute,
    add_scores,
    check_apart,
    check_truth,
    held,
    open_run,
    read_inputs,
    read_results,
)
from polyprompt.runs.load import model_folder
from polyprompt.train import checkpoint
from polyprompt.train.checkpoint import Cursor
from polyprompt.train.log import Log


def opened(out, resume=False, outside=(), **settings):
    return open_run("toy", out, ToySettings(**settings), resume=resume, outside=outside)


def finish(out, inputs=(), **figures):
    with opened(out) as run:
        run.start(dict(inputs))
        run.finish(run.head() | figures, lambda folder: folder.mkdir())


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


# New, resumed, finished


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/venv/bin/polyprompt", "adapt", "my photos"], "polyprompt adapt 'my photos'"),
        (["/lib/polyprompt/__main__.py", "adapt"], "polyprompt adapt"),
        (["studies/flickr8k.py", "best"], "python studies/flickr8k.py best"),
        (["/lib/ipykernel_launcher.py", "-f", "kernel.json"], "python"),
        ([""], "python"),
        (["-c"], "python"),
    ],
)
def test_a_run_says_what_was_typed(tmp_path, started_as, argv, command):
    started_as(*argv)
    with opened(tmp_path / "run") as run:
        run.start({})
    assert read_inputs(tmp_path / "run")["command"] == command


def test_new_then_resumed_then_finished(tmp_path, typed):
    out = tmp_path / "runs" / "run"
    typed("toy", "--out", "a b")
    with opened(out) as run:
        assert not run.finished
        assert not (out / "config.json").exists()
        run.start({"encoder": "e", "drawn": {"cat": ["1.png"]}})
    typed("toy", "--resume")
    with pytest.raises(FileError, match=r"holds a run already\. Resume it with --resume"), opened(out):
        pass
    with opened(out, resume=True) as run:
        run.start({"encoder": "e", "drawn": {"cat": ["1.png"]}})
        run.finish(run.head(), lambda folder: folder.mkdir())
    results = read_results(out)
    assert results["command"] == "polyprompt toy --out 'a b'"  # of the beginning
    assert (results["kind"], results["name"], results["seed"]) == ("toy", "toy", 0)
    assert results["config"] == json.loads((out / "config.json").read_text()) == {
        "name": "toy", "seed": 0, "rate": 0.1, "budget": None,
    }  # fmt: skip
    assert set(os.listdir(out)) == {"config.json", "inputs.json", "model", "results.json"}

    before = content(out)
    with opened(out, resume=True) as run:
        assert run.finished
    with pytest.raises(FileError, match="holds a run already"), opened(out):
        pass
    assert content(out) == before


@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_named_and_refused_before_anything_is_written(finished, tmp_path):
    if finished:
        finish(tmp_path)
    else:
        with opened(tmp_path) as run:
            run.start({})
    before = content(tmp_path)
    with (
        pytest.raises(FileError, match=r"started with other settings \(rate: 0\.1 there, 0\.5 here\)"),
        opened(tmp_path, resume=True, rate=0.5),
    ):
        pass
    assert content(tmp_path) == before


def test_a_place_may_be_spelled_in_another_way(tmp_path, cd):
    (tmp_path / "run").mkdir()
    (tmp_path / "pictures").mkdir()
    cd(tmp_path)
    with opened(Path("run"), name="pictures") as run:
        run.start({})
    with opened(Path("run"), resume=True, name=str(tmp_path / "pictures")) as run:
        run.start({})
    with pytest.raises(FileError, match="other settings"), opened(Path("run"), resume=True, name="Pictures"):
        pass


def test_a_resume_may_give_another_budget(tmp_path):
    with opened(tmp_path) as run:
        run.start({})
    with opened(tmp_path, resume=True, budget=20.0) as run:
        run.start({})
    with opened(tmp_path, resume=True, budget=60.0) as run:
        run.start({})
        run.finish(run.head(), Path.mkdir)
    assert read_results(tmp_path)["config"]["budget"] == 60
    with opened(tmp_path, resume=True, budget=60.0) as run:
        assert run.finished
    with pytest.raises(FileError, match=r"other settings \(budget: 60\.0 there, 20\.0 here\)"):
        opened(tmp_path, resume=True, budget=20.0).__enter__()


def begin(out, error, *folders, log=None):
    """A run that has made these and then ends with an error."""
    with opened(out) as run:
        run.start({"drawn": ["1.png"]})
        for name in folders:
            (out / name).mkdir(parents=True)
        if log is not None:
            (out / "log.jsonl").write_text(log)
        raise error


def test_a_run_that_fails_before_it_has_trained_a_step_is_taken_away(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    for out in (tmp_path / "new", tmp_path):
        before = set(os.listdir(out)) if out.exists() else None
        for _ in range(2):
            with pytest.raises(FileError, match="unreadable"):
                begin(out, FileError("unreadable"), "checkpoints/", "trials/maple/half/", log="")
        assert (set(os.listdir(out)) if out.exists() else None) == before


@pytest.mark.parametrize(
    ("made", "log"),
    [((), "{}"), (["checkpoints/epoch-0001-batch-000001/"], ""), (["trials/maple.json/"], ""), (["model/"], "")],
)
def test_a_run_that_fails_later_stays(made, log, tmp_path):
    with pytest.raises(FileError, match="late"):
        begin(tmp_path, FileError("late"), *made, log=log)
    with opened(tmp_path, resume=True) as run:
        run.start({"drawn": ["1.png"]})


def test_a_run_that_is_stopped_before_its_first_step_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path, KeyboardInterrupt())
    with pytest.raises(FileError, match="other inputs"), opened(tmp_path, resume=True) as run:
        run.start({"drawn": ["2.png"]})
    with opened(tmp_path, resume=True) as run:
        run.start({"drawn": ["1.png"]})


def test_other_inputs_are_named(tmp_path):
    with opened(tmp_path) as run:
        run.start({"encoder": "a", "drawn": ("x", "y")})
    before = content(tmp_path)
    with opened(tmp_path, resume=True) as run:
        run.start({"encoder": "a", "drawn": ["x", "y"]})  # JSON knows no tuples
        with pytest.raises(FileError, match=r"inputs\.json: the run was started with other inputs \(encoder differ"):
            run.start({"encoder": "b", "drawn": ["x", "y"]})
    assert content(tmp_path).keys() == before.keys()


def test_a_folder_with_another_kind_of_run(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "x", "epochs": 3}')
    with pytest.raises(FileError, match=r"no setting is called 'epochs'.*another kind of run"), opened(tmp_path, True):
        pass
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileError, match=r"config\.json: damaged"), opened(tmp_path, True):
        pass


def test_a_refused_run_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "run"):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)


def test_the_model_comes_before_the_results(tmp_path):
    """A run with results is finished: killed in between, it is not."""
    seen = []
    with opened(tmp_path) as run:
        run.start({})
        run.finish(run.head(), lambda folder: seen.append((tmp_path / "results.json").exists()))
    assert seen == [False]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    left = tmp_path / ".model.0123456789ab.tmp"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    (tmp_path / ".results.json.ba9876543210.tmp").write_text("{")
    (tmp_path / ".mine.tmp").write_text("")
    with opened(tmp_path, resume=True):
        assert sorted(os.listdir(tmp_path)) == [".holder.json", ".lock", ".mine.tmp"]


def test_what_a_process_left_that_was_killed_behind_its_last_write_is_swept(tmp_path):
    finish(tmp_path)
    before = set(os.listdir(tmp_path))
    for name in (".lock", ".holder.json", ".results.json.ba9876543210.tmp"):
        (tmp_path / name).touch()
    with opened(tmp_path, resume=True) as run:
        assert run.finished
    assert set(os.listdir(tmp_path)) == before


def test_scores_are_added_and_the_rest_stays(tmp_path):
    finish(tmp_path, retrieval={"a test": {"recall": 1}})
    before = read_results(tmp_path)
    add_scores(tmp_path, "classification", "b", {"accuracy": 0.5}, {})
    add_scores(tmp_path, "retrieval", "c", {"recall": 0}, {})
    after = read_results(tmp_path)
    assert after["retrieval"] == {"a test": {"recall": 1}, "c": {"recall": 0}}
    assert after.pop("classification") == {"b": {"accuracy": 0.5}}
    assert after.pop("scored") == {"b": {}, "c": {}}
    assert {**after, "retrieval": before["retrieval"]} == before
    with opened(tmp_path, resume=True) as run:
        assert run.finished
    assert read_results(tmp_path)["classification"] == {"b": {"accuracy": 0.5}}
    with pytest.raises(FileError, match="not a finished run"):
        add_scores(tmp_path / "none", "retrieval", "c", {}, {})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["results.json", "config.json", "inputs.json", "log.jsonl"])
def test_an_altered_run_is_refused_wherever_it_is_read(name, tmp_path):
    out = tmp_path / "run"
    with opened(out) as run:
        run.start({})
        (out / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
        run.finish(run.head(), Path.mkdir)
    add_scores(out, "sentences", "a", {"spearman": 0.5, "pairs": 20}, {})  # which keeps the seal
    assert (model_folder(out), read_run(out).results.name) == (out / "model", "toy")
    path = out / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    before = content(out)
    named = rf"run/{name}: damaged or altered"
    readers = (read_results, read_run, model_folder, lambda out: add_scores(out, "retrieval", "b", {}, {}))
    for read in (*readers, lambda out: opened(out, resume=True).__enter__()):
        with pytest.raises(FileError, match=named):
            read(out)
    with pytest.raises(FileError, match=r"The model alone still opens: .*run/model\."):
        model_folder(out)
    assert model_folder(out / "model") == out / "model"
    assert content(out) == before


@pytest.mark.parametrize("name", ["config.json", "inputs.json"])
def test_a_run_that_was_altered_meanwhile_does_not_go_on(name, tmp_path):
    with opened(tmp_path) as run:
        run.start({"encoder": "a"})
    path = tmp_path / name
    path.write_text(path.read_text().replace("0.1", "0.5").replace('"a"', '"b"'))
    for read in (lambda out: opened(out, resume=True).__enter__(), check_truth):
        with pytest.raises(FileError, match=rf"{name}: damaged or altered"):
            read(tmp_path)


def unsealed(path):
    """A file as an earlier version wrote it."""
    content = json.loads(path.read_text())
    write_json(path, {name: value for name, value in content.items() if name not in ("files", "sha256")})


@pytest.mark.parametrize("gone", [["results.json"], ["results.json", "inputs.json"], ["inputs.json"]])
def test_a_seal_that_was_taken_away_is_missed(gone, tmp_path):
    """inputs.json or the log shows that results.json had one, and the log that inputs.json had."""
    with opened(tmp_path) as run:
        run.start({"encoder": "a"})
        if "inputs.json" in gone:
            log = Log(tmp_path / "log.jsonl")
            log.open(0, "")
            log.add({"step": 1})
        if "results.json" in gone:
            run.finish(run.head(), Path.mkdir)
    for name in gone:
        unsealed(tmp_path / name)
    for read in (lambda out: opened(out, resume=True).__enter__(), check_truth):
        with pytest.raises(FileError, match=rf"{gone[0]}: altered, it was written with a hash and has none any more"):
            read(tmp_path)


def test_a_run_of_an_earlier_version_is_read_and_goes_on(tmp_path, capsys):
    with opened(tmp_path) as run:
        run.start({"encoder": "a"})
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    unsealed(tmp_path / "inputs.json")
    with opened(tmp_path, resume=True) as run:
        run.start({"encoder": "a"})
        log = Log(tmp_path / "log.jsonl")
        log.open(len('{"step": 1}\n'), "")
        log.add({"step": 2})
        run.finish(run.head(), Path.mkdir)
    assert read_inputs(tmp_path)["encoder"] == "a"
    assert read_results(tmp_path)["name"] == "toy"
    assert "inputs.json: comes from a version that did not seal it" in capsys.readouterr().err
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    unsealed(tmp_path / "results.json")
    assert read_results(tmp_path)["name"] == "toy"


def test_seconds_count_every_stretch(tmp_path):
    earlier, task = Cursor(step_seconds=40.0, elapsed=100.0), torch.nn.Linear(1, 1)
    checkpoint.save(tmp_path / "checkpoints", earlier, task, torch.optim.SGD(task.parameters()), {}, {})
    with opened(tmp_path) as run:
        run.start({})
        time.sleep(0.05)
        head = run.head()
    assert 100.05 <= head["seconds"] < 101
    assert head["training_seconds"] == 40.0


# Places


@pytest.mark.parametrize("name", ["file", "file/run", "a" * 300, "/sys/run"])
def test_where_no_run_can_be(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written") as error, opened(tmp_path / name):
        pass
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["file"]


def test_a_run_does_not_lie_among_its_pictures(tmp_path):
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for out in ("photos", "photos/run", "photos/red/run", "link/run"):
        with (
            pytest.raises(FileError, match=r"lies among the pictures of .*Choose a folder outside"),
            opened(tmp_path / out, outside=[None, "openmoji", str(tmp_path / "photos")]),
        ):
            pass
        assert os.listdir(tmp_path / "photos") == ["red"]
    with opened(tmp_path / "photos-run", outside=[str(tmp_path / "photos")]):
        pass


def test_local_paths_are_kept_whole(tmp_path, cd):
    cd(tmp_path)
    (tmp_path / "llm").mkdir()
    assert absolute("llm") == absolute("./llm") == str(tmp_path / "llm")
    assert absolute("ViT-B-16/openai") == "ViT-B-16/openai"
    assert absolute("hf-hub:timm/x") == "hf-hub:timm/x"


# Who writes


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, start_processes):
    out = tmp_path / "run"
    (process,) = start_processes(hold, folder=out)
    wait_for((out / "holding").exists)
    holder = rf"run: in use by process {process.pid} on \S+, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\. Wait for it"
    for resume in (False, True):
        with pytest.raises(FileError, match=holder), opened(out, resume):
            pass
    assert set(os.listdir(out)) == {".holder.json", ".lock", "holding"}
    process.kill()
    process.join()
    with opened(out, resume=True):  # a dead holder holds nothing
        assert json.loads((out / ".holder.json").read_text())["pid"] == os.getpid()
    assert os.listdir(out) == ["holding"]


def test_a_folder_is_held_against_the_same_process_too(tmp_path):
    with held(tmp_path):
        (tmp_path / ".holder.json").write_text("")
        with pytest.raises(FileError, match="in use by another process"), held(tmp_path):
            pass
    with held(tmp_path):
        pass


def test_scores_wait_for_whoever_writes(tmp_path, start_processes):
    finish(tmp_path)
    (process,) = start_processes(hold, folder=tmp_path)
    wait_for((tmp_path / "holding").exists)
    (adding,) = start_processes(add_scores, folder=tmp_path, kind="retrieval", name="a", scores={}, how={})
    time.sleep(0.3)
    assert "retrieval" not in read_results(tmp_path)
    process.kill()
    adding.join(20)
    assert read_results(tmp_path)["retrieval"] == {"a": {}}


@pytest.mark.parametrize("pairs", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_two_processes_into_one_folder(pairs, tmp_path, start_processes):
    """One trains; the other is refused, or finds the same run finished. With other settings it changes nothing."""
    draw = random.Random(0)
    for number in range(pairs):
        out, rates = tmp_path / str(number), [0.1, draw.choice([0.1, 0.5])]
        both = []
        for rate in rates:
            both += start_processes(train_alone, out=out, seconds=0.2, rate=rate)
            time.sleep(draw.uniform(0, 0.1))
        for process in both:
            process.join(60)
        codes = [process.exitcode for process in both]
        assert sorted(codes) == [0, 1]
        refused, winner = both[codes.index(1)].output.read_text(), rates[codes.index(0)]
        said = ("in use by", "was started with other settings", "holds a run already")  # the last: it came too late
        assert any(one in refused for one in said), refused
        assert (out / "log.jsonl").read_text() == f"{winner} begins\n{winner} ends\n"
        assert json.loads((out / "config.json").read_text())["rate"] == winner
        assert read_results(out)["config"]["rate"] == winner


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_times_and_resumed(kills, tmp_path, start_processes, run_processes):
    draw, out = random.Random(0), tmp_path / "run"
    for _ in range(kills):
        (process,) = start_processes(train_alone, out=out, seconds=0.5)
        wait_for(lambda process=process: (out / ".holder.json").exists() or not process.is_alive())
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join()
        assert not (out / "results.json").exists()
    assert run_processes(train_alone, out=out, seconds=0.0) == [0]
    assert read_results(out)["kind"] == "toy"
    assert set(os.listdir(out)) == {"config.json", "inputs.json", "log.jsonl", "model", "results.json"}


def test_of_several_processes_the_main_one_holds_the_folder(tmp_path, start_processes, run_processes):
    assert run_processes(train_alone, 2, out=tmp_path / "run", seconds=0.1) == [0, 0]
    assert read_results(tmp_path / "run")["kind"] == "toy"
    assert run_processes(train_alone, 2, out=tmp_path / "run", seconds=0.1) == [0, 0]  # finished before
    both = start_processes(train_alone, 2, out=tmp_path / "run", seconds=0.1, rate=0.5)
    for process in both:
        process.join(60)
        assert "was started with other settings" in process.output.read_text()
    assert [process.exitcode for process in both] == [1, 1]


@pytest.mark.parametrize("config", [[], {"data": 5, "task": None}, {"data": "photos", "also": ["more"], "test": None}])
def test_what_is_written_beside_a_run_stays_apart_from_its_pictures(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "inputs.json").write_text(json.dumps({"kind": "adapt", "folder": str(tmp_path)}))
    for name in ("photos", "more", "others"):
        (tmp_path / name).mkdir()
    check_apart(tmp_path / "others" / "x.png", tmp_path)
    check_apart(tmp_path / "more" / "x.png", tmp_path / "none")
    for name in ("photos", "more") if config and config["data"] != 5 else ():
        with pytest.raises(FileError, match=f"x.png: lies among the pictures of .*{name}, where"):
            check_apart(tmp_path / name / "x.png", tmp_path)
