import json

import pytest

from polyprompt.errors import FileError
from polyprompt.report.runs import group, read_run


def test_a_run_is_read_in_the_order_of_its_steps(make_run):
    run = read_run(make_run("k6", seed=3))
    assert [line["step"] for line in run.steps] == list(range(1, 41))
    assert [line["step"] for line in run.epochs] == [20, 40]
    assert run.name == "k6-seed3"
    assert run.results.seed == 3
    assert run.samples is None


def test_a_step_logged_twice_counts_as_it_was_logged_last(make_run):
    folder = make_run("k6")
    with open(folder / "log.jsonl", "a") as log:
        log.write('{"step": 7, "loss": 123.0}\n')
    run = read_run(folder)
    assert len(run.steps) == 40
    assert run.steps[6] == {"step": 7, "loss": 123.0}


def test_a_killed_run_shows_what_it_logged(make_run):
    folder = make_run("k6", seed=2, finished=False)
    with open(folder / "log.jsonl", "a") as log:
        log.write('{"step": 41, "lo')
    run = read_run(folder)
    assert len(run.steps) == 40
    assert run.results.retrieval == {}
    assert run.results.seed == 2  # from its config


def test_a_missing_folder_and_one_that_is_no_run_are_refused(tmp_path):
    with pytest.raises(FileError, match="no such run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"holds neither results\.json nor log\.jsonl"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("results.json", '{"retrieval": ', r"results\.json: damaged, this is not JSON"),
        ("results.json", "[1, 2]", r"results\.json: damaged or foreign"),
        ("config.json", "[]", r"config\.json: damaged or foreign"),
        ("log.jsonl", '{"step": 1, "loss": 2}\n{"st\n{"step": 3, "loss": 2}\n', r"log\.jsonl: line 2 is damaged"),
        ("log.jsonl", '{"loss": 2}\n', r"log\.jsonl: line 1 is damaged, it has no step"),
        ("log.jsonl", b"\xff\xfe\x00", r"log\.jsonl: cannot be read"),
    ],
)
def test_damage_is_one_line_that_names_the_file(make_run, file, content, says):
    folder = make_run("k6")
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileError, match=says) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_recall_in_per_cent_is_refused_with_the_place(make_run):
    folder = make_run("k6")
    results = json.loads((folder / "results.json").read_text())
    results["retrieval"]["toy set"]["text_to_image"]["recall@1"] = 47.1
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(FileError, match=r"retrieval\.toy set\.text_to_image\.recall@1: .*less than or equal to 1"):
        read_run(folder)


def test_runs_that_differ_by_their_seed_are_one_experiment(make_run):
    folders = [make_run("k6", 0), make_run("one", 0), make_run("k6", 1), make_run("k6", 12)]
    groups = group([read_run(folder) for folder in folders])
    assert [(each.name, each.seeds) for each in groups] == [("k6", [0, 1, 12]), ("one-seed0", [0])]


def test_experiments_of_one_name_are_told_apart(make_run, tmp_path):
    first, second = make_run("a", config={"name": "same", "rate": 1}), make_run("b", config={"name": "same", "rate": 2})
    for folder in (first, second):
        results = json.loads((folder / "results.json").read_text()) | {"name": "same"}
        (folder / "results.json").write_text(json.dumps(results))
    names = [each.name for each in group([read_run(first), read_run(second)])]
    assert names == ["same (a-seed0)", "same (b-seed0)"]
    moved = tmp_path / "elsewhere" / first.name
    moved.parent.mkdir()
    second.rename(moved)
    names = [each.name for each in group([read_run(first), read_run(moved)])]
    assert names == [f"same ({first})", f"same ({moved})"]
