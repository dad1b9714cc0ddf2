"""search from end to end, and the query as it is read."""

import os
import time

import pytest

import polyprompt as pp
from polyprompt.cli.search import numbers
from polyprompt.errors import ConfigError
from polyprompt.report.grids import fitted
from polyprompt.search.query import LARGEST_WEIGHT


@pytest.fixture
def run(toy, tmp_path, polyprompt):
    """A run of one epoch."""
    code, _, err = polyprompt("align", *toy(), "--epochs", 1, "--set", "text.max_tokens=40", "--out", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"


def test_a_query_that_is_cut_is_told(run, photos, tmp_path, polyprompt):
    long = "red " * 100
    for words in (
        ["search", run, long, "--images", photos],
        ["explain", run, photos / "1.png", long, "--out", tmp_path / "why.png"],
    ):
        code, _, err = polyprompt(*words)
        assert code == 0, err
        assert f"the text {long!r:.60} is longer than the 40 tokens that the model reads; the rest was cut off." in err
    code, _, err = polyprompt("search", run, "red", "--images", photos)
    assert (code, "cut off" in err) == (0, False)


def test_nothing_is_written_among_the_pictures_of_a_run(toy, photos, tmp_path, polyprompt):
    run = tmp_path / "run"
    assert polyprompt("align", *toy(photos), "--epochs", 1, "--out", run)[0] == 0
    inside, before = photos / "more", sorted(photos.rglob("*"))
    for words in (
        ["search", run, "red", "--images", photos, "--grid", inside / "found.png"],
        ["explain", run, photos / "1.png", "red", "--out", photos / "why.png"],
        ["export", run, inside],
        ["export", run, inside / "classes.onnx", "--classes", "red,blue"],
        ["export-original", run, inside],
        ["export-peft", run, inside],
    ):
        code, out, err = polyprompt(*words)
        assert (code, out) == (2, "")
        assert "lies among the pictures of" in err.splitlines()[-1], words
    assert sorted(photos.rglob("*")) == before
    assert polyprompt("search", run, "red", "--images", photos, "--grid", tmp_path / "found.png")[0] == 0


def test_a_text_that_nobody_types_is_one_line_in_no_time(run, photos, polyprompt):
    """A megabyte of one word: some tokenizers would take hours."""
    huge = "x" * 2**20
    for words in (
        ["search", run, huge, "--images", photos],
        ["search", run, "red", "--not", huge, "--images", photos],
        ["explain", run, photos / "1.png", huge],
    ):
        began = time.process_time()
        code, out, err = polyprompt(*words)
        assert (code, out) == (2, "")
        line = err.strip().splitlines()[-1]
        assert "the text 'xxxxx" in line
        assert line.endswith("has 1,048,576 letters; give at most 8,000.")
        assert len(line) < 200
        assert time.process_time() - began < 5


def test_a_text_of_blanks_is_no_text(run, photos, polyprompt):
    for words in (
        ["search", run, "  ", "--images", photos],
        ["search", run, "red", "--not", "", "--images", photos],
        ["explain", run, photos / "1.png", " "],
    ):
        code, out, err = polyprompt(*words)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].endswith("the text is empty; write a few words.")


def test_a_long_text_is_drawn_cut_to_its_line():
    began = time.process_time()
    assert fitted("a " * 2**19, 20, 300).endswith("…")
    assert fitted("i" * 300, 20, 300).endswith("…")
    assert fitted("a cat", 20, 300) == "a cat"
    assert time.process_time() - began < 5


def test_data_is_a_folder_a_table_or_class_folders(run, photos, polyprompt, tmp_path):
    found = {}
    for data in (photos, photos / "captions.csv"):
        code, out, err = polyprompt("search", run, "a red square", "--images", data, "--top", 99)
        assert code == 0, err
        found[data.name] = [(line.split()[0], line.split("/")[-1].split()[-1]) for line in out.splitlines()]
    assert found["photos"] == found["captions.csv"]
    (photos / "labels.csv").write_text("path,label\n1.png,red\n2.png,blue\n")
    code, out, err = polyprompt("search", run, "a red square", "--images", photos / "labels.csv")
    assert code == 0, err
    assert len(out.splitlines()) == 2
    code, _, err = polyprompt("search", run, "a red square", "--images", tmp_path / "none")
    assert (code, "no such file or folder" in err) == (2, True)


def test_a_picture_whose_name_is_not_utf_8_is_found(run, photos, tmp_path, polyprompt):
    os.rename(photos / "3.png", os.fsencode(photos) + b"/caf\xe9.png")
    code, out, err = polyprompt(
        "search", run, "a red square", "--images", photos, "--top", 99, "--grid", tmp_path / "grid.png"
    )
    assert code == 0, err
    assert "caf\\xe9.png" in out
    assert len(out.splitlines()) == 24


def test_weights_of_the_wrong_count(run, photos, polyprompt):
    code, out, err = polyprompt("search", run, "red", "--images", photos, "--aspect-weights", "1,2")
    assert (code, out) == (2, "")
    assert f"2 aspect weights for {len(pp.load(run).prompts)} prompts; give one for each of: " in err.splitlines()[-1]


def test_the_text_in_halves_is_refused(run, photos, polyprompt):
    code, _, err = polyprompt("search", run, "a \udce9", "--images", photos)
    assert (code, "letter 3 is not UTF-8" in err) == (2, True)


def test_weights_are_numbers_that_leave_scores_finite(run, photos):
    assert numbers(None) is None
    assert numbers("1.25, 1,0") == [1.25, 1, 0]
    model = pp.load(run)
    scores = model.similarity(["red"], [photos / "1.png"], [LARGEST_WEIGHT, -LARGEST_WEIGHT, 0.0])
    assert scores.isfinite().all()
    for text in ("1e39,1,1", "1,x,2", "1,nan,2", "inf,1,1", "", "1,,2"):
        with pytest.raises(ConfigError, match=r"--aspect-weights .* write finite numbers with commas between"):
            numbers(text)
