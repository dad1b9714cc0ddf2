"""Which splits there are to be read."""

import json

import pytest
from toy_data import one_line

from polyprompt.data.read import open_labels, read_labelled, read_pairs, read_scored, splits_of
from polyprompt.errors import DataError


def test_a_split_that_is_not_there(animals):
    table = animals / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\ndog/1.png,dog\n")
    with pytest.raises(DataError, match="has no splits; leave split 'train' out"):
        read_labelled(str(table), "train")


def test_the_splits_of_every_kind_of_source(animals):
    assert splits_of(str(animals)) == ()
    for split in ("train", "val", "test"):
        (animals / "sets" / split / "cat").mkdir(parents=True)
    assert splits_of(str(animals / "sets")) == ("test", "train", "val")
    file = animals / "split.json"
    file.write_text(json.dumps({"train": [["cat/1.png", 0, "cat"]], "val": [], "test": [["dog/1.png", 1, "dog"]]}))
    assert splits_of(str(file)) == ("test", "train")
    file.write_text("[]")
    with pytest.raises(DataError, match="no labels found in it"):
        splits_of(str(file))
    table = animals / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\n")
    assert splits_of(str(table)) == ()
    table.write_text("path,label,split\ncat/1.png,cat,train\ndog/1.png,dog,held\n")
    assert splits_of(str(table)) == ("held", "train")


def test_a_source_may_be_a_path(root, tmp_path):
    root.pictures("a/1.png", "b/1.png").file("captions.csv", "file,caption\na/1.png,x\n")
    root.file("s.csv", "sentence1,sentence2,score\na,b,1\n")
    assert read_pairs(root.path).captions == ("x",)
    assert read_labelled(root.path).class_names == read_labelled(open_labels(root.path)).class_names == ("a", "b")
    assert read_scored(root.path / "s.csv").scores == (1.0,)
    assert splits_of(root.path) == ()


def test_a_number_below_zero_is_refused(root):
    root.pictures("a/1.png", "b/1.png").file("captions.csv", "file,caption\na/1.png,x\n")
    for read in (read_pairs, read_labelled):
        with pytest.raises(DataError, match="max_bad is -1; it counts pictures that may be left out, so at least 0"):
            read(root.path, max_bad=-1)


def test_pairs_of_one_score_are_refused_before_anything_is_made_of_them(root):
    root.file("s.csv", "sentence1,sentence2,score,split\na,b,3,train\nc,d,3.0,train\ne,f,1,test\ng,h,2,test\n")
    with pytest.raises(DataError, match=r"^s\.csv:train: all 2 pairs have the score 3, so there is nothing to rank"):
        read_scored(root.path / "s.csv", "train")
    assert read_scored(root.path / "s.csv", "test").scores == (1.0, 2.0)


@pytest.mark.parametrize("ending", ["", ".csv", ".json", ".jsonl", ".tar", ".token"])
@pytest.mark.parametrize("read", [read_pairs, read_labelled, read_scored])
def test_a_name_of_any_length_gives_one_line(read, ending):
    with pytest.raises(DataError) as caught:
        read("a" * 5000 + ending)
    assert one_line(caught)
